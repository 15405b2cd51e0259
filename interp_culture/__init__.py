"""Why do two values in a language model move together? Read, steer and explain coupled axes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
