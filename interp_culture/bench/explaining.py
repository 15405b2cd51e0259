"""Seconds and peak memory of all that explains a coupling, for two numbers of scenarios."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd

from interp_culture.attribution.carriers import carried_effects
from interp_culture.attribution.readers import read_effects
from interp_culture.bench.memory import in_fresh_process, peak_mib
from interp_culture.coupling.explanation import explain
from interp_culture.engine.hardware import choose_threads
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract

READOUT = ReadoutFormat("continuation")
# Half as many are split once more, into two halves with every item and domain.
LEAST_PER_CELL = 4


def explaining(folder: Path, per_cell: int, scenarios: str = "culture") -> pd.DataFrame:
    """Seconds and peak memory of gains, causes and components, each number in a fresh process.

    Args:
        folder: the model's folder.
        per_cell: scenarios of every item and domain; half as many are measured too.
        scenarios: the name of a set.

    Returns:
        scenarios (their number), seconds (without loading), loaded_mib (peak memory before the
        work), peak_mib (MiB, including the model).

    Raises:
        InputError: fewer than four scenarios of every item and domain.
    """
    check_per_cell(per_cell)
    rows = []
    for number in (per_cell // 2, per_cell):
        work = {"folder": str(folder), "per_cell": number, "scenarios": scenarios}
        rows.append(json.loads(in_fresh_process(__name__, [], work)))
    return pd.DataFrame(rows)


def check_per_cell(per_cell: int) -> None:
    """Raise InputError for too few scenarios of every item and domain."""
    if per_cell < LEAST_PER_CELL:
        raise InputError(
            f"{per_cell} scenarios of every item and domain to explain: give {LEAST_PER_CELL} or "
            "more, since half of them are split into two halves"
        )


def explain_all(model: LanguageModel, scenarios: ScenarioSet) -> None:
    """Gains, their causes, and what the components read and carry, of the held-out half.

    The vectors come from the other half, and the layers are chosen by its gradients, so that the
    gradients of all scenarios are taken.
    """
    train, test = scenarios.split()
    vectors = extract(model, train)
    why = explain(model, train, test, vectors, readout=READOUT)
    read_effects(model, test, vectors, why.layers, readout=READOUT)
    carried_effects(model, test, vectors, why.layers, readout=READOUT)


def _measured(folder: str, per_cell: int, scenarios: str) -> dict[str, float]:
    choose_threads()
    model = load_model(folder, device="cpu", dtype="float32")
    chosen = load_scenarios(scenarios).sample(per_cell)
    # Validity is measured once per model and then cached; its time does not belong here.
    check_readout(model, READOUT)
    loaded = peak_mib()
    start = time.perf_counter()
    explain_all(model, chosen)
    seconds = time.perf_counter() - start
    return {
        "scenarios": len(chosen),
        "seconds": seconds,
        "loaded_mib": loaded,
        "peak_mib": peak_mib(),
    }


if __name__ == "__main__":
    print(json.dumps(_measured(**json.load(sys.stdin))))
