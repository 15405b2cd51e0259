"""Directions compared: one norm, one cost, disjoint halves, a planted truth, words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from declared_tables import check_captions, check_tables
from planted import planted_study

import interp_culture as ic
from analyses import directions
from interp_culture.scenarios.catalogue import Systems
from interp_culture.steering import Candidate, Training, TrainingReadings

FULL = {
    "mean_diff", "pca", "pca_centred", "lda", "logistic", "mean_diff at answer_mean",
    "mean_diff at answer_last", "mean_diff at letter", "gradient", "optimised", "random direction",
}  # fmt: skip
# In the planted model the texts of all scenarios differ alike, and letters differ in no way that
# both orders share: these directions are 0, and have no strength of equal KL.
NO_LINE = {"pca_centred", "lda", "mean_diff at letter"}
STEP = 0.2
FEW = (Candidate(), Candidate("lda"), Candidate("mean_diff", "answer_mean"), Candidate("gradient"))
COMPARED = {
    "mean_diff", "lda", "mean_diff at answer_mean", "gradient", "optimised", "random direction",
}  # fmt: skip


def make_study(folder: Path, **settings: Any) -> ic.Study:
    """On the planted model, whose answers are read as continuations."""
    # Small, since P+ near 0 or 1 would move alike under any direction.
    config: dict[str, Any] = {"alphas": [STEP], "layers": {"X": [1, 2], "Y": [2]}}
    config |= {"null": "predicted", "sample_per_item": 3, **settings}
    return planted_study(folder, **config)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions, "N_HALVINGS", 2)
        patch.setattr(directions, "N_NEUTRAL", 1)
        # Fewer than in use, since each takes some twenty searches for a strength.
        patch.setattr(directions, "OF_CONTRASTS", FEW)
        patch.setattr(directions, "TRAINING", Training(epochs=1))
        # No readout of a random model passes its check, and what fails is not read.
        checks = {name: replace(check, failures=()) for name, check in study.validity().items()}
        patch.setattr(study, "validity", lambda: checks)
        return study.measure(directions.ANALYSIS)


def row_of(table: pd.DataFrame, method: str, steered: str, axis: str) -> Any:
    is_row = (table.method == method) & (table.steered == steered) & (table.axis == axis)
    (row,) = table[is_row].itertuples()
    return row


def test_all_directions_make_steps_of_one_length(
    study: ic.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions, "TRAINING", Training(epochs=1))
    vectors = directions.candidate_vectors(study)
    assert set(vectors) == {"X", "Y"}
    runs = directions.equal_norm_runs(study, vectors)
    assert runs.pop(("", "plain", 0.0)) == []
    assert {(axis, name) for axis, name, _ in runs} == {(a, n) for a in "XY" for n in FULL}
    for (axis, name, alpha), edits in runs.items():
        paper = study.directions.of_paper()[axis].direction
        assert [edit.layer for edit in edits] == study.layers[axis]
        for edit in edits:
            norm = 0 if name in NO_LINE else float(paper[edit.layer].norm())
            assert float(edit.vector.norm()) == pytest.approx(norm, rel=1e-4), name
            assert edit.strength == alpha


def test_directions_at_some_layers_are_those_of_all(study: ic.Study) -> None:
    ids = [scenario.id for scenario in study.train.filter(axis="Y")]
    for method in ("pca", "logistic"):
        whole = ic.steering.direction(study.activations.select(ids), method)
        rows = study.directions.at_layers(Candidate(method), study.layers)["Y"].direction
        assert float(torch.cosine_similarity(rows[2], whole[2], dim=0)) == pytest.approx(
            1, abs=1e-4
        )
        assert not rows[[0, 1, 3]].any()
    gradient = study.directions.at_layers(Candidate("gradient"), study.layers)["Y"].direction[2]
    mean = study.directions.gradients.select(ids).gradient.mean(0)[2]
    assert float(torch.cosine_similarity(gradient, mean, dim=0)) == pytest.approx(1, abs=1e-4)


def test_effects_are_slopes_of_the_readouts(study: ic.Study, tables: Any) -> None:
    table = tables["readouts"]
    assert set(table.method) == COMPARED | {"plain"}
    means = table[table.axis == "X"].groupby(["steered", "method", "alpha"]).p_positive.mean()
    row = row_of(tables["effects"], "gradient", "Y", "X")
    by_hand = (means["Y", "gradient", STEP] - means["Y", "gradient", -STEP]) / (2 * STEP)
    assert row.effect == pytest.approx(by_hand)
    paper = row_of(tables["effects"], "mean_diff", "Y", "X")
    assert row_of(tables["against"], "gradient", "Y", "X").effect == pytest.approx(
        row.effect - paper.effect
    )
    assert directions.readouts(study).equals(table)


def test_the_gradient_moves_x_more_than_the_paper_s_direction(tables: Any) -> None:
    """The texts' difference lies along what moves X and what moves Y; the gradient along X alone."""
    for name in ("effects", "equal_kl"):
        paper = row_of(tables[name], "mean_diff", "X", "X")
        gradient = row_of(tables[name], "gradient", "X", "X")
        assert gradient.effect > 1.03 * paper.effect > 0
    drag = {m: row_of(tables["effects"], m, "X", "Y").effect for m in ("mean_diff", "gradient")}
    assert abs(drag["gradient"]) < abs(drag["mean_diff"]) / 5


