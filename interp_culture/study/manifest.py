"""The manifest of a study: everything that decides its numbers, and the key made of it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from interp_culture.artifacts.files import content_key
from interp_culture.artifacts.sources import source_hash
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.prompts import template_hash
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.study.config import StudyConfig
from interp_culture.study.summary import Manifest

PACKAGES = ("interp-culture", "transformer-lens", "transformers", "torch")


def study_manifest(config: StudyConfig, model: LanguageModel, scenarios: ScenarioSet) -> Manifest:
    """What the tables of a study come from, with a key of all that decides their numbers.

    The key covers the configuration, the model's weights, tokenizer and chat template, the
    scenarios, and the code with its data files. It does not cover the model's name or place.
    """
    content = {
        "config": config.key(),
        **model.describe(),
        "scenarios": scenarios.digest,
        "templates": template_hash(),
        "source": source_hash("interp_culture"),
        "versions": {package: version(package) for package in PACKAGES},
    }
    manifest = {
        **content,
        "key": content_key({**content, **_without_names(content)}),
        # From here on not in the key: another commit or day alone must not recompute a table.
        **_git_state(),
        "threads": torch.get_num_threads(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return cast("Manifest", manifest)


def _without_names(content: dict[str, Any]) -> dict[str, Any]:
    """Replacements for what decides no number: the model's name, its place and its device."""
    # The dtype that was resolved is in the description of the model.
    config = {**content["config"], "model": None, "dtype": None}
    return {"config": config, "model": None, "revision": None, "device": None}


def _git_state() -> dict[str, Any]:
    """The commit of the code, and whether files were changed since; None outside a clone."""
    # The clone of the code, not the folder in which the study was started.
    here = str(Path(__file__).parent)

    def git(*args: str) -> str:
        command = ["git", "-C", here, *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        changes = git("status", "--porcelain").strip()
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(changes)}
