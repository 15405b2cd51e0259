"""The whole study on a tiny model: tables, summary, resuming, and the findings of its report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from planted import planted_model, planted_scenarios

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.reporting.effect_findings import headline
from interp_culture.reporting.findings import findings, layers_title, map_title
from interp_culture.reporting.glossary import TERMS, anchor, mark_terms
from interp_culture.reporting.html import write_report
from interp_culture.reporting.overview import questions
from interp_culture.reporting.study_sections import domain_text, measured_text, steering_title
from interp_culture.steering.direction_choice import PAPER, Candidate, multiple_of_paper
from interp_culture.steering.extraction import extract
from interp_culture.steering.vector_files import save_vectors
from interp_culture.steering.vectors import norm_matched
from interp_culture.study import directions as directions_module
from interp_culture.study import study as study_module
from interp_culture.study.config import StudyConfig, load_config
from interp_culture.study.schemas import SCHEMAS
from interp_culture.study.study import Study, run_study
from interp_culture.study.summary import (
    Manifest,
    MatrixRow,
    ModelRecord,
    ResponseRow,
    SteeringSettings,
    Summary,
    ValidityRecord,
    read_manifest,
    read_summary,
)

QUICK = {
    "method": "mean_diff",
    "train_per_cell": 2,
    "test_per_cell": 1,
    "sweep_per_item": 2,
    "alphas": [2.0],
    "sweep_alphas": [2.0],
}


@pytest.fixture(scope="module")
def finished(
    tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyConfig, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: tiny)
        config = StudyConfig(model="tiny-llama", out=str(tmp_path_factory.mktemp("study")), **QUICK)
        return config, run_study(config)


def test_summary_holds_what_the_report_needs(finished: tuple[StudyConfig, dict[str, Any]]) -> None:
    config, summary = finished
    assert set(summary["scores"]) == {"X", "Y"}
    assert all(len(layers) == 4 for layers in summary["layers"].values())
    assert summary["n_test"] == 30
    assert {(r["steered"], r["axis"]) for r in summary["matrix"]} == {
        (a, b) for a in "XY" for b in "XY"
    }
    assert {d["country"] for d in summary["distances"]} == {"India", "Vietnam", "Mexico", "Denmark"}
    stored = json.loads((Path(config.out) / "summary.json").read_text())
    assert stored["scores"] == pytest.approx(summary["scores"])


def test_vectors_have_the_site_and_the_method_of_the_configuration(
    tiny: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: tiny)
    config = StudyConfig(
        model="tiny-llama",
        out=str(tmp_path),
        **{**QUICK, "train_per_cell": 1, "method": "gradient"},
    )
    study = Study(config)
    vectors = study.vectors()["X"]
    assert vectors.method == "gradient"
    assert vectors.provenance["readout"] == study.primary_readout
    paper = extract(tiny, study.train)["X"].direction
    norms = vectors.direction.norm(dim=-1)
    torch.testing.assert_close(norms, paper.norm(dim=-1), rtol=1e-3, atol=1e-4)
    of_readout = extract(tiny, study.train, "gradient", readout=study.primary_readout)["X"]
    cosine = torch.cosine_similarity(vectors.direction, of_readout.direction, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(tiny.n_layers), rtol=1e-3, atol=1e-3)


def test_a_study_chooses_its_direction_on_training_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(8))
    for module in ("scenarios.neutral", "steering.fluency"):
        monkeypatch.setattr(f"interp_culture.{module}.load_neutral", lambda: {"a": "abcd abcd"})
    monkeypatch.setattr(directions_module, "CANDIDATES", (PAPER, Candidate("gradient")))
    # In this model the mean difference is best already.
    monkeypatch.setattr(directions_module, "best_candidate", lambda table: Candidate("gradient"))
    config = StudyConfig(
        model="planted",
        out=str(tmp_path),
        alphas=[0.1],
        sweep_alphas=[0.1],
        top_k=2,
        planted={},  # type: ignore[arg-type]
    )
    summary = run_study(config)
    direction = summary["direction"]
    assert direction["method"] == "gradient"
    assert direction["is_chosen"]
    table = pd.read_parquet(tmp_path / "direction_choice.parquet")
    assert set(table.method) == {"mean_diff", "gradient"}
    assert direction["multiple"] == pytest.approx(multiple_of_paper(table))
    assert not direction["is_of_paper"]
    assert summary["config"]["planted"]["steered"] == "X"  # type: ignore[index]
    assert {row["steered"] for row in summary["paper_matrix"]} == {"X", "Y"}
    study = Study(config)
    swept = set(pd.read_parquet(tmp_path / "sweep.parquet").id)
    assert swept < {scenario.id for scenario in study.train}
    opened = write_report(tmp_path).read_text()
    for text in ("Where does the model stand?", "Can it be steered?", "Do the axes move together?"):
        assert text in opened
    assert "The paper&#39;s direction, of the same norm, moves" in opened


def test_a_site_needs_a_method() -> None:
    with pytest.raises(InputError, match="site answer_mean needs a method"):
        load_config(site="answer_mean")


def test_the_primary_readout_can_be_configured(tiny: LanguageModel) -> None:
    """Letters fail their check on a random model, so that no study would choose them."""
    study = Study(StudyConfig(model="tiny", readout="letters", prefix=""))
    study.model = tiny
    assert study.primary_readout == "letters"
    assert study.format().readout == "letters"


def test_every_table_has_csv_and_manifest(finished: tuple[StudyConfig, dict[str, Any]]) -> None:
    folder = Path(finished[0].out)
    names = {p.stem for p in folder.glob("*.parquet")}
    assert names == set(SCHEMAS) - {"planted", "direction_choice"}
    for name in names:
        manifest = json.loads((folder / f"{name}.json").read_text())
        assert {
            "key",
            "model",
            "dtype",
            "scenarios",
            "templates",
            "versions",
            "commit",
            "dirty",
        } <= set(manifest)
        table = pd.read_parquet(folder / f"{name}.parquet")
        assert not SCHEMAS[name].unknown(list(table))
        fixed = [c.name for c in SCHEMAS[name].columns if "*" not in c.name]
        assert set(fixed) <= set(table)
        assert len(pd.read_csv(folder / f"{name}.csv")) == len(
            pd.read_parquet(folder / f"{name}.parquet")
        )


def test_a_finished_study_is_not_computed_again(
    finished: tuple[StudyConfig, dict[str, Any]],
    tiny: LanguageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, summary = finished
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: tiny)

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(directions_module, "extract", forbidden)
    for name in ("layer_sweep", "steered_readouts"):
        monkeypatch.setattr(study_module, name, forbidden)
    first = (Path(config.out) / "summary.json").read_text()
    again = run_study(config)
    second = (Path(config.out) / "summary.json").read_text()
    assert "NaN" not in second
    assert [x for x in first.splitlines() if "seconds" not in x] == [
        x for x in second.splitlines() if "seconds" not in x
    ]
    assert again["layers"] == summary["layers"]
    copy = shutil.copytree(config.out, tmp_path / "copy")
    with pytest.raises(AssertionError, match="computed again"):
        run_study(config.model_copy(update={"seed": 43, "out": str(copy)}))


def test_report_is_one_file_that_opens_with_findings(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    config, summary = finished
    html = write_report(config.out).read_text()
    assert html.count("http-equiv") == 1  # the content policy, and no refresh
    assert 'src="http' not in html
    assert html.index("Where does the model stand?") < html.index("plotly-graph-div")
    # Two of them on the first screen.
    assert html.count("plotly-graph-div") == 8
    text = "\n".join(map(str, findings(summary)))
    assert "The letters readout fails" in text or "letters readout, which" in text
    assert "We found no intended effect" in text or "It moves beyond random vectors" in text


def test_every_field_of_the_summary_has_a_type(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    """The typed records name the fields that a study writes, no more and no less."""
    config, summary = finished
    assert set(summary) == set(Summary.__annotations__)
    assert set(summary["model"]) == set(ModelRecord.__annotations__)
    assert set(SteeringSettings.__annotations__) <= set(summary["config"])
    assert set(summary["validity"]["letters"]) == set(ValidityRecord.__annotations__)
    assert set(summary["response"][0]) == set(ResponseRow.__annotations__)
    assert set(summary["matrix"][0]) == set(MatrixRow.__annotations__)
    assert set(read_manifest(Path(config.out))) == set(Manifest.__annotations__)
    assert set(read_summary(Path(config.out))) == set(Summary.__annotations__)


def test_a_term_is_explained_where_it_first_appears(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    first, again = mark_terms(["D of P+ <b>", "P+ again, ΔP+, alphabet"])
    assert first.count('class="term"') == 2
    assert first.endswith("&lt;b&gt;")
    assert 'title="How strongly the model prefers' in first
    assert again == "P+ again, ΔP+, alphabet"
    html = write_report(finished[0].out).read_text()
    assert html.index('href="#term-alpha"') < html.index("<h2>Findings</h2>")
    for term in TERMS:
        assert html.count(f'<dt id="{anchor(term)}">') == 1


@pytest.mark.parametrize(
    ("low", "outside", "q", "words"),
    [
        (-0.01, True, 0.2, "We found no coupling of Y to X. When we steer X, the 95% interval"),
        (
            0.01,
            True,
            0.02,
            "Y is coupled to X. When we steer X, the 95% interval of the change of Y "
            "excludes 0; at alpha +2 the change is beyond random vectors.",
        ),
        (0.01, True, 0.2, "A coupling of Y to X is not sure. When we steer X, the 95% interval of"),
        (0.01, False, 0.2, "We found no coupling of Y to X beyond random vectors."),
    ],
)
def test_a_coupling_is_named_where_random_vectors_do_not_reach(
    finished: tuple[StudyConfig, dict[str, Any]], low: float, outside: bool, q: float, words: str
) -> None:
    def planted(row: dict[str, Any], **values: Any) -> dict[str, Any]:
        return row | values if (row["steered"], row["axis"]) == ("X", "Y") else row

    summary = dict(finished[1])
    claim = {"q": q, "shown": q <= 0.05, "p_null": 0.01 if outside else 0.3}
    summary["matrix"] = [
        planted(r, low=low, high=0.03, defined=True, **claim) for r in summary["matrix"]
    ]
    summary["response"] = [
        planted(r, outside_null=outside and r["alpha"] > 0) for r in summary["response"]
    ]
    assert any(str(finding).startswith(words) for finding in findings(summary))
    summary["matrix"] = [r for r in summary["matrix"] if (r["steered"], r["axis"]) != ("Y", "X")]
    coupled = "We found a coupling beyond random vectors: Y to X"
    assert headline(summary) == (
        coupled if "is coupled" in words else "We found no coupling of one axis to another"
    )


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        ({"X": (1, -1), "Y": (1, -1)}, "Yes: X and Y follow steering in both directions"),
        ({"X": (), "Y": ()}, "We found no effect of steering beyond random vectors."),
        (
            {"X": (1,), "Y": (-1,)},
            "In part: X follows steering toward self-expression only and "
            "Y follows steering toward traditional only",
        ),
        (
            {"X": (1, -1), "Y": ()},
            "In part: X follows steering in both directions and Y follows steering in no direction",
        ),
    ],
)
def test_the_first_screen_says_which_way_each_axis_follows(
    finished: tuple[StudyConfig, dict[str, Any]], signs: dict[str, tuple[int, ...]], words: str
) -> None:
    def answered(row: dict[str, Any]) -> dict[str, Any]:
        sign = 1 if row["alpha"] > 0 else -1
        follows = row["steered"] == row["axis"] and sign in signs[row["steered"]]
        return row | {"outside_null": follows, "effect": 0.1 * sign, "low": 0.1, "high": 0.2}

    summary = dict(finished[1])
    summary["response"] = [answered(row) for row in summary["response"]]
    assert questions(summary)[1].finding.answer.startswith(words)  # type: ignore[arg-type]


def test_titles_say_what_was_found(finished: tuple[StudyConfig, dict[str, Any]]) -> None:
    summary = finished[1]
    followed = [
        r | {"outside_null": True, "effect": 0.1 * r["alpha"], "low": 0.1, "high": 0.2}
        if r["steered"] == r["axis"] == "X"
        else r | {"outside_null": False}
        for r in summary["response"]
    ]
    assert steering_title(summary | {"response": followed}).endswith(
        "X at 2 of 2 signs, Y at 0 of 2 signs"
    )
    nearest = min(
        (d for d in summary["distances"] if d["steered"] == ""), key=lambda d: d["distance"]
    )
    title = map_title(summary)
    assert f"{nearest['country']} is nearest" in title
    assert title.endswith(f"{nearest['distance']:.2f} map units")
    swept, signed, fixed = (
        layers_title(summary | {"config": {"layers": layers, "top_k": 4, "layers_by": by}})
        for layers, by in (
            (None, "differential"),
            (None, "effect"),
            (summary["layers"], "effect"),
        )
    )
    assert swept.startswith("We steer the 4 layers that move P+ most when steered alone: X at")
    assert "furthest in the direction of steering, for a fair cost, when steered alone: X" in signed
    assert fixed.startswith("We steer the configured layers: X at layers")


def test_shifts_by_domain_stand_beside_random_vectors(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    domains = pd.read_parquet(Path(finished[0].out) / "domains.parquet")
    assert len(domains) == 2 * 3 * 2
    assert (domains.null_high > 0).all()
    rows = domains.iloc[:3].assign(
        low=[0.1, 0.1, -0.1], high=0.3, effect=0.2, sure=[True, False, False]
    )
    text = domain_text(rows)
    first = rows.iloc[0]
    assert text.startswith("2 of 3 effects have a 95% interval that excludes 0 (")
    effect = f"{first.axis} when we steer {first.steered}, in {first.domain}, +0.200"
    assert text.endswith(f"Beyond random vectors of the same norm: {effect}.")
    assert domain_text(rows.assign(sure=False)).endswith("none of them.")
    assert domain_text(rows.assign(low=-0.1)).startswith("None of 3 effects have a 95% interval")


def test_texts_in_the_report_are_escaped(
    finished: tuple[StudyConfig, dict[str, Any]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0].out, copy)
    summary = json.loads((copy / "summary.json").read_text())
    summary["model"]["model"] = "<script>alert(1)</script>"
    summary["items"]["X01"] = "</script><b>bold"
    (copy / "summary.json").write_text(json.dumps(summary))
    html = write_report(copy).read_text()
    assert "<script>alert" not in html
    assert "</script><b>bold" not in html


def test_files_of_a_study_that_hold_no_object_are_named(
    finished: tuple[StudyConfig, dict[str, Any]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0].out, copy)
    for name in ("items.tables.json", "manifest.json", "summary.json"):
        (copy / name).write_text("[]")
        with pytest.raises(InputError, match=f"{name}: it holds a list, not an object"):
            write_report(copy)


def test_axes_that_are_not_cultural_work_by_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios())
    config = StudyConfig(
        model="planted",
        method="mean_diff",
        out=str(tmp_path / "out"),
        alphas=[0.1],
        sweep_alphas=[0.1],
        top_k=2,
    )
    summary = run_study(config)
    assert summary["distances"] == []
    assert summary["human"] is None
    html = write_report(config.out).read_text()
    assert html.count("plotly-graph-div") == 6
    body = html.split("<body>")[1].split("How it was run")[0]
    assert "self-expression" not in body
    assert "countries" not in body


def test_configurations_come_from_preset_file_and_options(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("alphas: [0.5]\nseed: 7\n")
    config = load_config(path, "quick", seed=9, model=None)
    assert (config.alphas, config.seed, config.test_per_cell, config.model) == (
        [0.5],
        9,
        2,
        "smollm2",
    )
    path.write_text("alpha: 3\n")
    with pytest.raises(InputError, match=r"c\.yaml: field alpha: Extra inputs"):
        load_config(path)
    path.write_text("n_random: 3\n")
    with pytest.raises(InputError, match=r"field n_random: .*greater than or equal to 20, got 3"):
        load_config(path)
    with pytest.raises(InputError, match="unknown preset 'tiny'; known: full, quick"):
        load_config(preset="tiny")
    for field, values in {"alphas": [0.0], "sweep_alphas": [2.0, 0.0], "top_k": 0}.items():
        with pytest.raises(InputError, match=f"field {field}"):
            load_config(**{field: values})
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "none.yaml")


def run_tiny(
    folder: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch, name: str = "planted"
) -> Study:
    """A study of few planted scenarios, nothing of which is computed yet."""
    monkeypatch.setattr(study_module, "load_model", lambda *a, **k: model)
    monkeypatch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(2))
    return Study(
        StudyConfig(
            model=name,
            method="mean_diff",
            out=str(folder),
            alphas=[0.1],
            sweep_alphas=[0.1],
            top_k=1,
        )
    )


def test_other_weights_under_one_name_are_another_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name and a folder with a slash are one model; other weights or templates are another."""
    keys = {
        name: run_tiny(tmp_path, planted_model(), monkeypatch, name).manifest["key"]
        for name in ("m", "m/")
    }
    assert keys["m"] == keys["m/"]
    changed = planted_model()
    with torch.no_grad():
        next(iter(changed.bridge.original_model.parameters())).add_(1)
    assert run_tiny(tmp_path, changed, monkeypatch, "m").manifest["key"] != keys["m"]
    templated = planted_model()
    templated.tokenizer.chat_template += " "
    assert run_tiny(tmp_path, templated, monkeypatch, "m").manifest["key"] != keys["m"]


