"""Items on a model whose items agree: every vector of X moves the rest of X, and Y with it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from declared_tables import check_captions, check_tables
from planted import COUPLING, ITEMS, planted_model, planted_scenarios
from scipy.stats import t

from analyses.items import ANALYSIS, item_vectors
from interp_culture.coupling.null import beside_random
from interp_culture.readout import validity as readout_module
from interp_culture.scenarios.files import load_controls
from interp_culture.study import study as study_module
from interp_culture.study.analysis import Tables
from interp_culture.study.config import StudyConfig
from interp_culture.study.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(8))
        patch.setattr(readout_module, "load_controls", lambda: load_controls().sample(1, by="item"))
        reduced = {
            "sweep_per_item": 1,
            "test_per_cell": 3,
            "sample_per_item": 9,
            "null_per_item": 3,
            "top_k": 2,
        }
        out = str(tmp_path_factory.mktemp("items"))
        yield Study(
            StudyConfig(
                method="mean_diff",
                model="planted",
                out=out,
                alphas=[0.1],
                sweep_alphas=[0.1],
                **reduced,
            )
        )


@pytest.fixture(scope="module")
def tables(study: Study) -> Tables:
    return study.measure(ANALYSIS)


def test_vectors_of_items_have_the_step_of_their_axis(study: Study) -> None:
    whole = study.vectors()
    for item, v in item_vectors(study).items():
        assert item in ITEMS[v.axis]
        assert torch.allclose(
            v.direction.norm(dim=-1), whole[v.axis].direction.norm(dim=-1), rtol=1e-4
        )


def test_items_of_an_axis_agree(tables: Tables) -> None:
    cosine = tables["cosines"].set_index(["a", "b"]).cosine
    assert all(
        cosine[i, i] == pytest.approx(1, abs=1e-5) for items in ITEMS.values() for i in items
    )
    assert cosine["X1", "X2"] > cosine["X1", "Y1"] + 0.3
    trust = tables["reliability"].set_index("item")
    assert list(trust.columns) == ["axis", "cosine", "low", "high", "whole", "loo"]
    assert trust.loo["X1"] > 0.9
    assert (trust.cosine > 0.5).all()


def test_what_an_item_moves(tables: Tables) -> None:
    cross = tables["cross"].set_index(["source", "item"])
    assert len(cross) == 36
    assert (cross.n == 3).all()
    axes = tables["by_axis"].set_index(["source", "axis"])
    assert axes.effect["X1", "X"] == pytest.approx(
        (cross.effect["X1", "X2"] + cross.effect["X1", "X3"]) / 2
    )
    assert (axes.n["X1", "X"], axes.n["X1", "Y"]) == (6, 9)
    own = axes.effect["X1", "X"]
    along = axes.effect["X1", "Y"]
    assert along / own == pytest.approx(COUPLING, rel=0.5)
    assert (axes.null_low < axes.null_high).all()


def test_random_vectors_are_read_on_the_same_items(study: Study, tables: Tables) -> None:
    random = study.steered(study.primary_readout).query(
        "method == 'random' and steered == 'X' and item in ['X2', 'X3']"
    )
    plain = (
        study.steered(study.primary_readout).query("method == 'plain'").set_index("id").p_positive
    )
    draws = (random.p_positive - random.id.map(plain)).groupby(random.draw).mean() / 0.1
    expected = t.ppf(0.975, len(draws)) * (draws**2).mean() ** 0.5
    assert tables["by_axis"].set_index(["source", "axis"]).null_high["X1", "X"] == pytest.approx(
        expected, rel=1e-3
    )


def test_sure_takes_an_interval_without_0_beyond_random_vectors() -> None:
    effects = pd.DataFrame({"item": list("abcd"), "effect": [0.5, 0.5, -0.5, -0.5]})
    effects = effects.assign(low=[0.4, -0.1, -0.6, -0.6], high=[0.6, 1, -0.4, -0.4])
    reach = pd.DataFrame(
        {"item": list("abcd"), "null_low": -0.3, "null_high": [0.3, 0.3, 0.3, 0.7]}
    )
    assert beside_random(effects, reach).sure.tolist() == [True, False, True, False]


def test_the_title_names_the_items(study: Study, tables: Tables) -> None:
    sections = ANALYSIS.sections(tables, study.about)
    check_tables(ANALYSIS, tables)
    check_captions(ANALYSIS, sections)
    assert (
        "the rest of their axis as intended: X1, X2, X3, Y1, Y2, Y3; the wrong way: none"
        in sections[0].title
    )
    assert "another axis: X1, X2, X3" in sections[0].title
    assert all(section.figure.to_json() for section in sections)


def test_titles_say_when_nothing_moves_or_moves_the_wrong_way(study: Study, tables: Tables) -> None:
    null = tables["by_axis"].assign(effect=0.0, low=-1.0, high=1.0, sure=False)
    wrong = null.assign(effect=-0.5, low=-0.6, high=-0.4, sure=True)
    wrong = pd.concat(
        [wrong[(wrong.source == "Y1") & (wrong.axis == "Y")], null[null.source != "Y1"]]
    )
    titles = [
        ANALYSIS.sections({**tables, "by_axis": t}, study.about)[0].title for t in (null, wrong)
    ]
    assert titles[0] == "No item's vector is shown to move the rest of its axis, or another axis"
    assert titles[1].endswith("as intended: none; the wrong way: Y1; another axis: none")
    flat = tables["cosines"].assign(cosine=0.1)
    assert (
        "are not shown to be more alike"
        in ANALYSIS.sections({**tables, "cosines": flat}, study.about)[1].title
    )
