# The public names of this room; each is imported when it is first used.
from .formats import Readout, ReadoutFormat
from .probing import predicted_runs, probe, read_runs
from .prompts import continuation_prompts, contrastive_texts, letter_prompts
from .sensitivity import Sensitivity, sensitivity
from .tables import shifts_from, summarise, with_keys
from .validity import ReadoutWarning, check_readout, compare_prefixes, resolve_format
from .verdict import Validity

__all__ = [
    "Readout",
    "ReadoutFormat",
    "ReadoutWarning",
    "Sensitivity",
    "Validity",
    "check_readout",
    "compare_prefixes",
    "continuation_prompts",
    "contrastive_texts",
    "letter_prompts",
    "predicted_runs",
    "probe",
    "read_runs",
    "resolve_format",
    "sensitivity",
    "shifts_from",
    "summarise",
    "with_keys",
]
