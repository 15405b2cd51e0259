# The public names of this room; each is imported when it is first used.
from .carriers import carried_effects
from .poles import patched_poles
from .readers import read_effects
from .restoring import Source, random_sets, restored_readouts
from .writers import write_effects

__all__ = [
    "Source",
    "carried_effects",
    "patched_poles",
    "random_sets",
    "read_effects",
    "restored_readouts",
    "write_effects",
]
