# The public names of this room; each is imported when it is first used.
from .generation import generate, generate_runs
from .installation import install_model, packaged_models
from .interventions import Edit
from .leaks import Leak, load_leak, save_leak
from .loading import load_model
from .markup import MarkupWarning
from .model import LanguageModel, applied
from .model_cache import list_cache, prune_cache
from .planting import plant
from .prompt import Prompt
from .self_check import ShortcutWarning
from .shortcuts import Shortcuts

__all__ = [
    "Edit",
    "LanguageModel",
    "Leak",
    "MarkupWarning",
    "Prompt",
    "ShortcutWarning",
    "Shortcuts",
    "applied",
    "generate",
    "generate_runs",
    "install_model",
    "list_cache",
    "load_leak",
    "load_model",
    "packaged_models",
    "plant",
    "prune_cache",
    "save_leak",
]
