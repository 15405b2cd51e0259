# The public names, read at run time too (lazy-loader): each is imported when it is first used.
from .activations import Activations, cache_activations, contrastive_activations, load_activations
from .config import StudyConfig, load_config
from .coupling import Entanglement, entanglement, response, response_matrix, shifts, steered_readouts
from .direct import DirectAnswers, ask_directly, ask_personas
from .errors import InputError
from .generation import generate
from .interventions import Edit
from .loading import load_model
from .microdata import SurveySummary, read_survey
from .model import LanguageModel
from .neutral import load_neutral
from .personas import Persona, advanced_persona, basic_persona, respondent_persona
from .purity import axis_purity
from .readout import ReadoutWarning, Validity, check_readout, probe, summarise
from .report import write_report
from .scenario_files import load_controls, load_scenarios
from .scenarios import Scenario, ScenarioSet
from .selection import select_varied
from .study import run_study
from .survey import Facts, load_facts
from .sweep import layer_sweep, summarise_sweep, sweep_agreement, top_layers
from .vectors import SteeringVectors, extract, load_vectors, random_like, save_vectors, steer

__all__ = [
    "Activations",
    "DirectAnswers",
    "Edit",
    "Entanglement",
    "Facts",
    "InputError",
    "LanguageModel",
    "Persona",
    "ReadoutWarning",
    "Scenario",
    "ScenarioSet",
    "SteeringVectors",
    "StudyConfig",
    "SurveySummary",
    "Validity",
    "advanced_persona",
    "ask_directly",
    "ask_personas",
    "axis_purity",
    "basic_persona",
    "cache_activations",
    "check_readout",
    "contrastive_activations",
    "entanglement",
    "extract",
    "generate",
    "layer_sweep",
    "load_activations",
    "load_config",
    "load_controls",
    "load_facts",
    "load_model",
    "load_neutral",
    "load_scenarios",
    "load_vectors",
    "probe",
    "random_like",
    "read_survey",
    "respondent_persona",
    "response",
    "response_matrix",
    "run_study",
    "save_vectors",
    "select_varied",
    "shifts",
    "steer",
    "steered_readouts",
    "summarise",
    "summarise_sweep",
    "sweep_agreement",
    "top_layers",
    "write_report",
]