def test_a_step_of_other_code_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted_model()
    study, calls = run_tiny(tmp_path, model, monkeypatch), []

    def compute() -> pd.DataFrame:
        calls.append(1)
        return pd.DataFrame({"a": [1]})

    study.once("step", compute)
    study.once("step", compute)
    assert len(calls) == 1
    monkeypatch.setattr(study_module, "source_hash", lambda package: f"changed {package}")
    run_tiny(tmp_path, model, monkeypatch).once("step", compute)
    assert len(calls) == 2


def test_vectors_of_another_study_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = run_tiny(tmp_path, planted_model(), monkeypatch)
    whole = study.vectors()
    foreign = {axis: norm_matched(v, torch.ones_like(v.direction)) for axis, v in whole.items()}
    save_vectors(tmp_path / "vectors.safetensors", foreign, "another")
    again = study.vectors()
    assert all(torch.equal(again[axis].direction, whole[axis].direction) for axis in whole)


def test_the_stored_check_of_the_readouts_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planted_model()
    first = run_tiny(tmp_path, model, monkeypatch).validity()
    monkeypatch.setattr(study_module, "check_readout", None)
    assert run_tiny(tmp_path, model, monkeypatch).validity() == first


def test_a_report_refuses_tables_of_another_study(
    finished: tuple[StudyConfig, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished[0].out, folder)
    write_report(folder)
    matrix = pd.read_parquet(folder / "matrix.parquet")
    matrix.assign(D=9.0).to_parquet(folder / "matrix.parquet", index=False)
    with pytest.raises(
        InputError, match=r"table matrix is missing, unfinished or of another study.*run the study"
    ):
        write_report(folder)
    shutil.copy(Path(finished[0].out) / "matrix.parquet", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "key": "other"}))
    with pytest.raises(InputError, match="are of different studies"):
        write_report(folder)


