"""One call explains a planted coupling, in tables and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import planted_model, planted_scenarios
from typer.testing import CliRunner

import interp_culture as ic
from interp_culture.cli import app
from interp_culture.cli.explain import TABLES
from interp_culture.coupling import Explanation
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import readout_gradients

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")


@pytest.fixture(scope="module")
def halves() -> tuple[ScenarioSet, ScenarioSet]:
    return planted_scenarios().split(seed=0)


@pytest.fixture(scope="module")
def planted() -> LanguageModel:
    return planted_model()


@pytest.fixture(scope="module")
def why(planted: LanguageModel, halves: tuple[ScenarioSet, ScenarioSet]) -> Explanation:
    vectors = ic.extract(planted, halves[0])
    return ic.explain(planted, *halves, vectors, readout="continuation")


def test_the_planted_coupling_is_told_from_the_missing_one(why: Explanation) -> None:
    assert why.is_shown("X", "Y")
    assert not why.is_shown("Y", "X")
    x_to_y, y_to_x = str(why).split("\n")
    assert x_to_y.startswith("Steering X toward a moves Y toward c: +")
    assert "What is shown to make it: representation (the vectors of both axes share" in x_to_y
    assert "X itself moves by +" in x_to_y
    assert y_to_x.startswith("Steering Y toward c is not shown to move X: ")
    with pytest.raises(InputError, match="no gain of Z by X"):
        why.sentences("X", "Z")


def test_a_notebook_shows_sentences_and_tables(why: Explanation) -> None:
    shown = why._repr_html_()
    assert "Steering X toward" in shown
    assert f"gains ({len(why.gains)} rows)" in shown


def test_all_tables_are_of_the_same_gains(why: Explanation) -> None:
    """The sum over causes, the mean over texts, and the sum over layers."""
    gains = why.gains.set_index(["steered", "axis"]).gain
    causes = why.causes.groupby(["steered", "axis"]).part.sum()
    np.testing.assert_allclose(causes, gains[causes.index], atol=1e-8)
    texts = why.texts.groupby(["steered", "axis"]).gain.mean()
    np.testing.assert_allclose(texts, gains[texts.index], atol=1e-8)
    assert {axis: len(layers) for axis, layers in why.layers.items()} == {"X": 4, "Y": 4}
    by_layer = why.gains_by_layer.groupby(["steered", "axis"]).gain.sum()
    np.testing.assert_allclose(by_layer, gains[by_layer.index], atol=1e-8)


def test_layers_are_those_that_move_the_axis_on_training_scenarios(
    tiny: LanguageModel, few: ScenarioSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp_culture.coupling.explanation.BEST_LAYERS", 1)
    ids = few.frame().id.tolist()
    train, test = few.with_ids(ids[::2]), few.with_ids(ids[1::2])
    vectors = ic.extract(tiny, train)
    why = ic.explain(tiny, train, test, vectors, readout="continuation")
    step = 2e-3
    for axis, v in vectors.items():
        own = train.filter(axis=axis)
        moved = [
            ic.probe(tiny, own, edits=ic.steer(v, [layer], step), readout="continuation")
            .p_positive.mean()
            for layer in range(tiny.n_layers)
        ]  # fmt: skip
        assert why.layers[axis] == [int(np.argmax(moved))]


def test_gradient_vectors_are_explained_by_the_gradients_of_their_texts(
    planted: LanguageModel, halves: tuple[ScenarioSet, ScenarioSet]
) -> None:
    train, test = halves
    vectors = ic.extract(planted, train, "gradient", readout="continuation")
    layers = {"X": [1], "Y": [1]}
    read_again = ic.explain(planted, train, test, vectors, layers=layers, readout="continuation")
    contrasts = readout_gradients(planted, train, "continuation").as_activations
    given = ic.explain(
        planted, train, test, vectors, layers=layers, readout="continuation", contrasts=contrasts
    )
    np.testing.assert_allclose(read_again.causes.part, given.causes.part, atol=1e-9)


def test_vectors_that_are_no_means_are_refused(
    planted: LanguageModel, halves: tuple[ScenarioSet, ScenarioSet]
) -> None:
    train, test = halves
    vectors = ic.extract(planted, train, "pca")
    with pytest.raises(InputError, match="vectors of method pca at site last are no means"):
        ic.explain(planted, train, test, vectors, readout="continuation")
    moving = ic.extract(planted, train, "gradient", readout="continuation")
    with pytest.raises(InputError, match="give this readout, not letters"):
        ic.explain(planted, train, test, moving)
    with pytest.raises(InputError, match=r"gradient vectors move the scenarios .* give layers"):
        ic.explain(planted, train, test, moving, readout="continuation")


def test_nothing_is_claimed_of_few_scenarios(why: Explanation) -> None:
    few = replace(why, gains=why.gains.assign(low=np.nan, high=np.nan, p_null=np.nan))
    assert few.sentences("X", "Y").startswith("Nothing is claimed of steering X and reading Y: ")


def test_the_verb_prints_the_sentences_and_stores_the_tables(
    planted: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp_culture.engine.loading.load_model", lambda *a, **k: planted)
    monkeypatch.setattr(
        "interp_culture.scenarios.files.load_scenarios", lambda *a: planted_scenarios()
    )
    arguments = ["explain", "--readout", "continuation", "--layers", "X=1,2", "--layers", "Y=1"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Steering X toward a moves Y toward c: +" in done.output
    assert {path.stem for path in tmp_path.glob("*.csv")} == set(TABLES)
    refused = CliRunner().invoke(app, [*arguments, "--layers", "Z"])
    assert "give AXIS=layers" in str(refused.exception)


def test_of_many_axes_the_shown_couplings_are_said(why: Explanation) -> None:
    """A third axis that moves nothing and is moved by nothing."""
    quiet = why.gains[(why.gains.steered == "Y") & (why.gains.axis == "X")]
    pairs = [("X", "Z"), ("Z", "X"), ("Y", "Z"), ("Z", "Y")]
    more = [quiet.assign(steered=steered, axis=axis, shown=False) for steered, axis in pairs]
    third = replace(
        why,
        axes={**why.axes, "Z": why.axes["Y"]},
        layers={**why.layers, "Z": [1]},
        gains=pd.concat([why.gains, *more]),
    )
    count, said = str(third).splitlines()
    assert count.startswith("1 of 6 couplings is shown")
    assert said == why.sentences("X", "Y")
