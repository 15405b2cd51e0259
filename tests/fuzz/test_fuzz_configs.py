"""YAML files: axes.yaml, a teacher's copy of it, and the configuration of a study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.contract import cases, read_or_refuse
from fuzz.mutations import any_bytes, changed_record, odd_texts, odd_values
from interp_culture.errors import InputError
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.files import load_catalogue
from interp_culture.scenarios.teacher.config import TeacherConfig, axes_fit
from interp_culture.study.config import StudyConfig, load_config
from interp_culture.yaml_files import read_yaml

AXES = """\
name: mine
axes:
  X: {negative: Survival, positive: Self-expression}
  É: {negative: "no", positive: "yes", systems: {negative: Be cold., positive: Be warm.}}
domains: [work, home]
items:
  X01: {axis: X, label: Tea, keywords: [tea, caf]}
  X02: {axis: É, label: Café}
"""
CONFIG = """\
model: smollm2
scenarios: tone
out: results/mine
seed: 7
alphas: [1.0, 2]
layers: {F: [1, 2], C: [3]}
planted: {steered: F, axis: C, size: 0.05, block: 3}
brief: true
readout: letters
"""
# Nine lines that stand for a billion texts.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
YAML_TRAPS = [
    BOMB,
    f"model: {{x: {BOMB.splitlines()[0][3:]}}}\n" + BOMB,
    "[" * 10_000,
    "- " * 5_000,
    "a: &a [*a]",
    "!!bool x",
    "seed: !!timestamp x",
    "seed: 2024-13-45",
    "seed: 0x_",
    "seed: " + "9" * 5_000,
    "? [a]\n: b",
    "!!python/object/apply:os.system ['true']",
    "name: a\nname: b",
    "\ufeffname: a",
    "name: 'a\x00b'",
    "---\na: 1\n---\nb: 2",
    "%YAML 9.9\n---\na: 1",
    "=",
    "null",
    "3",
    "- a",
]


def with_traps(test: Any) -> Any:
    """The traps as examples of a test of `content`."""
    for trap in YAML_TRAPS:
        test = example(content=trap.encode())(test)
    return test


def read_axes(content: bytes, folder: Path) -> Catalogue | None:
    path = folder / "axes.yaml"
    path.write_bytes(content)
    return read_or_refuse("axes.yaml", lambda: load_catalogue(folder), path).value


# -- axes.yaml ------------------------------------------------------------------------------------


@cases(quick=40, torture=900)
@given(content=any_bytes(AXES.encode()))
@with_traps
def test_damaged_axes(content: bytes, tmp_path: Path) -> None:
    catalogue = read_axes(content, tmp_path)
    if catalogue is None:
        return
    assert {item.axis for item in catalogue.items.values()} <= set(catalogue.axes)
    for axis in catalogue.axes.values():
        assert axis.negative.strip()
        assert axis.positive.strip()
    # What was read can be written and read again.
    again = yaml.safe_dump(catalogue.model_dump(exclude_none=True), allow_unicode=True)
    assert read_axes(again.encode(), tmp_path) == catalogue


def changed_axes() -> st.SearchStrategy[dict[str, Any]]:
    content = yaml.safe_load(AXES)
    axis = changed_record(content["axes"]["É"])
    item = changed_record(content["items"]["X01"])
    return st.one_of(
        changed_record(content),
        axis.map(lambda changed: content | {"axes": content["axes"] | {"É": changed}}),
        item.map(lambda changed: content | {"items": content["items"] | {"X01": changed}}),
        odd_texts().map(lambda name: content | {"domains": ["work", name]}),
        odd_texts().map(lambda name: content | {"axes": content["axes"] | {name: AXIS}}),
    )


AXIS = {"negative": "Low", "positive": "High"}


@cases(quick=30, torture=700)
@given(content=changed_axes())
@example(content={**yaml.safe_load(AXES), "domains": ["caf\u00e9", "cafe\u0301"]})
@example(content={**yaml.safe_load(AXES), "domains": ["work\u200b", "work"]})
@example(content={**yaml.safe_load(AXES), "domains": [" "]})
def test_odd_fields_of_axes(content: dict[str, Any], tmp_path: Path) -> None:
    try:
        written = yaml.safe_dump(content, allow_unicode=True).encode()
    except (UnicodeEncodeError, ValueError):
        return  # a lone surrogate, or a number with too many digits, is in no file
    catalogue = read_axes(written, tmp_path)
    if catalogue is not None:
        names = [*catalogue.axes, *catalogue.items, *catalogue.domains]
        assert all(name == name.strip() != "" for name in names)
        assert len({name.strip("\u200b") for name in catalogue.domains}) == len(catalogue.domains)


def test_an_item_declared_twice_is_refused(tmp_path: Path) -> None:
    content = AXES + "  X01: {axis: É, label: Coffee}\n"
    (tmp_path / "axes.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"axes\.yaml: .*'X01' occurs twice(.|\n)*line 9"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize("content", [BOMB, "a: &a [*a]", "name: &a x\ndomains: [*a]"])
def test_an_alias_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "axes.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"axes\.yaml: .*the alias \*a is not read; write its"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_of_axes(encoding: str, ending: str, tmp_path: Path) -> None:
    catalogue = read_axes(AXES.replace("\n", ending).encode(encoding), tmp_path)
    assert (catalogue is None) == (encoding != "utf-8-sig")


@cases(quick=10, torture=150)
@given(content=any_bytes(AXES.encode()))
@example(content=AXES.encode("latin-1"))
@example(content=BOMB.encode())
def test_damaged_axes_beside_a_set_of_a_teacher(content: bytes, tmp_path: Path) -> None:
    """The set could not be loaded with such axes, which is all that is asked."""
    (tmp_path / "axes.yaml").write_text(AXES, encoding="utf-8")
    catalogue = load_catalogue(tmp_path)
    config = TeacherConfig(
        *(catalogue, tmp_path / "axes.yaml", "X01", "work", "http://x/v1", "m"),
        tmp_path / "out" / "mine.jsonl",
    )
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "axes.yaml").write_bytes(content)
    outcome = read_or_refuse("teacher axes", lambda: axes_fit(config))
    assert outcome.value in (True, False)


# -- configurations -------------------------------------------------------------------------------


def read_config(content: bytes, folder: Path) -> StudyConfig | None:
    path = folder / "study.yaml"
    path.write_bytes(content)
    return read_or_refuse("study configurations", lambda: load_config(path), path).value


@cases(quick=40, torture=900)
@given(content=any_bytes(CONFIG.encode()))
@with_traps
def test_damaged_configurations(content: bytes, tmp_path: Path) -> None:
    config = read_config(content, tmp_path)
    if config is not None:
        check_config(config)


@cases(quick=30, torture=700)
@given(content=changed_record(yaml.safe_load(CONFIG)))
@example(content={"planted": {"size": math.nan}})
@example(content={"alphas": [math.inf]})
@example(content={"seed": True})
def test_odd_fields_of_configurations(content: dict[str, Any], tmp_path: Path) -> None:
    try:
        written = yaml.safe_dump(content, allow_unicode=True).encode()
    except (UnicodeEncodeError, ValueError):
        return  # a lone surrogate, or a number with too many digits, is in no file
    config = read_config(written, tmp_path)
    if config is not None:
        check_config(config)
        for field in ("seed", "top_k"):
            assert not isinstance(content.get(field), bool)


def check_config(config: StudyConfig) -> None:
    """Everything that a study takes for granted."""
    assert all(math.isfinite(alpha) and alpha > 0 for alpha in config.alphas)
    assert config.planted is None or math.isfinite(config.planted.size)
    assert config.top_k >= 1
    # The key of a study is made of it.
    assert config.key()


# -- the reader of both ---------------------------------------------------------------------------


@cases(quick=10, torture=200)
@given(value=odd_values())
def test_a_value_that_was_written_is_read_again(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    try:
        written = yaml.safe_dump({"field": value}, sort_keys=False).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        return  # a lone surrogate, or a number with too many digits, is in no file
    path.write_bytes(written)
    outcome = read_or_refuse("YAML files", lambda: read_yaml(path), path)
    if outcome.value is not None:
        assert repr(outcome.value["field"]) == repr(value)


@pytest.mark.parametrize("read", [read_yaml, load_config])
def test_places_without_yaml(read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "mine.yaml").write_text("a: 1")

    def denied(self: Path, *args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"mine\.yaml: cannot be read \(Permission denied\)"):
        read(tmp_path / "mine.yaml")
