# The public names, read at run time too (lazy-loader): each is imported when it is first used.
from .activations import (
    Activations,
    cache_activations,
    contrastive_activations,
    load_activations,
    read_activations,
)
from .analysis import Analysis, Section
from .angles import axis_cosines
from .coherence import calibrate, kl_on_neutral, perplexity
from .config import StudyConfig, load_config
from .coupling import (
    Entanglement,
    effects,
    entanglement,
    random_effects,
    random_range,
    response,
    response_matrix,
    shifts,
    slopes,
    steered_readouts,
)
from .data_faults import DataWarning
from .direct import DirectAnswers, ask_directly, ask_personas
from .directions import direction
from .errors import InputError
from .generation import generate, generate_runs
from .interventions import Edit
from .loading import load_model
from .microdata import SurveySummary, read_survey
from .model import LanguageModel, applied
from .neutral import load_neutral
from .personas import Persona, advanced_persona, basic_persona, respondent_persona
from .prompts import Prompt
from .purity import axis_purity
from .readout import ReadoutWarning, Validity, check_readout, predicted_runs, probe, read_runs, summarise, with_keys
from .report import write_page, write_report
from .scenario_files import load_controls, load_scenarios
from .scenarios import Scenario, ScenarioSet
from .selection import select_varied
from .study import Study, run_study
from .survey import Facts, load_facts
from .sweep import (
    choice_overlap,
    choice_stability,
    layer_sweep,
    summarise_sweep,
    sweep_agreement,
    sweep_null,
    top_layers,
)
from .vectors import SteeringVectors, extract, load_vectors, norm_matched, random_like, save_vectors, steer

__all__ = [
    "Activations",
    "Analysis",
    "DataWarning",
    "DirectAnswers",
    "Edit",
    "Entanglement",
    "Facts",
    "InputError",
    "LanguageModel",
    "Persona",
    "Prompt",
    "ReadoutWarning",
    "Scenario",
    "ScenarioSet",
    "Section",
    "SteeringVectors",
    "Study",
    "StudyConfig",
    "SurveySummary",
    "Validity",
    "advanced_persona",
    "applied",
    "ask_directly",
    "ask_personas",
    "axis_cosines",
    "axis_purity",
    "basic_persona",
    "cache_activations",
    "calibrate",
    "check_readout",
    "choice_overlap",
    "choice_stability",
    "contrastive_activations",
    "direction",
    "effects",
    "entanglement",
    "extract",
    "generate",
    "generate_runs",
    "kl_on_neutral",
    "layer_sweep",
    "load_activations",
    "load_config",
    "load_controls",
    "load_facts",
    "load_model",
    "load_neutral",
    "load_scenarios",
    "load_vectors",
    "norm_matched",
    "perplexity",
    "predicted_runs",
    "probe",
    "random_effects",
    "random_like",
    "random_range",
    "read_activations",
    "read_runs",
    "read_survey",
    "respondent_persona",
    "response",
    "response_matrix",
    "run_study",
    "save_vectors",
    "select_varied",
    "shifts",
    "slopes",
    "steer",
    "steered_readouts",
    "summarise",
    "summarise_sweep",
    "sweep_agreement",
    "sweep_null",
    "top_layers",
    "with_keys",
    "write_page",
    "write_report",
]
