"""A planted coupling is recovered within its interval; the ratio, the null and the matrix are what they say."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import error_without_type_checks
from planted import COUPLING, planted_model, planted_scenarios

from interp_culture.coupling.null import random_range, random_reach
from interp_culture.coupling.ratio import entanglement
from interp_culture.coupling.responses import domain_shifts, response, response_matrix
from interp_culture.coupling.steered import shifts, slopes, steered_readouts
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import probe
from interp_culture.readout.validity import ReadoutWarning
from interp_culture.stats import NullBand
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import layer_sweep


@pytest.fixture(scope="module")
def planted() -> tuple:
    model, scenarios = planted_model(), planted_scenarios()
    train, test = scenarios.split(seed=42)
    return model, train, test, extract(model, train)


@pytest.fixture(scope="module")
def readouts(planted: tuple) -> pd.DataFrame:
    model, _, test, vectors = planted
    layers = {"X": [1, 2], "Y": [1, 2]}
    return steered_readouts(
        model, test, vectors, layers, alphas=[0.1, -0.1], n_random=20, readout="continuation"
    )


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_planted_coupling_from_texts_to_ratio(planted: tuple, readouts: pd.DataFrame) -> None:
    matrix = response_matrix(readouts, value="logit_shift").set_index(["steered", "axis"])
    x_to_y, y_to_x = matrix.loc[("X", "Y")], matrix.loc[("Y", "X")]
    assert x_to_y.ratio_low <= COUPLING <= x_to_y.ratio_high
    assert x_to_y.ratio == pytest.approx(COUPLING, rel=0.05)
    assert y_to_x.ratio < 0.02
    assert matrix.loc[("X", "X")].D > 0
    assert matrix.loc[("Y", "Y")].D > 0
    assert matrix.defined.all()
    assert np.isnan(matrix.loc[("X", "X")].ratio)


def test_planted_axes_stand_out_from_random_vectors(readouts: pd.DataFrame) -> None:
    table = response(readouts).set_index(["steered", "axis", "alpha"])
    for axis in ("X", "Y"):
        for alpha in (0.1, -0.1):
            row = table.loc[(axis, axis, alpha)]
            assert row.outside_null
            assert np.sign(row.effect) == np.sign(alpha)
            assert row.low <= row.effect <= row.high
            assert row.p_null < 0.01
    assert (readouts[readouts.method == "random"].groupby("steered").draw.nunique() == 20).all()


def test_the_null_may_be_read_on_some_of_the_scenarios(
    planted: tuple, readouts: pd.DataFrame
) -> None:
    """Those rows are the same as when all are read; nothing else changes."""
    model, train, test, vectors = planted
    layers = {"X": [1, 2], "Y": [1, 2]}
    few = test.sample(1)
    args = {"alphas": [0.1, -0.1], "n_random": 20, "readout": "continuation"}
    table = steered_readouts(model, test, vectors, layers, null_scenarios=few, **args)
    keys = ["steered", "method", "draw", "alpha", "id"]
    both = readouts.merge(table, on=keys, suffixes=("", "_few"))
    assert len(both) == len(table)
    np.testing.assert_allclose(both.logit_diff, both.logit_diff_few, atol=1e-5)
    assert set(table[table.method == "random"].id) == {s.id for s in few}
    assert set(table[table.method != "random"].id) == {s.id for s in test}
    assert response(table).effect.to_numpy() == pytest.approx(
        response(readouts).effect.to_numpy(), abs=1e-6
    )
    with pytest.raises(InputError, match=r"null_scenarios: .* are not among the scenarios"):
        steered_readouts(model, test, vectors, layers, null_scenarios=train, **args)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_entanglement_of_two_probes(planted: tuple) -> None:
    model, _, test, vectors = planted
    before = probe(model, test, readout="continuation")
    after = probe(model, test, readout="continuation", edits=steer(vectors["X"], [1, 2], 0.05))
    found = entanglement(before, after, target="X")
    own = before.axis == "X"
    by_hand = {
        a: (after.p_positive - before.p_positive)[own == (a == "X")].mean() for a in ("X", "Y")
    }
    assert found.shift["X"].value == pytest.approx(by_hand["X"])
    assert found.ratio["Y"].value == pytest.approx(abs(by_hand["Y"] / by_hand["X"]))
    assert found.ratio["Y"].low <= COUPLING <= found.ratio["Y"].high
    assert found.defined
    assert "entanglement ratio 0." in str(found)
    with pytest.raises(InputError, match="no scenario of axis 'Z'; axes here: X, Y"):
        entanglement(before, after, target="Z")
    with pytest.raises(InputError, match="different scenarios"):
        entanglement(before, after[::-1], target="X")


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_an_unmoved_target_has_no_ratio(planted: tuple) -> None:
    model, _, test, _ = planted
    before = probe(model, test, readout="continuation")
    noise = np.random.default_rng(0).normal(0, 0.01, len(before))
    found = entanglement(before, before.assign(p_positive=before.p_positive + noise), target="X")
    assert not found.defined
    assert "not defined" in str(found)


def test_ratio_is_capped_at_one() -> None:
    before = pd.DataFrame(
        {
            "id": list("abcd"),
            "axis": ["X", "X", "Y", "Y"],
            "item": ["X1", "X2", "Y1", "Y2"],
            "p_positive": 0.5,
        }
    )
    after = before.assign(p_positive=[0.6, 0.6, 0.9, 0.9])
    assert entanglement(before, after, "X").ratio["Y"].value == 1.0
    assert entanglement(before, after, "Y").ratio["X"].value == pytest.approx(0.25)


def rows_of(effect: float, random: np.ndarray, n: int) -> pd.DataFrame:
    """What `steered_readouts` would give: X moved by `effect` in n scenarios, each random vector by its own."""
    base = pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "axis": "X",
            "item": "X1",
            "domain": "d",
            "logit_diff": 0.0,
        }
    )
    runs = [
        ("", "plain", -1, 0.0, 0.0),
        ("X", "mean_diff", -1, 1.0, effect),
        ("X", "mean_diff", -1, -1.0, -effect),
    ]
    runs += [("X", "random", draw, 1.0, moved) for draw, moved in enumerate(random)]
    wobble = np.linspace(-0.001, 0.001, n)
    return pd.concat(
        [
            base.assign(
                steered=s, method=m, draw=d, alpha=a, p_positive=0.5 + moved + wobble * (a != 0)
            )
            for s, m, d, a, moved in runs
        ],
        ignore_index=True,
    )


def test_the_null_has_one_rule() -> None:
    """Twenty random effects around -0.05: an effect of +0.03 is smaller than theirs, one of +0.2 larger."""
    random = -0.05 + np.linspace(-0.01, 0.01, 20)
    for effect, outside in ((0.03, False), (0.2, True)):
        rows = rows_of(effect, random, 8)
        row = response(rows).set_index("alpha").loc[1.0]
        assert row.outside_null == outside
        assert (row.p_null <= 0.05) == outside
        (of_matrix,) = response_matrix(rows).to_dict("records")
        assert of_matrix["p_null"] == pytest.approx(row.p_null, rel=0.01)
        reach = random_reach(shifts(rows), ["steered", "axis"]).null_high.item()
        assert random_range(rows).null_high.item() == pytest.approx(reach)
        assert row.null_high == pytest.approx(reach)
        assert of_matrix["detectable"] >= reach
        # Predicted vectors lack what does not depend on the sign, which is in D neither.
        wider = response(rows, even=0.75).set_index("alpha").loc[1.0]
        assert wider.null_high == pytest.approx(1.25 * reach)
        assert domain_shifts(rows, even=0.75).null_high.item() == pytest.approx(1.25 * reach)


def test_nothing_is_claimed_of_few_scenarios_or_few_random_vectors() -> None:
    few = response(rows_of(0.326, np.zeros(20), 3)).set_index("alpha").loc[1.0]
    assert np.isnan([few.low, few.high, few.p_null]).all()
    assert not few.outside_null
    assert not response_matrix(rows_of(0.326, np.zeros(20), 3)).defined.any()
    few = response(rows_of(0.326, np.array([0.2, -0.15]), 8)).set_index("alpha").loc[1.0]
    assert not few.outside_null
    assert few.p_null > 0.05
    assert np.isnan(response(rows_of(0.326, np.empty(0), 8)).p_null).all()


def test_a_missing_plain_row_is_said() -> None:
    table = rows_of(0.1, np.zeros(20), 6)
    with pytest.raises(InputError, match="the plain rows of 6 scenarios are missing"):
        slopes(table[table.method != "plain"], ["steered"])
    with pytest.raises(InputError, match="unknown value 'shfit'; known: shift, logit_shift"):
        response(table, value="shfit")


def test_another_axis_that_moves_alone_has_words_of_its_own() -> None:
    before = pd.DataFrame(
        {
            "id": [f"{a}{i}" for a in "XY" for i in range(8)],
            "axis": ["X"] * 8 + ["Y"] * 8,
            "p_positive": 0.5,
        }
    ).assign(item=lambda t: t.axis + "1")
    moved = np.append(np.tile([0.1, -0.1], 4), np.full(8, -0.04))
    text = str(entanglement(before, before.assign(p_positive=0.5 + moved), "X"))
    assert "Y moved although X itself did not move beyond its interval" in text


def test_readouts_that_fail_warn_before_the_work_and_once(planted: tuple) -> None:
    model, _, test, vectors = planted
    warned = set(model.readout_checks.warned)
    model.readout_checks.warned.clear()
    args = (model, test, vectors, {"X": [1], "Y": [1]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steered_readouts(*args, alphas=[0.1], n_random=0, readout="continuation")
        layer_sweep(model, test, vectors, layers=[1], readout="continuation")
    assert [w.category for w in caught].count(ReadoutWarning) == 1
    model.readout_checks.warned.update(warned)


def test_the_seed_decides_the_random_order(planted: tuple) -> None:
    model, _, test, vectors = planted
    one, same, other = (
        layer_sweep(
            model,
            test,
            vectors,
            layers=[1],
            readout=ReadoutFormat("letters", order="random", seed=seed),
        ).p_positive
        for seed in (1, 1, 2)
    )
    assert one.equals(same)
    assert not one.equals(other)
    layers = {"X": [1], "Y": [1]}
    steered = [
        steered_readouts(
            model,
            test,
            vectors,
            layers,
            alphas=[0.1],
            n_random=0,
            readout=ReadoutFormat("letters", order="random", seed=seed),
        )
        for seed in (1, 2)
    ]
    assert not steered[0].p_positive.equals(steered[1].p_positive)


def test_unknown_words_are_refused() -> None:
    message = error_without_type_checks(
        "from interp_culture.readout.formats import ReadoutFormat\nReadoutFormat('letters', order='paper')"
    )
    assert "unknown order 'paper'; known: both, random" in message
    message = error_without_type_checks(
        "import interp_culture as ic\nic.load_scenarios().sample(1, by='domain')"
    )
    assert "unknown stratum 'domain'; known: cell, item" in message


def test_matrix_is_the_central_difference_by_hand(readouts: pd.DataFrame) -> None:
    table = shifts(readouts)
    own = table[(table.method != "random") & (table.steered == "X") & (table.axis == "Y")]
    means = own.groupby("alpha")["shift"].mean()
    expected = (means[0.1] - means[-0.1]) / 0.2
    found = response_matrix(readouts).set_index(["steered", "axis"]).loc[("X", "Y")].D
    assert found == pytest.approx(expected)
    one_sided = readouts[(readouts.alpha >= 0) | (readouts.method == "random")]
    with pytest.raises(InputError, match=r"needs both signs of alpha 0\.1"):
        response_matrix(one_sided)


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_the_matrix_has_the_band_of_its_own_unit(readouts: pd.DataFrame) -> None:
    """The band is per unit of alpha, as D is: wider alphas do not widen it."""
    table = shifts(readouts)
    random = table[(table.method == "random") & (table.steered == "X") & (table.axis == "Y")]
    per_alpha = (random["shift"] / random.alpha).groupby(random.draw).mean().to_numpy()
    band = NullBand.of(per_alpha)
    matrix = response_matrix(readouts).set_index(["steered", "axis"])
    assert matrix.null_low["X", "Y"] == pytest.approx(band.low)
    assert matrix.null_high["X", "Y"] == pytest.approx(band.high)
    without = response_matrix(readouts[readouts.method != "random"])
    assert without.null_low.isna().all()


def test_a_strength_of_zero_has_no_slope(readouts: pd.DataFrame) -> None:
    unsteered = readouts[readouts.method != "random"].assign(alpha=0.0)
    with pytest.raises(InputError, match="alpha is 0, which steers nothing"):
        response_matrix(unsteered)


def test_sweep_by_hand_and_top_layers(planted: tuple) -> None:
    model, train, _, vectors = planted
    sweep = layer_sweep(model, train, vectors, alpha=[0.5, -0.5], readout="continuation")
    assert set(zip(sweep.steered, sweep.axis, strict=True)) == {("X", "X"), ("Y", "Y")}
    assert sorted(sweep.layer.unique()) == list(range(model.n_layers))
    own = train.filter(axis="X")
    before = probe(model, own, readout="continuation").set_index("id")
    after = probe(
        model, own, readout="continuation", edits=steer(vectors["X"], [2], -0.5)
    ).set_index("id")
    rows = sweep[(sweep.steered == "X") & (sweep.layer == 2) & (sweep.alpha == -0.5)].set_index(
        "id"
    )
    expected = after.p_positive - before.p_positive
    np.testing.assert_allclose(rows["shift"], expected[rows.index], atol=1e-6)
    np.testing.assert_allclose(rows.differential, expected[rows.index].abs(), atol=1e-6)
    made = sweep.assign(differential=sweep.layer.map({0: 0.1, 1: 0.9, 2: 0.3, 3: 0.5}))
    assert top_layers(made, "X", k=2) == [1, 3]
    with pytest.raises(InputError, match="no sweep over axis 'Z'"):
        top_layers(made, "Z")
    with pytest.raises(InputError, match="k is 9: the sweep has 4 layers"):
        top_layers(made, "X", k=9)
