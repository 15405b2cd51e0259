"""The World Values Survey: country facts, personas, direct questions and the cultural map."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
