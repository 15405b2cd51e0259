# The public names of this room; each is imported when it is first used.
from .analysis import About, Analysis, Section, Tables, find_analysis, interval_text
from .config import StudyConfig, load_config
from .study import Study, run_study

__all__ = [
    "About",
    "Analysis",
    "Section",
    "Study",
    "StudyConfig",
    "Tables",
    "find_analysis",
    "interval_text",
    "load_config",
    "run_study",
]
