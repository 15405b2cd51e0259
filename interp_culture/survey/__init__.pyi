# The public names of this package; each is imported on first use.
from . import culture_map
from .map_target import map_scores, map_target
from .microdata import SurveySummary, read_survey
from .personas import Persona, advanced_persona, basic_persona, respondent_persona
from .questionnaire import DirectAnswers, ask_directly, ask_personas
from .reply_parsing import changed_answers
from .targets import target_personas
from .wvs import TARGETS, Facts, countries, load_facts

__all__ = [
    "TARGETS",
    "DirectAnswers",
    "Facts",
    "Persona",
    "SurveySummary",
    "advanced_persona",
    "ask_directly",
    "ask_personas",
    "basic_persona",
    "changed_answers",
    "countries",
    "culture_map",
    "load_facts",
    "map_scores",
    "map_target",
    "read_survey",
    "respondent_persona",
    "target_personas",
]
