# The public names of this room; each is imported when it is first used.
from .catalogue import Catalogue
from .data_faults import DataWarning
from .diversity import select_varied
from .files import load_controls, load_scenarios, shipped_sets
from .joining import join_sets
from .neutral import load_neutral, neutral_beginnings
from .quality import check_quality
from .scenario import Scenario, ScenarioSet

__all__ = [
    "Catalogue",
    "DataWarning",
    "Scenario",
    "ScenarioSet",
    "check_quality",
    "join_sets",
    "load_controls",
    "load_neutral",
    "load_scenarios",
    "neutral_beginnings",
    "select_varied",
    "shipped_sets",
]