def test_equal_kl_is_equal(study: ic.Study, tables: Any) -> None:
    """The KL is measured here without the analysis."""
    strengths = tables["strengths"]
    assert set(strengths.method) == COMPARED - NO_LINE
    text = directions.neutral_texts(study)[0][:60].rsplit(maxsplit=1)[0]
    vectors = directions.candidate_vectors(study)
    for (steered, sign), rows in strengths.groupby(["steered", "sign"]):
        runs = {
            row.method: ic.steer(
                vectors[steered][row.method], study.layers[steered], sign * row.alpha
            )
            for row in rows.itertuples()
        }
        kl = ic.kl_on_neutral(study.model, runs, [text]).set_index("run").kl
        assert kl.to_numpy() == pytest.approx(kl["mean_diff"], rel=0.02)
        assert rows.set_index("method").alpha["mean_diff"] == STEP
    steered_at = directions.equal_kl_runs(study, vectors, strengths)
    for row in strengths.itertuples():
        edits = steered_at[row.steered, row.method, row.sign * STEP]
        assert {edit.strength for edit in edits} == {row.sign * row.alpha}
    # At its own strength the paper's direction is what it is at equal norm.
    for name in ("effect", "low", "high"):
        pair = [
            getattr(row_of(tables[t], "mean_diff", "X", "X"), name) for t in ("effects", "equal_kl")
        ]
        assert pair[0] == pytest.approx(pair[1])


def test_multiples_divide_effects(tables: Any) -> None:
    equal_kl = tables["equal_kl"]
    paper, gradient = (row_of(equal_kl, m, "X", "X") for m in ("mean_diff", "gradient"))
    assert gradient.multiple == pytest.approx(gradient.effect / paper.effect)
    assert gradient.multiple_low <= gradient.multiple <= gradient.multiple_high
    assert (paper.multiple, paper.multiple_low, paper.multiple_high) == pytest.approx((1, 1, 1))
    assert np.isnan(row_of(equal_kl, "gradient", "X", "Y").multiple)


def test_transfer_is_read_by_the_other_readout(study: ic.Study, tables: Any) -> None:
    transfer = tables["transfer"]
    assert set(transfer.readout) == {"letters", "continuation"}
    vectors = study.directions.at_layers(Candidate("gradient"), study.layers)["X"]
    scenarios = study.sample.filter(axis="X")
    (other,) = {"letters", "continuation"} - {study.primary_readout}
    for readout in (study.primary_readout, other):
        ends = [
            ic.probe(
                study.model,
                scenarios,
                edits=ic.steer(vectors, [1, 2], alpha),
                readout=study.format(readout),
            ).logit_diff.mean()
            for alpha in (STEP, -STEP)
        ]
        row = row_of(transfer[transfer.readout == readout], "gradient", "X", "X")
        assert row.effect == pytest.approx((ends[0] - ends[1]) / (2 * STEP), abs=1e-4)


