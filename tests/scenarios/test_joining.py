"""Joined sets: every scenario and every declaration, and clashes are said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import interp_culture as ic
from interp_culture.errors import InputError
from interp_culture.scenarios import ScenarioSet, join_sets


def renamed(tone: ScenarioSet, label: str) -> ScenarioSet:
    """The same set under other ids, with an item declared differently."""
    scenarios = tuple(s.model_copy(update={"id": f"again-{s.id}"}) for s in tone)
    name = next(iter(tone.catalogue.items))
    items = dict(tone.catalogue.items)
    items[name] = items[name].model_copy(update={"label": label})
    return ScenarioSet(scenarios, tone.catalogue.model_copy(update={"items": items}))


def test_a_joined_set_has_the_scenarios_and_declarations_of_all() -> None:
    names = ["culture", "selfhood", "tone"]
    sets = [ic.load_scenarios(name) for name in names]
    whole = ic.load_scenarios("+".join(names))
    assert whole.axes == ["X", "Y", "I", "F", "C"]
    assert [s for each in sets for s in each] == list(whole)
    for each in sets:
        assert dict(whole.catalogue.items) | dict(each.catalogue.items) == whole.catalogue.items
        assert set(each.domains) <= set(whole.domains)
    assert join_sets(sets).digest == whole.digest
    train, test = whole.split(seed=1)
    assert set(train.axes) == set(test.axes) == set(whole.axes)


def test_a_path_with_a_plus_is_a_path(tmp_path: Path) -> None:
    source = Path(ic.__file__).parent / "data" / "tone"
    folder = tmp_path / "a+b"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert ic.load_scenarios(folder).axes == ["F", "C"]


def test_clashes_are_said() -> None:
    tone = ic.load_scenarios("tone")
    with pytest.raises(InputError, match="the same id: "):
        ic.load_scenarios("tone+tone")
    with pytest.raises(InputError, match=r"declare item .* differently"):
        join_sets([tone, renamed(tone, "other")])
    with pytest.raises(InputError, match="no set to join"):
        join_sets([])
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        ic.load_scenarios("tone+nowhere")


def test_files_of_the_field_join_with_a_shipped_set(tmp_path: Path) -> None:
    """Two behaviours in the format of CAA, each an axis of its file's name."""
    names = []
    for name in ("modesty", "caution"):
        records = [
            {
                "question": f"What do you do in {name} {n}?\n\nChoices:\n (A) wait\n (B) go on {n}",
                "answer_matching_behavior": "(A)",
                "answer_not_matching_behavior": "(B)",
            }
            for n in range(4)
        ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(records))
        names.append(str(path))
    joined = ic.load_scenarios("+".join([*names, "tone"]))
    assert set(joined.axes) == {"modesty", "caution", "F", "C"}
    assert len(joined.filter(axis="modesty")) == 4
    assert {scenario.positive for scenario in joined.filter(axis="caution")} == {"wait"}
