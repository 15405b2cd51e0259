# The names that most scripts need; each is imported when it is first used.
# All others are in the rooms.
from . import attribution, coupling, engine, readout, reporting, scenarios, steering, study, survey
from .coupling.alignment import align
from .coupling.explanation import explain
from .coupling.ratio import entanglement
from .coupling.responses import response_matrix
from .coupling.steered import steered_readouts
from .engine.generation import generate
from .engine.interventions import Edit
from .engine.loading import load_model
from .engine.model import LanguageModel, applied
from .engine.prompt import Prompt
from .errors import InputError
from .readout.formats import ReadoutFormat
from .readout.probing import probe
from .readout.tables import summarise
from .readout.validity import ReadoutWarning, check_readout, resolve_format
from .reporting.html import write_report
from .scenarios.data_faults import DataWarning
from .scenarios.files import load_controls, load_scenarios
from .scenarios.scenario import Scenario, ScenarioSet
from .steering.activations import read_activations
from .steering.edits import steer
from .steering.extraction import extract
from .steering.fluency import kl_on_neutral
from .steering.layer_choice import top_layers
from .steering.sweep import layer_sweep
from .steering.vector_files import load_vectors, save_vectors
from .steering.vectors import SteeringVectors, random_like
from .study.config import StudyConfig
from .study.study import Study, run_study
from .survey.personas import Persona, advanced_persona, basic_persona
from .survey.questionnaire import ask_directly

__all__ = [
    "DataWarning",
    "Edit",
    "InputError",
    "LanguageModel",
    "Persona",
    "Prompt",
    "ReadoutFormat",
    "ReadoutWarning",
    "Scenario",
    "ScenarioSet",
    "SteeringVectors",
    "Study",
    "StudyConfig",
    "advanced_persona",
    "align",
    "applied",
    "ask_directly",
    "attribution",
    "basic_persona",
    "check_readout",
    "coupling",
    "engine",
    "entanglement",
    "explain",
    "extract",
    "generate",
    "kl_on_neutral",
    "layer_sweep",
    "load_controls",
    "load_model",
    "load_scenarios",
    "load_vectors",
    "probe",
    "random_like",
    "read_activations",
    "readout",
    "reporting",
    "resolve_format",
    "response_matrix",
    "run_study",
    "save_vectors",
    "scenarios",
    "steer",
    "steered_readouts",
    "steering",
    "study",
    "summarise",
    "survey",
    "top_layers",
    "write_report",
]
