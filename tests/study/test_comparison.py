"""Studies of several models side by side: tables by hand, refusals, and the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import fails
from command_line import run as run_command
from conftest import make_pair
from planted import MAP_ITEMS, planted_scenarios

import interp_culture as ic
from interp_culture.artifacts.tables import write_table
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.validity import Validity
from interp_culture.reporting.comparison_findings import (
    comparison_findings,
    cost_finding,
    coupling_finding,
    moves_most_finding,
    steering_differences_finding,
)
from interp_culture.reporting.comparison_overview import comparison_questions
from interp_culture.reporting.comparison_page import basis, notes, write_comparison
from interp_culture.reporting.comparison_sections import comparison_sections, left_out
from interp_culture.study import study as study_module
from interp_culture.study.agreement import check_agreement, differing_settings
from interp_culture.study.compared_tables import LONGEST_LABEL, costs, model_labels
from interp_culture.study.comparison import Comparison, compare, save_comparison
from interp_culture.study.comparison_schemas import COMPARISON_SCHEMAS
from interp_culture.study.finished import read_study
from interp_culture.study.layer_profiles import layer_profile
from interp_culture.study.paired import paired_differences

SMALL: dict[str, Any] = {
    "method": "mean_diff",
    "alphas": [2.0],
    "sweep_alphas": [2.0],
    "sweep_method": "gradient",
    "train_per_cell": 1,
    "null_per_item": 1,
    "top_k": 1,
    "brief": True,
}
COST = {"steered": ["", "X", "X", "X"], "method": ["plain", "mean_diff", "mean_diff", "random"]}
ONE_AXIS = {"X": ("X1", "X2", "X3")}


def check(readout: str, failures: tuple[str, ...] = ()) -> Validity:
    return Validity(readout, 52, 0.8, 0.67, 0.89, 1.0, failures=failures)  # type: ignore[arg-type]


def tiny(architecture: str) -> LanguageModel:
    """A random model whose readouts count as checked: letters fail, continuation passes."""
    model = make_pair(architecture).model
    model.name = f"tiny/{architecture}"
    model.readout_checks.validity.update(
        {
            ic.ReadoutFormat("letters"): check("letters", ("they are not bound",)),
            ic.ReadoutFormat("continuation"): check("continuation"),
        }
    )
    return model


def run(
    folder: Path, model: LanguageModel, items: dict[str, tuple[str, ...]], **settings: Any
) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planted.ITEMS", items)
        patch.setattr(study_module, "load_model", lambda *a, **k: model)
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
        ic.run_study(ic.StudyConfig(model=model.name, out=str(folder), **SMALL | settings))
    return folder


@pytest.fixture(scope="module")
def models() -> list[LanguageModel]:
    return [tiny(name) for name in ("llama", "qwen3", "gemma3_text")]


@pytest.fixture(scope="module")
def folders(models: list[LanguageModel], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished studies of three models on the items of the map."""
    root = tmp_path_factory.mktemp("studies")
    return [run(root / name, model, MAP_ITEMS) for name, model in zip("abc", models, strict=True)]


