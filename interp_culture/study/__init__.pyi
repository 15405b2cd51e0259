# The public names of this room; each is imported when it is first used.
from . import columns
from .analysis import About, Analysis, Section, Tables, find_analysis, interval_text
from .columns import Column, TableSchema
from .comparison import Comparison, compare, save_comparison
from .comparison_schemas import COMPARISON_SCHEMAS
from .config import StudyConfig, load_config
from .finished import FinishedStudy, read_study
from .grid import Cell, load_grid
from .grid_runs import grid_table, run_grid
from .layer_profiles import layer_profile
from .paired import paired_differences
from .plan import StudyPlan, plan_study
from .study import Study, run_study
from .verification import verify_study

__all__ = [
    "COMPARISON_SCHEMAS",
    "About",
    "Analysis",
    "Cell",
    "Column",
    "Comparison",
    "FinishedStudy",
    "Section",
    "Study",
    "StudyConfig",
    "StudyPlan",
    "TableSchema",
    "Tables",
    "columns",
    "compare",
    "find_analysis",
    "grid_table",
    "interval_text",
    "layer_profile",
    "load_config",
    "load_grid",
    "paired_differences",
    "plan_study",
    "read_study",
    "run_grid",
    "run_study",
    "save_comparison",
    "verify_study",
]
