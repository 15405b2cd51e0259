"""Vectors and steered readouts never share a scenario, with any command and any options."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from interp_culture.cli.common import held_out_half, load, training_half
from interp_culture.engine import loading
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.vectors import Provenance, SteeringVectors

SEEDS = (42, 7, 0)
SIZES = (None, 1, 2, 5)  # scenarios per cell; None for all


def vectors_with(provenance: Provenance) -> SteeringVectors:
    return SteeringVectors("X", "mean_diff", torch.ones(3, 5), torch.ones(3), provenance)


@pytest.mark.parametrize("seed", SEEDS)
def test_halves_are_disjoint_for_every_sample(shipped: ScenarioSet, seed: int) -> None:
    """Also where `extract` takes a few scenarios of each cell and `steer` all, or the reverse."""
    train = {n: {s.id for s in training_half(seed, n)(shipped)} for n in SIZES}
    test = {n: {s.id for s in held_out_half(seed, n, [])(shipped)} for n in SIZES}
    for train_size, test_size in product(SIZES, repeat=2):
        assert not train[train_size] & test[test_size]
    assert len(train[2]) == len(test[2]) == 60


def test_every_command_takes_its_half(
    shipped: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--per-cell 4`: the scenarios that each command passes on come from one half."""
    from interp_culture.cli import experiment

    taken: dict[str, set[str]] = {}

    class Reached(Exception):
        pass

    def record_half(command: str) -> Any:
        def load_half(*args: Any, **kwargs: Any) -> Any:
            take = kwargs.get("take") or args[6]
            taken[command] = {s.id for s in take(shipped)}
            raise Reached

        return load_half

    vectors = {"X": vectors_with({"model": "m"})}
    monkeypatch.setattr("interp_culture.steering.vector_files.load_vectors", lambda path: vectors)
    calls = {
        "extract": lambda: experiment.extract(per_cell=4),
        "sweep": lambda: experiment.sweep(per_cell=4),
        "steer": lambda: experiment.steer(axis="X", layers="1", per_cell=4),
        "entangle": lambda: experiment.entangle(layers=["X=1"], per_cell=4),
    }
    for command, call in calls.items():
        monkeypatch.setattr(experiment, "load", record_half(command))
        with pytest.raises(Reached):
            call()
    assert taken["extract"] == taken["sweep"]
    assert taken["steer"] == taken["entangle"]
    assert not taken["extract"] & taken["steer"]
    assert len(taken["extract"]) == len(taken["steer"]) == 120


def test_vectors_of_another_split_are_refused(
    shipped: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors know their texts: with another seed these texts would be among the held-out ones."""
    texts = training_half(7, None)(shipped).fingerprints
    v = vectors_with({"model": "m", "texts": texts})
    held_out_half(7, None, [v])(shipped)
    monkeypatch.setattr(
        loading, "load_model", lambda *a, **k: pytest.fail("the model was loaded first")
    )
    with pytest.raises(
        InputError, match=r"of the 300 held-out scenarios are among those .* give the --seed"
    ):
        load("m", None, None, None, tmp_path / "t.csv", take=held_out_half(42, None, [v]))
