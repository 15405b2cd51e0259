"""Distances to countries: against the map by hand, paired draws, a planted move, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from declared_tables import check_captions, check_tables

import interp_culture as ic
from analyses import distances, paradigms
from interp_culture.study import study as study_module
from interp_culture.survey import culture_map, target_personas
from interp_culture.survey.wvs import TARGETS, countries, survey_items

ABOUT = {"n_persona": 60}


def planted(
    moved: dict[str, float], kinds: Sequence[str] = ("basic", "advanced")
) -> dict[str, pd.DataFrame]:
    """Tables of `paradigms`: scores are noise around 0.4, plus a persona's entry in `moved`."""
    noise = np.random.default_rng(0).normal(0.4, 0.1, (10, 2, 3))
    rows = [
        (
            name,
            name.split(":")[0],
            persona.iso3 if persona else "",
            item,
            domain,
            noise[i, j, n] + moved.get(name, 0.0),
        )
        for name, persona in target_personas(kinds).items()
        for i, item in enumerate(survey_items().index)
        for j, domain in enumerate(("family", "legal"))
        for n in range(3)
    ]
    readouts = pd.DataFrame(rows, columns=[*paradigms.KEYS, "item", "domain", "p_positive"])
    own = readouts.groupby(paradigms.KEYS, sort=False)[["item", "domain", "p_positive"]]
    scenarios = own.apply(lambda part: pd.Series(culture_map.place(part))).reset_index()
    direct = scenarios.drop(columns=["x_low", "x_high", "y_low", "y_high"]).assign(
        paradigm="direct"
    )
    return {
        "readouts": readouts,
        "places": pd.concat([direct, scenarios.assign(paradigm="scenarios")]),
    }


def derived(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    positions = distances.map_positions(tables)
    return {"distances": distances.distances(positions), "gains": distances.gains(positions)}


def test_distances_by_hand() -> None:
    tables = planted({"basic:Denmark": 0.2})
    away = derived(tables)["distances"]
    assert len(away) == 2 * (4 + 8 + 4)
    row = away.query("paradigm == 'scenarios' and kind == 'basic' and iso3 == 'DNK'").iloc[0]
    place = tables["places"].query("paradigm == 'scenarios' and persona == 'basic:Denmark'").iloc[0]
    apart = {
        c: np.hypot(place.x - there.x, place.y - there.y) for c, there in countries().iterrows()
    }
    assert row.effect == pytest.approx(apart["DNK"])
    assert row.low < row.effect < row.high
    assert row["rank"] == 1 + sum(d < apart["DNK"] for d in apart.values())
    assert away[away.paradigm == "direct"].low.isna().all()


def test_a_gain_is_the_difference_of_two_distances_of_the_same_draws() -> None:
    derived_tables = derived(planted({"basic:Denmark": 0.2}))
    away = (
        derived_tables["distances"]
        .query("paradigm == 'scenarios'")
        .set_index(["kind", "iso3"])
        .effect
    )
    gained = (
        derived_tables["gains"]
        .query("paradigm == 'scenarios'")
        .set_index(["kind", "iso3", "against"])
    )
    moved = gained.loc["basic", "DNK", distances.PLAIN]
    assert moved.effect == pytest.approx(away["none", "DNK"] - away["basic", "DNK"])
    assert moved.low > 0
    assert gained.effect["basic", "DNK", distances.OTHERS] == pytest.approx(moved.effect)
    assert gained.effect["basic", "DNK", distances.NEUTRAL] == pytest.approx(
        away["no preference", "DNK"] - away["basic", "DNK"]
    )
    unmoved = gained.loc["advanced", "DNK", distances.PLAIN]
    assert unmoved[["effect", "low", "high"]].tolist() == [0, 0, 0]


def test_what_any_persona_does_is_no_knowledge_of_the_country() -> None:
    gains = derived(planted({name: 0.2 for name in target_personas() if name != "none"}))["gains"]
    denmark = gains.query("paradigm == 'scenarios' and iso3 == 'DNK'").set_index(
        ["kind", "against"]
    )
    assert (denmark.low.xs(distances.PLAIN, level="against") > 0).all()
    np.testing.assert_allclose(denmark.effect.xs(distances.OTHERS, level="against"), 0, atol=1e-12)


def test_fewer_personas_are_compared_with_one_another() -> None:
    derived_tables = derived(planted({"basic:Denmark": 0.2}, ["basic"]))
    assert len(derived_tables["distances"]) == 2 * (4 + 4 + 4)
    away = (
        derived_tables["distances"]
        .query("paradigm == 'scenarios'")
        .set_index(["kind", "iso3"])
        .effect
    )
    gained = (
        derived_tables["gains"]
        .query("paradigm == 'scenarios'")
        .set_index(["kind", "iso3", "against"])
        .effect
    )
    # Personas of other countries have not moved: they are where the plain model is.
    assert gained["basic", "DNK", distances.OTHERS] == pytest.approx(
        away["none", "DNK"] - away["basic", "DNK"]
    )


def test_words_follow_the_numbers() -> None:
    tables = derived(planted({"basic:Denmark": 0.2}))
    page = distances.sections(tables, ABOUT)
    check_tables(distances.ANALYSIS, tables)
    check_captions(distances.ANALYSIS, page)
    assert page[0].title.startswith(
        "1 of 8 personas bring decisions nearer to their country than the plain model"
    )
    null = distances.sections(derived(planted({})), ABOUT)
    assert null[0].title.startswith("No persona is shown")
    assert all(section.figure.to_json() for section in page + null)


def test_bootstrap_draws_are_those_of_the_place() -> None:
    part = planted({})["readouts"].query("persona == 'none'")
    draws = culture_map.place_draws(part)
    place = culture_map.place(part)
    assert draws.shape == (2000, 2)
    np.testing.assert_allclose(np.percentile(draws, [2.5, 97.5], axis=0), [
        [place["x_low"], place["y_low"]], [place["x_high"], place["y_high"]],
    ])  # fmt: skip
    assert np.abs(culture_map.place_draws(part, seed=1) - draws).max() > 0.01


def test_one_scenario_an_item_has_no_interval() -> None:
    tables = planted({"basic:Denmark": 0.2})
    one = tables["readouts"].drop_duplicates([*paradigms.KEYS, "item"])
    assert np.isnan(culture_map.place_draws(one[one.persona == "none"])).all()
    derived_tables = derived({**tables, "readouts": one})
    assert derived_tables["gains"].low.isna().all()
    assert distances.sections(derived_tables, ABOUT)[0].title.startswith("No persona is shown")


def test_measured_from_the_tables_of_paradigms(
    tiny: ic.LanguageModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: tiny)
    study = ic.Study(ic.StudyConfig(model="tiny", out=str(tmp_path), test_per_cell=1))
    tables = planted({"basic:Denmark": 0.2})
    stub = ic.study.Analysis("paradigms", "", lambda study: tables, lambda *_: [])
    monkeypatch.setattr(ic.study, "find_analysis", lambda name: {"paradigms": stub}[name])
    measured = study.measure(distances.ANALYSIS)
    pd.testing.assert_frame_equal(measured["gains"], derived(tables)["gains"])
    assert (study.folder / "paradigms.places.parquet").exists()
    assert set(measured["gains"].iso3) == set(TARGETS)