@pytest.fixture(scope="module")
def one_axis(models: list[LanguageModel], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished studies of two models on one axis without a map."""
    root = tmp_path_factory.mktemp("one_axis")
    return [run(root / name, model, ONE_AXIS) for name, model in zip("ab", models, strict=False)]


@pytest.fixture(scope="module")
def compared(folders: list[Path]) -> Comparison:
    return compare(folders)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def rewrite(folder: Path, name: str, table: pd.DataFrame) -> None:
    write_table(folder, name, table, read_study(folder).manifest)


def with_cost(folder: Path, alphas: tuple[float, ...] = (2.0,)) -> None:
    """The table `cost` of a finished analysis `coefficients`, 0.1 nats per unit of alpha."""
    key = read_study(folder).manifest["key"]
    runs = [pd.DataFrame({**COST, "alpha": [0.0, alpha, -alpha, alpha]}) for alpha in alphas]
    cost = pd.concat(runs)
    kl = 0.1 * cost.alpha.abs()
    cost = cost.assign(kl=kl, kl_low=kl / 2, kl_high=kl * 2, more=1.0)
    write_table(folder, "coefficients.cost", cost, {"key": "analysis"})
    finished = {"tables": ["cost"], "key": "analysis", "study": key}
    (folder / "coefficients.tables.json").write_text(json.dumps(finished), encoding="utf-8")


# -- tables ----------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_studies(folders: list[Path], compared: Comparison) -> None:
    assert compared.models == ["llama", "qwen3", "gemma3_text"]
    for folder, model in zip(folders, compared.models, strict=True):
        stored = pd.read_parquet(folder / "matrix.parquet")
        own = stored[(stored.readout == "continuation") & (stored.value == "shift")]
        here = compared.matrix[compared.matrix.model == model]
        for column in ("D", "low", "high", "ratio_high"):
            np.testing.assert_allclose(here[column], own[column])
        places = pd.read_parquet(folder / "places.parquet")
        of_model = compared.places[compared.places.model == model]
        np.testing.assert_allclose(of_model.x, places.x)


def test_a_difference_is_the_mean_of_differences_within_scenarios(
    folders: list[Path], compared: Comparison
) -> None:
    slopes = []
    for folder in folders[:2]:
        table = pd.read_parquet(folder / "steered_continuation.parquet")
        of_x = table[(table.steered == "X") & (table.axis == "Y") & (table.method == "mean_diff")]
        by_alpha = of_x.pivot(index="id", columns="alpha", values="p_positive")
        slopes.append((by_alpha[2.0] - by_alpha[-2.0]) / 4)
    table = compared.differences
    (row,) = table[
        (table["first"] == "llama")
        & (table["second"] == "qwen3")
        & (table.quantity == "D")
        & (table.steered == "X")
        & (table.axis == "Y")
    ].itertuples()
    assert row.difference == pytest.approx((slopes[0] - slopes[1]).mean())
    assert row.n == len(slopes[0]) == 10
    assert row.low <= row.difference <= row.high
    assert len(table) == 3 * (2 + 4 + 2)


def test_differences_are_paired(folders: list[Path]) -> None:
    """A constant difference has no spread within scenarios, however much scenarios differ."""
    table = pd.read_parquet(folders[0] / "steered_continuation.parquet")
    lower = table.assign(p_positive=table.p_positive - 0.1)
    # Another order of the rows must not matter.
    differences = paired_differences({"one": table, "lower": lower.iloc[::-1]})
    scores = differences[differences.quantity == "score"]
    for column in ("difference", "low", "high"):
        np.testing.assert_allclose(scores[column], 0.1)
    assert scores.shown.all()
    slopes = differences[differences.quantity == "D"]
    np.testing.assert_allclose(slopes[["difference", "low", "high"]], 0, atol=1e-12)
    assert not paired_differences({"one": table, "same": table}).shown.any()
    # The map is linear in P+, so that its difference is constant too.
    places = differences[differences.quantity == "place"]
    np.testing.assert_allclose(places.low, places.high)


def test_scenarios_that_one_study_lacks_are_left_out(folders: list[Path], tmp_path: Path) -> None:
    fewer = copied(folders[1], tmp_path / "b")
    table = pd.read_parquet(fewer / "steered_continuation.parquet")
    kept = sorted(table.id.unique())[::2]
    rewrite(fewer, "steered_continuation", table[table.id.isin(kept)])
    edit_json(fewer / "summary.json", lambda summary: summary.update(n_test=len(kept)))
    comparison = compare([folders[0], fewer])
    assert comparison.n_shared == len(kept) == 10
    assert set(comparison.differences.n) == {5, 10}
    assert "Held-out scenarios of each study: llama 20, qwen3 10" in basis(comparison)
    # Five scenarios of an axis have no interval, so that nothing is claimed.
    assert comparison.differences[comparison.differences.quantity != "place"].low.isna().all()
    assert "We claim nothing about steering X" in opening(comparison)
    rewrite(fewer, "steered_continuation", table.assign(id=table.id + "?"))
    with pytest.raises(InputError, match="share no held-out scenario"):
        compare([folders[0], fewer])


def opening(comparison: Comparison) -> str:
    return " ".join(str(question.finding) for question in comparison_questions(comparison))


def test_depth_runs_from_0_to_1() -> None:
    effects = {"layer": [0, 1, 2, 3] * 6, "shift": [0.1, -0.2, 0.4, 0.2] * 6}
    sweep = pd.DataFrame({"steered": "X", "axis": "X", "method": "exact", "alpha": 2.0, **effects})
    number = np.repeat(np.arange(6), 4)
    sweep = sweep.assign(
        differential=sweep["shift"].abs(), id=number.astype(str), item=(number % 2).astype(str)
    )
    profile = layer_profile(sweep, n_layers=4)
    np.testing.assert_allclose(profile.depth, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(profile.differential, [0.1, 0.2, 0.4, 0.2])
    np.testing.assert_allclose(profile.effect, [0.05, -0.1, 0.2, 0.1])
    np.testing.assert_allclose(profile.low, profile.effect)
    assert set(profile.n) == {6}
    (only,) = layer_profile(sweep[sweep.layer == 0], n_layers=1).itertuples()
    assert only.depth == 0


def test_items_and_steps_by_hand(folders: list[Path], compared: Comparison) -> None:
    table = pd.read_parquet(folders[0] / "steered_continuation.parquet")
    plain = table[(table.method == "plain") & (table["item"] == "X02")]
    items = compared.items
    (row,) = items[
        (items.model == "llama") & (items.steered == "X") & (items["item"] == "X02")
    ].itertuples()
    assert row.score == pytest.approx(plain.p_positive.mean())
    assert row.n == len(plain) == 2
    vectors = pd.read_parquet(folders[0] / "vectors.parquet")
    summary = read_study(folders[0]).summary
    (layer,) = summary["layers"]["X"]
    share = vectors[(vectors.axis == "X") & (vectors.layer == layer)].norm_share.item()
    steps = compared.steps
    (step,) = steps[(steps.model == "llama") & (steps.steered == "X")].itertuples()
    assert step.step_share == pytest.approx(2 * share)
    assert step.depth == pytest.approx(layer / 3)


def test_costs_are_of_the_strengths_that_all_have(
    folders: list[Path], compared: Comparison, tmp_path: Path
) -> None:
    def cost_of(*paths: Path) -> pd.DataFrame | None:
        return costs({path.name: read_study(path) for path in paths})

    assert compared.cost is None
    one = copied(folders[0], tmp_path / "one")
    other = copied(folders[1], tmp_path / "other")
    with_cost(one, (2.0, 4.0))
    assert set(cost_of(one, other).model) == {"one"}
    cost = cost_of(one).assign(model="llama")
    text = str(cost_finding(replace(compared, cost=cost)))
    assert text.startswith("At alpha +4 steering costs on neutral text, X: llama 0.400 [0.200, ")
    assert "Not measured: qwen3, gemma3_text (no analysis coefficients)" in text
    with_cost(other, (2.0,))
    assert set(cost_of(one, other).alpha.abs()) == {2.0}
    with_cost(other, (1.0,))
    assert cost_of(one, other) is None


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("alphas", [1.0], r"field alphas: \[2.0\] in .*a, \[1.0\] in .*changed"),
        ("seed", 7, "field seed: 42 in .*a, 7 in .*changed"),
        ("order", "random", "field order: 'both' in .*a, 'random' in .*changed"),
        ("method", "pca", "field method: 'mean_diff' in .*a, 'pca' in .*changed"),
        ("train_per_cell", None, "field train_per_cell: 1 in .*a, None in .*changed"),
        ("of_tomorrow", 3, "field of_tomorrow: None in .*a, 3 in .*changed"),
    ],
)
def test_studies_that_differ_in_what_must_agree_are_refused(
    folders: list[Path], tmp_path: Path, field: str, value: Any, shown: str
) -> None:
    changed = copied(folders[1], tmp_path / "changed")
    edit_json(changed / "manifest.json", lambda manifest: manifest["config"].update({field: value}))
    with pytest.raises(InputError, match=shown):
        compare([folders[0], changed])
    assert f"field {field}: " in fails("compare", folders[0], changed, "--out", tmp_path / "out")


@pytest.mark.parametrize("field", ["scenarios", "templates"])
def test_other_texts_are_refused(folders: list[Path], tmp_path: Path, field: str) -> None:
    changed = copied(folders[1], tmp_path / "changed")
    edit_json(changed / "manifest.json", lambda manifest: manifest.update({field: "other"}))
    with pytest.raises(InputError, match=f"field {field}: '.*' in .*, 'other' in .*changed"):
        compare([folders[0], changed])


def test_a_field_that_is_newer_than_a_study_has_its_default(
    folders: list[Path], tmp_path: Path
) -> None:
    older = copied(folders[1], tmp_path / "older")
    edit_json(older / "manifest.json", lambda manifest: manifest["config"].pop("order"))
    check_agreement([read_study(folders[0]), read_study(older)])


def test_what_may_differ_is_listed(
    folders: list[Path], compared: Comparison, tmp_path: Path
) -> None:
    changed = copied(folders[1], tmp_path / "changed")

    def change(manifest: dict[str, Any]) -> None:
        manifest.update(source="other")
        manifest["config"].update(layers={"X": [1], "Y": [2]}, test_per_cell=9)

    edit_json(changed / "manifest.json", change)
    studies = [read_study(folders[0]), read_study(changed)]
    check_agreement(studies)
    settings = differing_settings(studies, compared.models[:2])
    assert {"model", "layers", "test_per_cell", "source"} == set(settings.field)
    comparison = replace(compared, settings=settings)
    assert "different versions of the code" in " ".join(notes(comparison))


def with_letters(folder: Path, to: Path, primary: str) -> Path:
    """A copy that was read by letters too, without random vectors."""
    copy = copied(folder, to)
    table = pd.read_parquet(copy / "steered_continuation.parquet")
    rewrite(copy, "steered_letters", table[table.method != "random"].assign(readout="letters"))

    def change(summary: dict[str, Any]) -> None:
        summary["matrix"] += [{**row, "readout": "letters"} for row in summary["matrix"]]
        summary["primary_readout"] = primary

    edit_json(copy / "summary.json", change)
    return copy


def test_different_primary_readouts_need_a_choice(folders: list[Path], tmp_path: Path) -> None:
    one = with_letters(folders[0], tmp_path / "one", "continuation")
    other = with_letters(folders[1], tmp_path / "other", "letters")
    message = r"field primary_readout: 'continuation' in .*one, 'letters' in .*other; .*--readout"
    with pytest.raises(InputError, match=message):
        compare([one, other])
    comparison = compare([one, other], readout="letters")
    assert comparison.profile is None
    assert "Layer profiles are left out" in " ".join(left_out(comparison))
    # Random vectors are read by the primary readout alone.
    assert "No coupling is judged" in opening(comparison)
    assert len(comparison_sections(comparison)) == 7
    with pytest.raises(InputError, match="unknown readout 'words'"):
        compare(folders, readout="words")
    with pytest.raises(InputError, match=r"not read by it: .*a; run them without `brief`"):
        compare([folders[0], one], readout="letters")


def test_folders_that_are_no_two_studies_are_refused(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more studies; got 1"):
        compare(folders[:1])
    with pytest.raises(InputError, match="given twice"):
        compare([folders[0], folders[0] / ".." / folders[0].name])
    with pytest.raises(InputError, match="no finished study there"):
        compare([folders[0], tmp_path])


# -- names -----------------------------------------------------------------------------------------


def renamed(folder: Path, to: Path, name: str) -> Path:
    copy = copied(folder, to)
    edit_json(copy / "summary.json", lambda summary: summary["model"].update(model=name))
    return copy


def test_labels_are_short_and_different(folders: list[Path], tmp_path: Path) -> None:
    long = "someone/a-model-with-a-name-of-very-many-parts-"
    names = [f"{long}7B", f"{long}8B", "tiny-llama", "tiny-llama/"]
    copies = [
        renamed(folders[0], tmp_path / f"study{number}", name) for number, name in enumerate(names)
    ]
    labels = model_labels([read_study(copy) for copy in copies])
    assert len(set(labels)) == 4
    assert labels[0].endswith("parts-7B")
    assert len(labels[0]) <= LONGEST_LABEL
    assert labels[2:] == ["tiny-llama, study2", "tiny-llama, study3"]


# -- report ----------------------------------------------------------------------------------------


def test_the_report_opens_with_the_answers(compared: Comparison, tmp_path: Path) -> None:
    page = write_comparison(compared, tmp_path).read_text(encoding="utf-8")
    answer = page.split('<dl class="questions">')[1].split("</dl>")[0]
    assert "Can the models be steered?" in answer
    assert "oupling" in answer
    assert "paired intervals" in answer
    assert "[" in answer
    assert page.index("Findings") < page.index("plotly-graph-div")
    assert page.count("plotly-graph-div") == len(comparison_sections(compared)) == 8
    assert 'src="http' not in page
    assert "The cost of steering is left out" in page


def test_two_models_of_one_axis_have_no_map(one_axis: list[Path], tmp_path: Path) -> None:
    comparison = compare(one_axis)
    assert comparison.places is None
    assert len(comparison.differences) == 2
    assert "because the studies have one axis" in opening(comparison)
    page = write_comparison(comparison, tmp_path).read_text(encoding="utf-8")
    assert "The cultural map is left out" in page
    assert "self-expression" not in page
    assert page.count("plotly-graph-div") == 7


def test_four_models_have_every_table(folders: list[Path], tmp_path: Path) -> None:
    name = "<script>alert(1)</script>-a-name-that-does-not-end"
    fourth = renamed(folders[2], tmp_path / "fourth", name)
    with_cost(fourth)
    comparison = compare([*folders, fourth])
    assert len(comparison.models) == 4
    assert len(comparison.differences) == 6 * 8
    assert set(comparison.tables) == set(COMPARISON_SCHEMAS)
    for name, table in comparison.tables.items():
        schema = COMPARISON_SCHEMAS[name]
        assert not schema.unknown(list(table)), name
        assert {column.name for column in schema.columns} <= set(table), name
        assert len(table) or name == "settings"
    page = write_comparison(comparison, tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("plotly-graph-div") == 9


def test_the_command_writes_report_and_tables(folders: list[Path], tmp_path: Path) -> None:
    done = run_command("compare", *folders[:2], "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1. Steering X" in done.stdout
    assert (tmp_path / "out" / "compare.html").exists()
    stored = pd.read_csv(tmp_path / "out" / "differences.csv")
    assert set(stored.quantity) == {"score", "D", "place"}
    manifest = json.loads((tmp_path / "out" / "matrix.json").read_text())
    assert set(manifest["studies"]) == {"llama", "qwen3"}


# -- findings --------------------------------------------------------------------------------------


def planted(comparison: Comparison, **d: tuple[float, float, float]) -> Comparison:
    """The response of X to steering X replaced, by model; every effect is beyond random vectors."""
    matrix = comparison.matrix.copy()
    for model, numbers in d.items():
        here = (matrix.model == model) & (matrix.steered == "X") & (matrix.axis == "X")
        matrix.loc[here, ["D", "low", "high"]] = numbers
        matrix.loc[here, "p_null"] = 0.01
    summaries = {
        model: {
            **summary,
            "response": [
                {**row, "effect": 0.1 * row["alpha"], "outside_null": True}
                for row in summary["response"]
            ],
        }
        for model, summary in comparison.summaries.items()
    }
    return replace(comparison, matrix=matrix, summaries=summaries)  # type: ignore[arg-type]


def with_lead(comparison: Comparison, first: str, second: str, *numbers: Any) -> Comparison:
    table = comparison.differences.copy()
    here = (
        (table["first"] == first)
        & (table["second"] == second)
        & (table.steered == "X")
        & (table.axis == "X")
    )
    for column, value in zip(("difference", "low", "high", "shown"), numbers, strict=True):
        table.loc[here, column] = value
    return replace(comparison, differences=table)


def test_the_model_that_moves_most_is_named_with_its_lead(compared: Comparison) -> None:
    numbers = {"llama": (0.1, 0.05, 0.2), "qwen3": (0.3, 0.2, 0.4), "gemma3_text": (0, -0.1, 0.1)}
    comparison = planted(compared, **numbers)
    ahead = with_lead(comparison, "llama", "qwen3", -0.2, -0.3, -0.1, True)
    finding = moves_most_finding(ahead, "X")
    assert finding.answer == (
        "Steering X moves X most in qwen3: D = +0.300 [+0.200, +0.400] "
        "(+0.200 [+0.100, +0.300] ahead of llama, paired)."
    )
    assert "in 2 of 3 models: qwen3, llama" in finding.evidence
    is_qwen = comparison.matrix.model == "qwen3"
    matrix = comparison.matrix.assign(p_null=np.where(is_qwen, 0.2, comparison.matrix.p_null))
    within = moves_most_finding(replace(comparison, matrix=matrix), "X")
    assert "random vectors move it as far; it is shown to move X in llama" in within.answer
    level = with_lead(comparison, "llama", "qwen3", -0.2, -0.5, 0.1, False)
    assert "a lead that is not shown" in moves_most_finding(level, "X").answer


def test_no_model_is_named_where_none_moves(compared: Comparison) -> None:
    still = dict.fromkeys(compared.models, (0.1, -0.1, 0.2))
    answer = moves_most_finding(planted(compared, **still), "X").answer
    assert answer.startswith("Steering X is not shown to move X in any of the models")


def test_a_coupling_is_named_with_its_model(compared: Comparison) -> None:
    summaries = dict(compared.summaries)
    rows = [
        {**row, "D": 0.02, "low": 0.01, "high": 0.03, "defined": True, "shown": True}
        if (row["steered"], row["axis"]) == ("X", "Y")
        else {**row, "defined": False, "shown": False}
        for row in summaries["qwen3"]["matrix"]
    ]
    responses = [{**row, "outside_null": True} for row in summaries["qwen3"]["response"]]
    summaries["qwen3"] = {**summaries["qwen3"], "matrix": rows, "response": responses}
    others = [m for m in compared.models if m != "qwen3"]
    for model in others:
        quiet = [{**row, "outside_null": False} for row in summaries[model]["response"]]
        summaries[model] = {**summaries[model], "response": quiet}
    comparison = replace(compared, summaries=summaries)
    assert coupling_finding(comparison).answer.startswith(
        "A coupling beyond random vectors is shown in 1 of 3 models: Y to X in qwen3, "
        "D = +0.020 [+0.010, +0.030]."
    )
    alone = [{**row, "defined": False} for row in rows]
    summaries["qwen3"] = {**summaries["qwen3"], "matrix": alone}
    answer = coupling_finding(replace(compared, summaries=summaries)).answer
    assert answer.startswith("No coupling is shown in any of the 3 models. In qwen3 steering X ")
    assert "moves Y beyond random vectors (+0.020 [+0.010, +0.030]), but X itself" in answer
    del summaries["qwen3"]
    assert coupling_finding(replace(compared, summaries=summaries)).answer.startswith(
        "No coupling is shown in any of the 2 models"
    )


def test_differences_are_counted(compared: Comparison) -> None:
    table = compared.differences.assign(shown=False)
    none = replace(compared, differences=table)
    assert "none of 6 paired intervals" in steering_differences_finding(none).answer
    one = with_lead(none, "llama", "qwen3", -9.0, -9.5, -8.5, True)
    answer = steering_differences_finding(one).answer
    assert "1 of 6 paired intervals exclude 0" in answer
    assert "X, llama minus qwen3 -9.000 [-9.500, -8.500]" in answer


def test_a_readout_that_fails_comes_first(folders: list[Path], compared: Comparison) -> None:
    assert "passes its validity check" in comparison_findings(compared)[-1].answer
    checks = compared.validity.copy()
    checks.loc[(checks.model == "qwen3") & (checks.readout == "continuation"), "ok"] = False
    first = comparison_findings(replace(compared, validity=checks))[0].answer
    assert first.startswith("The numbers of qwen3 say little: the continuation readout fails")


def test_tables_of_a_comparison_are_stored_with_a_key(compared: Comparison, tmp_path: Path) -> None:
    save_comparison(compared, tmp_path)
    names = {path.stem for path in tmp_path.glob("*.parquet")}
    assert names == set(compared.tables)
    assert len({json.loads((tmp_path / f"{n}.json").read_text())["key"] for n in names}) == 1
