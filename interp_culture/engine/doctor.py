"""What a user's installation is, and whether a model's numbers are those of plain Hugging Face."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch

from interp_culture.artifacts.folders import cache_dir
from interp_culture.engine.installation import packaged_models
from interp_culture.engine.loading import load_model
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.model_cache import free_bytes
from interp_culture.engine.plain_passes import TOLERANCES
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.shortcuts import DESCRIPTIONS
from interp_culture.engine.versions import TESTED, untested

QUESTIONS = ("Is it late?", "Should one always tell a friend the whole truth, even if it hurts?")
ANSWERS = ("Yes.", "No, not always.")


@dataclass(frozen=True)
class Comparison:
    """A hooked model beside its own plain passes.

    Attributes:
        model: in words.
        errors: the largest relative error, by what was compared.
        tolerance: the largest error that is taken for rounding in the model's dtype.
        slower_by: the shortcuts that do not hold for the model, in words.
        repeat: by how much scores differ if the same pass runs again, in nats; 0 on a device that
            computes the same numbers every time.
        seconds: of loading and comparing.
    """

    model: str
    errors: dict[str, float]
    tolerance: float
    slower_by: tuple[str, ...]
    repeat: float
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.model}: as plain Hugging Face, to rounding ({self.seconds:.0f} s)"]
        lines += [
            f"  {what}: relative error {error:.1e}, at most {self.tolerance:.0e}"
            for what, error in self.errors.items()
        ]
        again = "the same numbers, bit for bit"
        if self.repeat:
            again = f"scores differ by up to {self.repeat:.1e} nats: not deterministic here"
        lines.append(f"  repeated: {again}")
        lines += [f"  slower, since it cannot use {shortcut}" for shortcut in self.slower_by]
        return "\n".join(lines)


def compare_with_plain(
    name: str, device: str | None = None, dtype: str | None = None
) -> Comparison:
    """Load a model and compare it with passes from before it was hooked.

    Raises:
        InputError: see `load_model`; it refuses a model whose numbers differ.
    """
    start = time.monotonic()
    model = load_model(name, device=device, dtype=dtype)
    return Comparison(
        repr(model),
        model.check_errors,
        TOLERANCES[model.dtype],
        tuple(DESCRIPTIONS[shortcut] for shortcut in model.shortcuts.off),
        _repeat_difference(model),
        time.monotonic() - start,
    )


def _repeat_difference(model: LanguageModel) -> float:
    """The largest difference between the scores of two passes over the same prompts, in nats."""
    groups = [
        [model.tokenise(Prompt(question, answer)) for answer in ANSWERS] for question in QUESTIONS
    ]
    once, again = (score_runs(model, groups, {"": ()}, answer_logprob)[""] for _ in range(2))
    return float(np.abs(once - again).max())


def installation() -> dict[str, str]:
    """Versions, devices, memory, models and cache, in words.

    >>> installation()["untested versions"]
    'none'
    """
    installed = packaged_models()
    names = installed.name[installed.installed]
    return {
        "interp-culture": version("interp-culture"),
        "python": platform.python_version(),
        **{name: version(name) for name in TESTED},
        "untested versions": "; ".join(untested()) or "none",
        "devices": ", ".join(_devices()),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "memory": _memory(),
        "models installed": ", ".join(names) or "none; see `interp-culture models`",
        "cache": f"{cache_dir()} ({free_bytes() / 2**30:.1f} GiB free)",
    }


def _devices() -> list[str]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _memory() -> str:
    """The machine's memory, and each GPU's."""
    parts = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        parts.append(f"{total / 2**30:.1f} GiB")
    for gpu in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(gpu)
        parts.append(f"GPU {gpu}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    return "; ".join(parts) or "unknown"
