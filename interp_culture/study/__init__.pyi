# The public names of this room; each is imported when it is first used.
from . import columns
from .analysis import About, Analysis, Section, Tables, find_analysis, interval_text
from .columns import Column, TableSchema
from .config import StudyConfig, load_config
from .study import Study, run_study

__all__ = [
    "About",
    "Analysis",
    "Column",
    "Section",
    "Study",
    "StudyConfig",
    "TableSchema",
    "Tables",
    "columns",
    "find_analysis",
    "interval_text",
    "load_config",
    "run_study",
]
