"""Loading, validating and splitting; every fault of a file is named with line, field and fix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from interp_culture.errors import InputError
from interp_culture.resources import DATA
from interp_culture.scenarios.data_faults import DataWarning
from interp_culture.scenarios.files import load_controls, load_scenarios, shipped_sets
from interp_culture.scenarios.scenario import ScenarioSet

GOOD = {
    "id": "Y01-family-01",
    "axis": "Y",
    "item": "Y01",
    "domain": "family",
    "situation": "Someone must choose.",
    "positive": "Take this.",
    "negative": "Take that.",
}


def test_shipped_set_fills_every_cell(shipped: ScenarioSet) -> None:
    cells = Counter(s.cell for s in shipped)
    assert len(cells) == 30
    assert set(cells.values()) == {20}
    assert shipped.axes == ["X", "Y"]
    assert len({s.situation for s in shipped}) == len(shipped)


def test_shipped_options_do_not_differ_in_length(shipped: ScenarioSet) -> None:
    differences = [len(s.positive.split()) - len(s.negative.split()) for s in shipped]
    assert max(map(abs, differences)) <= 3
    assert abs(sum(differences) / len(differences)) < 0.25


def test_split_is_stratified_seeded_and_disjoint(shipped: ScenarioSet) -> None:
    train, test = shipped.split(seed=42)
    assert not {s.id for s in train} & {s.id for s in test}
    assert len(train) + len(test) == len(shipped)
    for half in (train, test):
        sizes = Counter(s.cell for s in half)
        assert len(sizes) == 30
        assert max(sizes.values()) - min(sizes.values()) <= 1
    assert [s.id for s in shipped.split(seed=42)[0]] == [s.id for s in train]
    assert [s.id for s in shipped.split(seed=7)[0]] != [s.id for s in train]


def test_filter_sample_and_digest(shipped: ScenarioSet) -> None:
    family_x = shipped.filter(axis="X", domain="family")
    assert {(s.axis, s.domain) for s in family_x} == {("X", "family")}
    assert Counter(s.cell for s in shipped.sample(2)) == Counter({s.cell: 2 for s in shipped})
    assert family_x.digest != shipped.digest
    with pytest.raises(InputError, match="unknown axis 'Q': this set has X, Y"):
        shipped.filter(axis="Q")


def test_the_tone_set_is_shipped_by_name() -> None:
    tone = load_scenarios("tone")
    assert tone.axes == ["F", "C"]
    assert Counter(s.axis for s in tone) == {"F": 30, "C": 30}
    assert set(Counter(s.cell for s in tone).values()) == {5}
    train, test = tone.split()
    assert (len(train), len(test)) == (30, 30)


def test_controls_have_a_right_answer_each() -> None:
    controls = load_controls()
    assert len(controls) == 52
    assert controls.catalogue.axes["control"].positive == "right"


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_is_known_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        load_scenarios(name).digest
        == load_scenarios(DATA / name).digest
        == load_scenarios(Path(name)).digest
    )


def test_names_of_shipped_sets(
    shipped: ScenarioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"culture", "controls"} <= set(shipped_sets())
    assert "survey" not in shipped_sets()
    assert load_scenarios("culture").digest == shipped.digest
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=rf"^mood: no such file .* shipped set: {', '.join(shipped_sets())}$"
    ):
        load_scenarios("mood")
    with pytest.raises(InputError, match=r"sub/culture: no such file"):
        load_scenarios("sub/culture")
    (tmp_path / "culture").mkdir()
    with pytest.raises(InputError, match=r"culture: no \.jsonl file in this folder"):
        load_scenarios("culture")
    assert load_scenarios().digest == shipped.digest


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [{k: v for k, v in GOOD.items() if k != "negative"}],
            r":1: field 'negative': missing; add it",
        ),
        ([{**GOOD, "situation": 7}], r":1: field 'situation': .* got int '7'"),
        (
            [GOOD, {**GOOD, "positive": "Else."}],
            r":2: field 'id': 'Y01-family-01' is already at .*:1;",
        ),
        ([{**GOOD, "axis": "Z"}], r":1: field 'axis': unknown axis 'Z'; known: X, Y"),
        (
            [{**GOOD, "domain": "moon"}],
            r":1: field 'domain': unknown domain 'moon'; known: family, workplace, legal",
        ),
        ([{**GOOD, "item": "Y09"}], r":1: field 'item': unknown item 'Y09'"),
        ([{**GOOD, "axis": "X"}], r":1: field 'axis': 'X', but item Y01 belongs to axis 'Y'"),
        ([{**GOOD, "positive": "  "}], r":1: field 'positive': empty text; write one"),
        ([{**GOOD, "negative": GOOD["positive"]}], r"the same text; write two different options"),
        ([{**GOOD, "mood": "x"}], r":1: field 'mood': not a field of this record"),
        ([b'{"id": "Y01-fam\xff"}'], r":1: byte 16 is not UTF-8"),
        ([GOOD, b'{"id": "Y01-family-02", "axis"'], r":2: invalid JSON .* cut off"),
        ([b""], r"contains no scenario"),
    ],
)
def test_faults_are_named(write_lines: Any, lines: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_scenarios(write_lines(*lines), faults="refuse")


def test_all_faults_are_listed_at_once(write_lines: Any) -> None:
    path = write_lines(
        GOOD, {**GOOD, "id": "a", "axis": "Z"}, b"{", {**GOOD, "id": "b", "positive": ""}
    )
    with pytest.raises(InputError) as caught:
        load_scenarios(path, faults="refuse")
    assert "3 problems" in str(caught.value)
    assert [f":{n}:" in str(caught.value) for n in (1, 2, 3, 4)] == [False, True, True, True]


def test_missing_files_and_wrong_endings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_scenarios(tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        load_scenarios(tmp_path)
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(InputError, match=r"read from \.jsonl files"):
        load_scenarios(tmp_path / "x.csv")


def test_a_pool_in_the_folder_is_not_part_of_the_set(write_lines: Any, tmp_path: Path) -> None:
    write_lines(GOOD)
    write_lines({"candidate": None}, name="mine.pool.jsonl")
    assert [s.id for s in load_scenarios(tmp_path)] == [GOOD["id"]]


def test_axes_come_from_a_file_in_the_same_folder(write_lines: Any, tmp_path: Path) -> None:
    (tmp_path / "axes.yaml").write_text(
        "name: tone\naxes:\n  F: {negative: casual, positive: formal}\n"
        "domains: [mail]\nitems:\n  F1: {axis: F, label: greeting}\n"
    )
    scenarios = load_scenarios(write_lines({**GOOD, "axis": "F", "item": "F1", "domain": "mail"}))
    assert scenarios.axes == ["F"]
    assert scenarios.catalogue.axes["F"].label == "casual → formal"
    (tmp_path / "axes.yaml").write_text(
        "name: tone\naxes: {}\ndomains: [mail]\nitems:\n  F1: {axis: G, label: g}\n"
    )
    with pytest.raises(
        InputError, match=r"axes\.yaml: field 'items': axis not declared .* F1 \(G\)"
    ):
        load_scenarios(tmp_path / "mine.jsonl")


@pytest.mark.parametrize("word", ["no", "on", "null", "1990", "2001-01-01"])
def test_a_word_that_yaml_reads_as_a_value_must_be_quoted(
    write_lines: Any, tmp_path: Path, word: str
) -> None:
    axes = "name: vote\naxes:\n  F: {{negative: {}, positive: 'yes'}}\ndomains: [mail]\n"
    axes += "items:\n  F1: {{axis: F, label: f}}\n"
    path = write_lines({**GOOD, "axis": "F", "item": "F1", "domain": "mail"})
    (tmp_path / "axes.yaml").write_text(axes.format(word))
    with pytest.raises(
        InputError, match=r"axes\.yaml: field 'axes\.F\.negative': .*quote it, \"no\""
    ):
        load_scenarios(path)
    (tmp_path / "axes.yaml").write_text(axes.format(f'"{word}"'))
    assert load_scenarios(path).catalogue.axes["F"].negative == word


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"id": "other"},
        {"id": "other", "situation": " someone MUST\u200b choose.\n"},
        {"positive": "TAKE this."},
    ],
)
def test_the_same_texts_again_are_read_once(write_lines: Any, change: dict[str, str]) -> None:
    with pytest.warns(
        DataWarning,
        match=r"1 record read once, an exact repeat: .*:2 \(the same texts are at .*:1\)",
    ):
        assert len(load_scenarios(write_lines(GOOD, {**GOOD, **change}), "refuse")) == 1


@pytest.mark.parametrize("negative", ["take THIS.", "Take\u200b this.", "Take  this."])
def test_options_without_a_visible_difference_are_the_same(write_lines: Any, negative: str) -> None:
    with pytest.raises(InputError, match="the same text; write two different options"):
        load_scenarios(write_lines({**GOOD, "negative": negative}))


def test_a_scenario_with_more_than_two_choices(write_lines: Any) -> None:
    choices = ["Take this.", "Take none.", "Take that."]
    (scenario,) = load_scenarios(write_lines({**GOOD, "choices": choices}), "refuse")
    assert scenario.choices == tuple(choices)
    with pytest.raises(InputError, match=r"field 'choices': .*both poles must be among them"):
        load_scenarios(write_lines({**GOOD, "choices": choices[:2]}))


def test_a_scenario_without_a_situation_is_a_fault(write_lines: Any) -> None:
    with pytest.raises(InputError, match=":1: field 'situation': empty text; write one"):
        load_scenarios(write_lines({**GOOD, "situation": " "}))
