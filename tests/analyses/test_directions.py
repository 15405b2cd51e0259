"""Methods of extraction: one norm, distinct directions, disjoint halves, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from declared_tables import check_captions, check_tables
from planted import planted_scenarios

import interp_culture as ic
from analyses import pca_vs_mean_diff
from interp_culture.engine.model import LanguageModel

LABELS = set(pca_vs_mean_diff.METHODS.values())


@pytest.fixture(scope="module")
def study(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    folder = str(tmp_path_factory.mktemp("study"))
    made = ic.Study(
        ic.StudyConfig(
            model="tiny", out=folder, alphas=[2.0], sweep_alphas=[2.0], top_k=2, sample_per_item=6
        )
    )
    made.model = tiny
    made.scenarios = planted_scenarios()
    return made


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pca_vs_mean_diff, "N_HALVINGS", 3)
        patch.setattr(pca_vs_mean_diff, "N_PROMPTS", 2)
        patch.setattr(pca_vs_mean_diff, "N_TOKENS", 3)
        return study.measure(pca_vs_mean_diff.ANALYSIS)


def test_all_methods_make_steps_of_one_length(study: ic.Study) -> None:
    runs = pca_vs_mean_diff.steered_runs(study)
    v = study.vectors()["X"]
    assert {(method, alpha) for axis, method, alpha in runs if axis == "X"} == {
        (m, a) for m in LABELS for a in (2, -2)
    }
    for (axis, method, alpha), edits in runs.items():
        if axis == "X":
            assert [e.layer for e in edits] == study.layers["X"]
            for e in edits:
                assert float(e.vector.norm()) == pytest.approx(
                    float(v.direction[e.layer].norm()), rel=1e-4
                )
                assert e.strength == alpha
                same = torch.allclose(e.vector, v.direction[e.layer], rtol=1e-3, atol=1e-5)
                assert same == (method == "mean_diff")


def test_directions_at_some_layers_are_those_of_all(study: ic.Study) -> None:
    ids = [s.id for s in study.train.filter(axis="Y")]
    whole = ic.steering.direction(study.activations.select(ids), "lda")
    for edit in pca_vs_mean_diff.steered_runs(study)["Y", "lda", 2.0]:
        cosine = torch.cosine_similarity(edit.vector, whole[edit.layer], dim=0)
        assert float(cosine) == pytest.approx(1, abs=1e-4)


def test_effects_are_slopes_of_the_readouts(study: ic.Study, tables: Any) -> None:
    table = tables["readouts"]
    assert set(table.method) == LABELS | {"plain"}
    assert set(tables["effects"].method) == LABELS
    means = table[table.axis == "X"].groupby(["steered", "method", "alpha"]).p_positive.mean()
    row = tables["effects"].query("method == 'pca' and steered == 'Y' and axis == 'X'").iloc[0]
    assert row.effect == pytest.approx((means["Y", "pca", 2.0] - means["Y", "pca", -2.0]) / 4)
    own = (
        tables["effects"].query("method == 'mean_diff' and steered == 'Y' and axis == 'X'").iloc[0]
    )
    less = tables["against"].query("method == 'pca' and steered == 'Y' and axis == 'X'").iloc[0]
    assert less.effect == pytest.approx(row.effect - own.effect)
    assert set(tables["ratios"].method) == LABELS
    assert set(tables["fluency"].method) == LABELS | {"plain"}
    assert pca_vs_mean_diff.readouts(study).equals(table)


def test_halves_share_no_scenario_and_hold_every_item(
    study: ic.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(pca_vs_mean_diff, "N_HALVINGS", 2)
    monkeypatch.setattr(pca_vs_mean_diff, "METHODS", {"mean_diff": "mean_diff"})
    select = ic.steering.Activations.select
    monkeypatch.setattr(
        ic.steering.Activations,
        "select",
        lambda self, ids: seen.append(tuple(ids)) or select(self, ids),
    )
    cosines = pca_vs_mean_diff.split_half_cosines(study)
    assert cosines.cosine.between(-1, 1).all()
    whole, *halves = seen[: 1 + 2 * 2]
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        assert not set(one) & set(other)
        assert set(one) | set(other) == set(whole)
        assert {i.split("-")[0] for i in one} == {i.split("-")[0] for i in whole}
    assert set(halves[0]) != set(halves[2])


def test_sections_follow_the_numbers(study: ic.Study, tables: Any) -> None:
    page = pca_vs_mean_diff.sections(tables, study.about)
    check_tables(pca_vs_mean_diff.ANALYSIS, tables)
    check_captions(pca_vs_mean_diff.ANALYSIS, page)
    assert all(section.figure.to_json() for section in page)
    effects = tables["effects"]
    clear = effects.assign(
        effect=np.where(effects.method == "pca", 1.0, 0.0),
        low=np.where(effects.method == "pca", 0.9, -1),
    )
    null = pd.DataFrame(
        [(a, b, -0.1, 0.1) for a in "XY" for b in "XY"], columns=["steered", "axis", "low", "high"]
    )
    null["reach"] = 0.1
    title = pca_vs_mean_diff.sections({**tables, "effects": clear, "null": null}, study.about)[
        0
    ].title
    assert title.endswith("X pca; Y pca")
    title = pca_vs_mean_diff.sections(
        {**tables, "effects": clear, "null": null.assign(high=2.0, reach=2.0)}, study.about
    )[0].title
    assert title.endswith("X none; Y none")
