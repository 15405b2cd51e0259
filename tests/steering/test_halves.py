"""What vectors come from and what steering is read on never meet, whatever verb and options are given."""

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
from interp_culture.steering.vectors import SteeringVectors

SEEDS, SIZES = (42, 7, 0), (None, 1, 2, 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_halves_are_disjoint_for_every_sample(shipped: ScenarioSet, seed: int) -> None:
    """Also where `extract` takes few of each cell and `steer` all, or the other way about."""
    train = {n: {s.id for s in training_half(seed, n)(shipped)} for n in SIZES}
    test = {n: {s.id for s in held_out_half(seed, n, [])(shipped)} for n in SIZES}
    for one, other in product(SIZES, repeat=2):
        assert not train[one] & test[other]
    assert len(train[2]) == len(test[2]) == 60


def test_every_verb_takes_its_half(
    shipped: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--per-cell 4`, through the verbs themselves: what they hand to the work is of one half."""
    from interp_culture.cli import experiment

    taken: dict[str, set[str]] = {}

    class Reached(Exception):
        pass

    def watched(verb: str) -> Any:
        def load_half(*args: Any, **kwargs: Any) -> Any:
            take = kwargs.get("take") or args[6]
            taken[verb] = {s.id for s in take(shipped)}
            raise Reached

        return load_half

    vectors = {
        "X": SteeringVectors("X", "mean_diff", torch.ones(3, 5), torch.ones(3), {"model": "m"})
    }
    monkeypatch.setattr("interp_culture.steering.vector_files.load_vectors", lambda path: vectors)
    calls = {
        "extract": lambda: experiment.extract(per_cell=4),
        "sweep": lambda: experiment.sweep(per_cell=4),
        "steer": lambda: experiment.steer(axis="X", layers="1", per_cell=4),
        "entangle": lambda: experiment.entangle(layers=["X=1"], per_cell=4),
    }
    for verb, call in calls.items():
        monkeypatch.setattr(experiment, "load", watched(verb))
        with pytest.raises(Reached):
            call()
    assert taken["extract"] == taken["sweep"]
    assert taken["steer"] == taken["entangle"]
    assert not taken["extract"] & taken["steer"]
    assert len(taken["extract"]) == len(taken["steer"]) == 120


def test_vectors_of_another_split_are_refused(
    shipped: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors know their texts: another seed would read them as held-out ones."""
    about = {"model": "m", "texts": training_half(7, None)(shipped).fingerprints}
    v = SteeringVectors("X", "mean_diff", torch.ones(3, 5), torch.ones(3), about)
    held_out_half(7, None, [v])(shipped)
    monkeypatch.setattr(
        loading, "load_model", lambda *a, **k: pytest.fail("the model was loaded first")
    )
    with pytest.raises(
        InputError, match=r"of the 300 held-out scenarios are among those .* give the --seed"
    ):
        load("m", None, None, None, tmp_path / "t.csv", take=held_out_half(42, None, [v]))
