"""Situational dilemmas with two poles: load, check, sample and split them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
