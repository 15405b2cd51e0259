# The public names, read at run time too (lazy-loader): each is imported when it is first used.
from .activations import Activations, contrastive_activations
from .config import StudyConfig, load_config
from .coupling import Entanglement, entanglement, response, response_matrix, shifts, steered_readouts
from .errors import InputError
from .interventions import Edit
from .loading import load_model
from .model import LanguageModel
from .personas import basic_persona
from .readout import ReadoutWarning, Validity, check_readout, probe, summarise
from .report import write_report
from .scenarios import Scenario, ScenarioSet, load_controls, load_scenarios
from .study import run_study
from .sweep import layer_sweep, summarise_sweep, top_layers
from .vectors import SteeringVectors, extract, load_vectors, random_like, save_vectors, steer

__all__ = [
    "Activations",
    "Edit",
    "Entanglement",
    "InputError",
    "LanguageModel",
    "ReadoutWarning",
    "Scenario",
    "ScenarioSet",
    "SteeringVectors",
    "StudyConfig",
    "Validity",
    "basic_persona",
    "check_readout",
    "contrastive_activations",
    "entanglement",
    "extract",
    "layer_sweep",
    "load_config",
    "load_controls",
    "load_model",
    "load_scenarios",
    "load_vectors",
    "probe",
    "random_like",
    "response",
    "response_matrix",
    "run_study",
    "save_vectors",
    "shifts",
    "steer",
    "steered_readouts",
    "summarise",
    "summarise_sweep",
    "top_layers",
    "write_report",
]
