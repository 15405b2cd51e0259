"""What has to agree between studies that are compared, and how they differ otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import READOUTS, Readout
from interp_culture.study.config import load_config
from interp_culture.study.finished import FinishedStudy

# Fields of the configuration that may differ. Every other one must agree, new ones included.
MAY_DIFFER = {
    # What is compared.
    "model",
    "dtype",
    "layers",
    # The primary readouts must agree, whether configured or chosen: see `common_readout`.
    "readout",
    # The manifest has the digest of the scenarios, which does not depend on their path.
    "scenarios",
    # Held-out scenarios: only those that all studies have are compared.
    "test_per_cell",
    "null_per_item",
    "n_random",
    "sample_per_item",
    "persona_per_item",
}
# Facts of the manifest that must agree: the texts of the scenarios and of the prompts.
FACTS = ("scenarios", "templates")
# Facts of the manifest that are listed where they differ.
LISTED = ("prefix", "revision", "device", "source", "versions")


def check_agreement(studies: Sequence[FinishedStudy]) -> None:
    """Raise InputError for fields that must agree and do not, with both folders and values."""
    first = studies[0]
    faults = []
    for other in studies[1:]:
        values = _required(first)
        others = _required(other)
        faults += [
            f"field {name}: {values.get(name)!r} in {first.folder}, "
            f"{others.get(name)!r} in {other.folder}"
            for name in dict.fromkeys([*values, *others])
            if values.get(name) != others.get(name)
        ]
    if faults:
        raise InputError(
            "these studies cannot be compared, because they differ in what must agree:\n"
            + "\n".join(faults)
            + "\nrun them with the same configuration, apart from the model"
        )


def common_readout(studies: Sequence[FinishedStudy], wanted: str | None) -> Readout:
    """The readout by which the studies are compared: the primary one, or the `wanted` one.

    Raises:
        InputError: the primary readouts differ and none is wanted, the wanted one is unknown, or
            a study was not read by it.
    """
    if wanted is None:
        _check_primary(studies)
        return studies[0].summary["primary_readout"]  # type: ignore[return-value]
    check_known("readout", wanted, READOUTS)
    without = [str(study.folder) for study in studies if not _was_read(study, wanted)]
    if without:
        raise InputError(
            f"readout {wanted!r}: these studies were not read by it: {', '.join(without)}; "
            "run them without `brief`, which leaves out all readouts but the primary one"
        )
    return wanted  # type: ignore[return-value]


def differing_settings(studies: Sequence[FinishedStudy], labels: Sequence[str]) -> pd.DataFrame:
    """The fields that differ and may differ: field, model, value (as text)."""
    described = [_allowed(study) for study in studies]
    rows = []
    for name in dict.fromkeys(name for values in described for name in values):
        texts = [str(values.get(name)) for values in described]
        if len(set(texts)) > 1:
            rows += [(name, label, text) for label, text in zip(labels, texts, strict=True)]
    return pd.DataFrame(rows, columns=["field", "model", "value"])


def _check_primary(studies: Sequence[FinishedStudy]) -> None:
    first = studies[0]
    for other in studies[1:]:
        values = [study.summary["primary_readout"] for study in (first, other)]
        if values[0] != values[1]:
            shared = [name for name in READOUTS if all(_was_read(s, name) for s in studies)]
            advice = (
                f"choose one that all have with --readout: {', '.join(shared)}"
                if shared
                else "give their configurations the same `readout`"
            )
            raise InputError(
                f"field primary_readout: {values[0]!r} in {first.folder}, {values[1]!r} in "
                f"{other.folder}; {advice}"
            )


def _was_read(study: FinishedStudy, readout: str) -> bool:
    # The matrix has a row for every readout of the study; a file may be of an earlier study.
    return any(row["readout"] == readout for row in study.summary["matrix"])


def _required(study: FinishedStudy) -> dict[str, Any]:
    facts = {name: study.manifest.get(name) for name in FACTS}
    config = _config(study)
    return {**facts, **{name: v for name, v in config.items() if name not in MAY_DIFFER}}


def _allowed(study: FinishedStudy) -> dict[str, Any]:
    config = {name: v for name, v in _config(study).items() if name in MAY_DIFFER}
    facts = {name: study.manifest.get(name) for name in LISTED}
    return {**config, "direction": study.summary["direction"]["name"], **facts}


def _config(study: FinishedStudy) -> dict[str, Any]:
    """The stored configuration, with the defaults of fields that are newer than the study."""
    return {**load_config().key(), **study.manifest["config"]}