def test_halves_share_no_scenario_and_hold_every_item(
    study: ic.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ic.ScenarioSet] = []
    direction: Callable[..., Any] = TrainingReadings.direction
    monkeypatch.setattr(directions, "N_HALVINGS", 2)
    monkeypatch.setattr(directions, "OF_CONTRASTS", (Candidate(),))
    monkeypatch.setattr(
        TrainingReadings,
        "direction",
        lambda self, candidate, half, *rest: (
            seen.append(half) or direction(self, candidate, half, *rest)
        ),
    )
    table = directions.split_half_cosines(study)
    assert table.cosine.abs().max() <= 1 + 1e-6
    assert len(seen) == 2 * 2 * 2
    for one, other in zip(seen[::2], seen[1::2], strict=True):
        (axis,) = one.axes
        ids = [{scenario.id for scenario in half} for half in (one, other)]
        assert not ids[0] & ids[1]
        assert ids[0] | ids[1] == {scenario.id for scenario in study.train.filter(axis=axis)}
        assert set(one.items) == set(other.items)
    assert [s.id for s in seen[0]] != [s.id for s in seen[2]]


def test_a_brief_study_compares_five_directions_by_one_readout(tmp_path: Path) -> None:
    study = make_study(tmp_path, brief=True)
    tables = study.measure(directions.ANALYSIS)
    assert set(tables["effects"].method) == {
        "mean_diff", "mean_diff at answer_mean", "pca", "gradient", "random direction"
    }  # fmt: skip
    assert set(tables["transfer"].readout) == {study.primary_readout}
    page = directions.sections(tables, study.about)
    check_tables(directions.ANALYSIS, tables)
    check_captions(directions.ANALYSIS, page)
    assert len(page) == 4


def test_personas_are_a_site_where_every_axis_has_them(
    study: ic.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert directions.PERSONA not in directions.of_contrasts(study)
    systems = Systems(positive="Be a.", negative="Be b.")
    catalogue = study.scenarios.catalogue
    for names, expected in ((("X",), False), (("X", "Y"), True)):
        changed = {
            name: catalogue.axes[name].model_copy(update={"systems": systems}) for name in names
        }
        with_systems = catalogue.model_copy(update={"axes": {**catalogue.axes, **changed}})
        scenarios = replace(study.scenarios, catalogue=with_systems)
        monkeypatch.setattr(study, "scenarios", scenarios)
        assert (directions.PERSONA in directions.of_contrasts(study)) == expected


def test_sections_follow_the_numbers(study: ic.Study, tables: Any) -> None:
    page = directions.sections(tables, study.about)
    check_tables(directions.ANALYSIS, tables)
    check_captions(directions.ANALYSIS, page)
    assert all(section.figure.to_json() for section in page)
    assert len(page) == 5
    methods = tables["equal_kl"].method
    value = np.where(methods == "mean_diff at answer_mean", 0.5, 0.01)
    clear = tables["equal_kl"].assign(effect=value, low=value - 0.005, high=value + 0.005)
    null = tables["null"].assign(null_low=-0.1, null_high=0.1)
    title = directions.sections({**tables, "equal_kl": clear, "null": null}, study.about)[0].title
    assert title.startswith(
        "The direction mean_diff at answer_mean moves X and Y furthest at equal KL: X +0.500 ["
    )
    wide = null.assign(null_low=-2.0, null_high=2.0)
    still = {**tables, "equal_kl": clear, "null": wide}
    shown = directions.sections(still, study.about)
    assert shown[0].title == "No direction moves X or Y beyond random vectors at equal KL"
    assert shown[1].title.startswith("None of ")
