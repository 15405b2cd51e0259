"""Value and letter: readings against reads of one order, hand-made shifts, the report's words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from conftest import error_without_type_checks
from declared_tables import check_captions, check_tables
from planted import planted_model, planted_scenarios

from analyses.answer_encoding import ANALYSIS, ENCODINGS
from interp_culture.coupling.answer_encoding import (
    reading_effects,
    reading_shifts,
    reading_slopes,
    readings,
)
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout import validity as readout_module
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.prompts import LETTER_TEMPLATE, LETTER_TEMPLATES, letter_prompts
from interp_culture.scenarios.files import load_controls
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.study import study as study_module
from interp_culture.study.analysis import Tables
from interp_culture.study.config import StudyConfig
from interp_culture.study.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
        patch.setattr(readout_module, "load_controls", lambda: load_controls().sample(1, by="item"))
        reduced = {"sweep_per_item": 1, "sample_per_item": 3, "top_k": 1}
        out = str(tmp_path_factory.mktemp("encoding"))
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


def test_every_template_holds_the_options_where_it_says(few: ScenarioSet) -> None:
    scenario = few.scenarios[0]
    for name, words in LETTER_TEMPLATES.items():
        first, second = (p.prompt for p in letter_prompts(scenario, template=name))
        assert [first.user[a:b] for a, b in first.options] == [scenario.positive, scenario.negative]
        assert [second.user[a:b] for a, b in second.options] == [
            scenario.negative,
            scenario.positive,
        ]
        assert words.count("{situation}") == words.count("{first}") == words.count("{second}") == 1
    assert LETTER_TEMPLATES["paper"] == LETTER_TEMPLATE
    assert letter_prompts(scenario)[0] == letter_prompts(scenario, template="paper")[0]
    message = error_without_type_checks(
        "from interp_culture.readout.formats import ReadoutFormat;"
        "ReadoutFormat('letters', template='long')"
    )
    assert "unknown template 'long'; known: paper, question, bare" in message


def test_a_reading_of_one_order_is_what_that_order_alone_gives(
    tiny: LanguageModel, few: ScenarioSet
) -> None:
    few = ScenarioSet(few.scenarios[:6], few.catalogue)
    places = {s.id: letter_prompts(s, "random", 1)[0].positive for s in few}
    assert set(places.values()) == {0, 1}
    values = {}
    for template in ("paper", "bare"):
        form = ReadoutFormat("letters", template=template)
        both = readings(read_runs(tiny, few, {"": ()}, readout=form).assign(variant="A/B"))
        one_order = ReadoutFormat("letters", template=template, order="random", seed=1)
        read = read_runs(tiny, few, {"": ()}, readout=one_order)
        single = read.set_index("id").logit_diff
        values[template] = both.set_index(["reading", "id"]).logit_diff
        for i, place in places.items():
            name = ("positive first", "positive second")[place]
            assert values[template][name, i] == pytest.approx(single[i], abs=1e-4)
    assert not np.allclose(values["paper"]["value"], values["bare"]["value"])


def by_hand(value: float, letter: float, noise: float) -> pd.DataFrame:
    """Both signs of alpha 2: the value follows alpha, the letter moves alike under both signs."""
    rows = []
    runs = [("", "plain", -1, 0.0), ("X", "v", -1, 2.0), ("X", "v", -1, -2.0)]
    for steered, method, draw, alpha in [*runs, *[("X", "random", d, 2.0) for d in range(5)]]:
        size = {"plain": 0.0, "v": alpha, "random": noise * (-1) ** draw}[method]
        for n in range(12):
            choice = {"logit_diff": n / 10 + value * size, "position_bias": 3 + letter * abs(size)}
            where = {
                "id": f"s{n}",
                "axis": "X",
                "item": f"i{n % 3}",
                "domain": "d",
                "consistent": False,
            }
            run = {
                "variant": "A/B",
                "steered": steered,
                "method": method,
                "draw": draw,
                "alpha": alpha,
            }
            rows.append({**run, **where, **choice, "p_positive": 0.5})
    return pd.DataFrame(rows)


def test_value_and_letter_by_hand() -> None:
    table = by_hand(value=0.3, letter=0.8, noise=0.1)
    slopes = reading_effects(table).set_index("reading")
    changes = reading_shifts(table).set_index("reading")
    assert slopes.effect["value"] == pytest.approx(0.3)
    assert slopes.effect["letter"] == pytest.approx(0)
    assert slopes.sure[["value", "letter", "positive first"]].tolist() == [True, False, True]
    assert changes.loc["letter"].effect.tolist() == pytest.approx([1.6, 1.6])
    assert changes.loc["letter"].before.tolist() == [3, 3]
    assert changes.loc["value"].effect.tolist() == pytest.approx([-0.6, 0.6])
    assert changes.null_high["value"].tolist() == pytest.approx([2.5706 * 0.03] * 2, rel=1e-3)
    noisy = reading_effects(by_hand(value=0.3, letter=0.8, noise=3)).set_index("reading")
    assert not noisy.sure["value"]


def test_readouts_without_letters_are_refused() -> None:
    in_words = by_hand(0.3, 0.8, 0.1).drop(columns=["position_bias", "consistent"])
    for function in (readings, reading_slopes, reading_effects, reading_shifts):
        with pytest.raises(InputError, match=r"no position_bias and no consistent.*order='both'"):
            function(in_words)
        with pytest.raises(InputError, match="no column variant"):
            function(in_words.drop(columns="variant"))


def test_tables(study: Study, tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    assert list(tables["readouts"].variant.unique()) == list(ENCODINGS)
    assert set(tables["effects"].query("variant == 'continuation'").reading) == {"value", "P+"}
    assert len(tables["agreement"]) == 2 * 15
    assert set(tables["validity"].labels) == {"A/B", "1/2", "X/Y"}
    assert tables["readouts"].query("method == 'random'").draw.max() == 4


def test_the_words_follow_the_numbers(study: Study, tables: Tables) -> None:
    moved = tables["effects"].assign(
        sure=(tables["effects"].axis == "X") & (tables["effects"].variant == "1/2"), effect=1
    )
    value, letter = ANALYSIS.sections({**tables, "effects": moved}, study.about)
    check_captions(ANALYSIS, [value, letter])
    assert value.title.endswith(
        "beyond random vectors: X under 1 of 6 encodings (1/2), Y under 0 of 6 encodings"
    )
    assert "their check" in value.text[0]
    assert all(section.figure.to_json() for section in (value, letter))
    still = tables["letter"].assign(effect=0.0, sure=False)
    title = ANALYSIS.sections({**tables, "letter": still}, study.about)[1].title
    assert title.startswith("Steering moves the letter more than the value in 0 of 20 cases")
    assert title.endswith("beyond random vectors in 0")
