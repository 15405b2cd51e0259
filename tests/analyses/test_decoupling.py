"""Decoupled vectors of a study on a model of known coupling: the drag goes, the effect stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from declared_tables import check_captions, check_tables
from planted import planted_study

import interp_culture as ic
from analyses import decoupling
from analyses.decoupling import ANALYSIS, BRIEF, EQUAL_EFFECT, EQUAL_NORM, UNCHANGED, sections
from interp_culture.coupling import DECOUPLINGS
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("study"), brief=True, alphas=[0.2], sweep_alphas=[0.2],
        sweep_method="gradient", top_k=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


@pytest.mark.parametrize("method", BRIEF)
def test_the_drag_goes_and_the_effect_stays(method: str, tables: Tables) -> None:
    """v_Y is Y's direction and v_X has a part along it, so that every method takes it away."""
    effects = tables["effects"].set_index(["method", "steered", "axis"])
    before = effects.loc[(UNCHANGED, "X", "Y")]
    assert before.sure
    assert abs(effects.loc[(method, "X", "Y")].effect) < 0.1 * before.effect
    kept = tables["kept"].set_index(["method", "steered"]).multiple
    assert kept[method, "X"] > 0.8
    assert kept[UNCHANGED, "X"] == pytest.approx(1)


def test_cost_is_measured_at_equal_norm_and_at_equal_effect(
    study: ic.Study, tables: Tables
) -> None:
    """The strength and the KL are computed here without the analysis."""
    cost = tables["cost"].set_index(["at", "method", "steered"])
    assert set(cost.alpha[EQUAL_NORM]) == {0.2}
    effects = tables["effects"].set_index(["method", "steered", "axis"]).effect
    texts = ic.scenarios.neutral_beginnings(decoupling.N_NEUTRAL_BRIEF)
    made = decoupling.decoupled_vectors(study)
    for method in (UNCHANGED, *BRIEF):
        row = cost.loc[EQUAL_EFFECT, method, "X"]
        own = effects[method, "X", "X"]
        assert row.alpha * own == pytest.approx(0.2 * effects[UNCHANGED, "X", "X"])
        edits = ic.steer(made[method]["X"], study.layers["X"], row.alpha)
        kl = ic.kl_on_neutral(study.model, {"": edits}, texts).kl.mean()
        assert row.kl == pytest.approx(kl, rel=1e-4)


def test_effects_by_domain_are_those_of_its_scenarios(
    study: ic.Study, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_domains(table: pd.DataFrame) -> pd.DataFrame:
        # The planted scenarios have one domain.
        is_even = table.id.str.split("-").str[1].astype(int) % 2 == 0
        return table.assign(domain=is_even.map({True: "even", False: "odd"}))

    steered = with_domains(study.steered(study.primary_readout))
    monkeypatch.setattr(study, "steered", lambda readout: steered)
    table = with_domains(tables["readouts"])
    slopes = ic.coupling.slopes(table, decoupling.GROUP)
    shifted = ic.coupling.shifts(study.steered(study.primary_readout))
    effects = decoupling.effects_of(shifted, slopes, ["domain"])
    means = table.groupby(["method", "steered", "alpha", "domain", "axis"]).p_positive.mean()
    for row in effects[effects.method == "nearest"].itertuples():
        ends = [means["nearest", row.steered, alpha, row.domain, row.axis] for alpha in (0.2, -0.2)]
        assert row.effect == pytest.approx((ends[0] - ends[1]) / 0.4)
    assert set(effects.domain) == {"even", "odd"}
    # Each domain has a band of its own.
    assert effects.null_high.notna().all()
    assert effects.groupby(["steered", "axis"]).null_high.nunique().max() == 2
    whole = tables["by_domain"].drop(columns="domain")
    assert whole.equals(tables["effects"])


def test_a_full_study_has_all_methods_perplexity_and_the_other_readout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planted_study(
        tmp_path, alphas=[0.2], layers={"X": [1, 2], "Y": [2]}, null="predicted", sample_per_item=3
    )
    monkeypatch.setattr(decoupling, "N_NEUTRAL", 1)
    monkeypatch.setattr(decoupling, "N_TOKENS", 2)
    # No readout of a random model passes its check, and what fails is not read.
    checks = {name: replace(check, failures=()) for name, check in study.validity().items()}
    monkeypatch.setattr(study, "validity", lambda: checks)
    with pytest.warns(ic.coupling.ErasureWarning):
        tables = study.measure(ANALYSIS)
    check_tables(ANALYSIS, tables)
    assert set(tables["effects"].method) == {UNCHANGED, *DECOUPLINGS}
    erased = tables["effects"].set_index(["method", "steered", "axis"]).effect
    assert abs(erased["leace", "X", "Y"]) < 0.1 * erased[UNCHANGED, "X", "Y"]
    at_effect = tables["cost"][tables["cost"]["at"] == EQUAL_EFFECT]
    perplexity = tables["perplexity"]
    runs = set(zip(perplexity.method, perplexity.steered, strict=True))
    assert runs == {("plain", ""), *zip(at_effect.method, at_effect.steered, strict=True)}
    (plain,) = perplexity[perplexity.method == "plain"].rise
    assert plain == 0
    by_readout = tables["by_readout"].set_index(["readout", "method", "steered", "axis"]).effect
    ends = [
        ic.probe(
            study.model, study.sample.filter(axis="Y"), readout=study.format("letters"),
            edits=ic.steer(study.vectors()["X"], [1, 2], alpha),
        ).logit_diff.mean()
        for alpha in (0.2, -0.2)
    ]  # fmt: skip
    expected = (ends[0] - ends[1]) / 0.4
    assert by_readout["letters", UNCHANGED, "X", "Y"] == pytest.approx(expected, abs=1e-4)
    (section,) = sections(tables, study.about)
    assert any(text.startswith("By letters, logits per unit alpha: ") for text in section.text)
    assert any(text.startswith("Rise of the cross-entropy") for text in section.text)


def test_tables_findings_and_figure(study: ic.Study, tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    (section,) = made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    expected = f"Decoupled vectors: X → Y: within random vectors after {', '.join(BRIEF)}"
    assert section.title == expected
    assert (tables["cost"].kl > 0).all()
    assert tables["perplexity"].empty
    assert set(tables["by_readout"].readout) == {study.primary_readout}
    few = tables["by_domain"].assign(low=float("nan"), high=float("nan"))
    (without,) = sections({**tables, "by_domain": few}, study.about)
    assert any(text.startswith("No domain has the six") for text in without.text)
    no_drag = tables["effects"].assign(sure=False)
    (without,) = sections({**tables, "effects": no_drag}, study.about)
    assert without.title.startswith("There is no coupling to take away")
