"""Strength: nothing at 0, costs by hand, the budget met, words that follow the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import COUPLING, planted_model, planted_scenarios

import interp_culture as ic
from analyses import coefficients

TOP = 0.1
ABOUT: dict[str, Any] = {
    "config": {"alphas": [TOP]},
    "direction": {"name": "the gradient of the readout"},
    "n_sample": 6,
    "n_null": 4,
    "n_test": 8,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    folder = str(tmp_path_factory.mktemp("study"))
    alphas = [TOP]
    made = ic.Study(
        ic.StudyConfig(
            model="planted",
            method="mean_diff",
            out=folder,
            alphas=alphas,
            sweep_alphas=alphas,
            top_k=2,
            sample_per_item=2,
        )
    )
    made.model = planted_model()
    made.scenarios = planted_scenarios()
    return made


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        small = coefficients.Size((0.0, 2.0), n_prompts=3, n_tokens=16, n_neutral=None)
        patch.setattr(coefficients, "WHOLE", small)
        patch.setattr(coefficients, "NEUTRAL_CHARACTERS", 80)
        return study.measure(coefficients.ANALYSIS)


def test_strength_zero_changes_nothing(tables: Any) -> None:
    effects = tables["effects"]
    costs = tables["cost"]
    texts = tables["texts"].set_index(["steered", "alpha"])
    assert (effects[effects.alpha == 0].effect == 0).all()
    assert effects[(effects.alpha == TOP) & (effects.steered == effects.axis)].effect.min() > 0
    nothing = costs[costs.alpha == 0]
    assert nothing.kl.abs().max() < 1e-6
    np.testing.assert_allclose(nothing.rise, 0, atol=1e-5)
    np.testing.assert_allclose(nothing.perplexity_plain, nothing.perplexity_steered, rtol=1e-4)
    plain = list(texts[texts.method == "plain"].text)
    assert list(texts[texts.method == "mean_diff"].loc[("X", 0.0)].text) == plain
    steered = texts[texts.method == "mean_diff"].loc[("X", TOP)]
    assert not np.allclose(steered.entropy_plain, steered.entropy_steered, rtol=5e-5)


def test_costs_are_those_by_hand(study: ic.Study, tables: Any) -> None:
    v = study.vectors()["Y"]
    layers = study.layers["Y"]
    row = tables["cost"].query("steered == 'Y' and method == 'mean_diff' and alpha == @TOP").iloc[0]
    texts = [text[:80].rsplit(maxsplit=1)[0] for text in ic.scenarios.load_neutral().values()]
    kl = ic.kl_on_neutral(study.model, {"": ic.steer(v, layers, TOP)}, texts).kl
    assert row.kl == pytest.approx(kl.mean(), rel=1e-4)
    assert row.kl_low < row.kl < row.kl_high
    steps = [TOP * float(v.direction[layer].norm() / v.resid_norm[layer]) for layer in layers]
    assert row.step_share == pytest.approx(np.mean(steps), rel=1e-5)
    own = tables["texts"].query("steered == 'Y' and method == 'mean_diff' and alpha == @TOP")
    assert len(own) == 3
    scored = ic.steering.perplexity(
        study.model, [ic.Prompt(p) for p in own.prompt], list(own.text), {"": ()}
    )
    assert row.perplexity_plain == pytest.approx(np.exp(scored.cross_entropy.mean()), rel=1e-4)


def test_the_calibrated_strength_costs_the_budget(study: ic.Study, tables: Any) -> None:
    calibrated = tables["calibrated"]
    (text,) = coefficients.calibrated_text(calibrated.iloc[:0], {"X"})
    assert text == "Steering X costs less than 0.1 nats per token at every strength tried."
    assert set(zip(calibrated.steered, calibrated.axis, strict=True)) == {
        (a, b) for a in "XY" for b in "XY"
    }
    texts = [text[:80].rsplit(maxsplit=1)[0] for text in ic.scenarios.load_neutral().values()]
    for axis, alpha in {(r.steered, r.alpha) for r in calibrated.itertuples()}:
        edits = ic.steer(study.vectors()[axis], study.layers[axis], alpha)
        assert ic.kl_on_neutral(study.model, {"": edits}, texts).kl.mean() == pytest.approx(
            0.1, rel=0.03
        )


def test_the_planted_coupling_is_found(tables: Any) -> None:
    shift = (
        ic.coupling.shifts(tables["readouts"]).groupby(["steered", "alpha", "axis"])["shift"].mean()
    )
    ratios = tables["ratios"].set_index(["steered", "alpha", "axis"])
    x = ratios.loc[("X", TOP, "Y")]
    assert x.ratio == pytest.approx(abs(shift["X", TOP, "Y"] / shift["X", TOP, "X"]))
    assert x.ratio == pytest.approx(COUPLING, abs=0.05)
    assert x.defined
    assert ratios.loc[("Y", TOP, "X")].ratio < 0.01
    assert not ratios.loc[("X", 0.0, "Y")].defined


def test_sections_follow_the_numbers(tables: Any) -> None:
    effects = pd.DataFrame(
        [("X", a, "X", 0.1 * a, 0.1 * a - 0.05, 0.1 * a + 0.05, 9) for a in (-2.0, -0.1, 0.1, 2.0)],
        columns=["steered", "alpha", "axis", "effect", "low", "high", "n"],
    )
    null = effects[effects.alpha == 2].assign(outside_null=True)
    about = {**ABOUT, "config": {"alphas": [2.0]}}
    title = coefficients.sections({**tables, "effects": effects, "null": null}, about)[0].title
    assert title == (
        "Steering X moves it by +0.200 [+0.150, +0.250] at alpha 2, beyond random vectors; the"
        " lowest strength that works with both signs is |alpha| 2"
    )
    flat = effects.assign(low=-1.0, high=1.0)
    title = coefficients.sections(
        {**tables, "effects": flat, "null": null.assign(outside_null=False)}, about
    )[0].title
    assert "no strength tested" in title
    assert "within random vectors" in title
    dear = tables["cost"].assign(rise_low=1.0, kl_low=0.0, kl_high=9.0)
    page = coefficients.sections({**tables, "cost": dear}, ABOUT)
    check_tables(coefficients.ANALYSIS, tables)
    check_captions(coefficients.ANALYSIS, page)
    assert "about as much as a random vector" in page[1].title
    assert "at no strength" not in page[2].title
    likely = coefficients.sections({**tables, "cost": dear.assign(rise_low=-1.0)}, ABOUT)
    assert "X at no strength tested" in likely[2].title
    assert all(section.figure.to_json() for section in page)
