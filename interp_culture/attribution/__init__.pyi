# The public names of this room; each is imported when it is first used.
from .carriers import carried_effects
from .restoring import random_sets, restored_readouts

__all__ = ["carried_effects", "random_sets", "restored_readouts"]