def test_an_axis_that_moves_without_the_steered_one_is_said(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    def planted(row: dict[str, Any], **values: Any) -> dict[str, Any]:
        return row | values if (row["steered"], row["axis"]) == ("X", "Y") else row

    summary = dict(finished[1])
    summary["matrix"] = [
        planted(r, D=-0.037, low=-0.068, high=-0.008, defined=False, shown=True)
        for r in summary["matrix"]
    ]
    summary["response"] = [planted(r, outside_null=True) for r in summary["response"]]
    assert headline(summary) == "Steering X moves Y, but X itself does not measurably move"
    # Of an axis that follows its own steering and moves no other one, that is said too.
    summary["matrix"] = [
        r | {"defined": True} if r["steered"] == "Y" else r for r in summary["matrix"]
    ]
    assert headline(summary).endswith("; we found no coupling of X to Y")
    answers = [finding.answer for finding in findings(summary)]
    assert "Steering X moves Y, but X itself does not measurably move." in answers


def test_nothing_is_claimed_of_few_scenarios(finished: tuple[StudyConfig, dict[str, Any]]) -> None:
    nan = float("nan")
    summary = dict(finished[1])
    rows = [
        r | {"effect": 0.326, "low": nan, "high": nan, "outside_null": False}
        for r in summary["response"]
    ]
    summary |= {
        "response": rows,
        "matrix": [r | {"low": nan, "high": nan} for r in summary["matrix"]],
    }
    summary["matrix"] = [r | {"defined": False} for r in summary["matrix"]]
    answers = [finding.answer for finding in findings(summary)]
    assert sum(answer.startswith("We claim nothing about") for answer in answers) == 4


def test_a_folder_without_a_study_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished study there"):
        write_report(tmp_path)


def test_the_report_says_which_layers_were_measured() -> None:
    rows = [("X", 1, "exact"), ("X", 3, "exact"), ("X", 2, "gradient"), ("Y", 2, "exact")]
    sweep = pd.DataFrame(rows, columns=["steered", "layer", "method"])
    assert measured_text(sweep).startswith(
        "Measured layers: X 1, 3; Y 2; the other layers are predicted from gradients"
    )
    assert measured_text(sweep[sweep.method == "exact"]) == ""
    assert measured_text(sweep[sweep.method == "gradient"]).startswith("Measured layers: none;")


def test_a_failing_readout_is_the_first_finding(
    finished: tuple[StudyConfig, dict[str, Any]],
) -> None:
    summary = dict(finished[1])
    lead = summary["primary_readout"]
    for ok in (True, False):
        check = summary["validity"][lead] | {"ok": ok}
        summary["validity"] = summary["validity"] | {lead: check}
        first = findings(summary)[0].answer
        assert first.startswith("The numbers below say little") is not ok
