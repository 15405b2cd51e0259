"""A whole study: its configuration, its steps, its summary, and the analyses put to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
