# The public names of this room; each is imported when it is first used.
from .carriers import carried_effects
from .readers import read_effects
from .restoring import Source, random_sets, restored_readouts

__all__ = ["Source", "carried_effects", "random_sets", "read_effects", "restored_readouts"]
