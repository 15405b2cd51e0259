# The public names of this room; each is imported when it is first used.
from .generation import generate, generate_runs
from .installation import install_model, packaged_models
from .interventions import Edit
from .loading import load_model
from .markup import MarkupWarning
from .model import LanguageModel, applied
from .prompt import Prompt
from .self_check import ShortcutWarning
from .shortcuts import Shortcuts

__all__ = [
    "Edit",
    "LanguageModel",
    "MarkupWarning",
    "Prompt",
    "ShortcutWarning",
    "Shortcuts",
    "applied",
    "generate",
    "generate_runs",
    "install_model",
    "load_model",
    "packaged_models",
]
