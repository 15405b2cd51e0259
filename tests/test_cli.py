"""The command line: help without heavy imports, results in files, one message for bad input."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import fails, run
from typer.main import get_command

from interp_culture.cli import app
from interp_culture.errors import InputError

VERBS = [
    "study", "compare", "validity", "probe", "extract", "sweep", "steer", "entangle", "report",
    "validate", "generate", "wvs", "facts", "persona", "ask", "models", "bench", "explain",
]  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [[Path(sys.executable).parent / "interp-culture"], [sys.executable, "-m", "interp_culture"]],
    ids=["installed", "module"],
)
def test_the_command_ends_with_2_and_one_message(command: list, tmp_path: Path) -> None:
    arguments = [*command, "validate", tmp_path / "none.jsonl"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert f"Example: interp-culture {verb}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_names_options_that_exist(verb: str) -> None:
    """An example is a command that its verb accepts; running it takes a model or a file."""
    command = get_command(app).commands[verb]
    words = shlex.split(command.epilog.removeprefix("Example: "))
    assert words[:2] == ["interp-culture", verb]
    command.make_context(verb, words[2:])


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from interp_culture.cli import app;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0;"
        "heavy = {'torch', 'transformers', 'pandas', 'plotly'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_validate_counts_the_shipped_set() -> None:
    done = run("validate")
    assert done.returncode == 0
    assert "axes X, Y" in done.stdout
    assert "valid, every check within its range" in done.stdout


def test_validate_says_what_is_out_of_range(tmp_path: Path, shipped: Any) -> None:
    path = tmp_path / "few.jsonl"
    lines = [
        s.model_copy(update={"positive": s.positive + " Yes, yes."}).model_dump_json()
        for s in shipped.sample(1)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "readable, but out of range: length difference, mean" in run("validate", path).stdout


def test_validate_names_the_faults(write_lines: Any) -> None:
    message = fails("validate", write_lines(b'{"id": "a"}', b"{"))
    assert "mine.jsonl:1: field 'axis': missing; add it" in message
    assert "mine.jsonl:2: invalid JSON" in message


BEHAVIOUR = '{"question": "Is it %s?\\n(A) Yes\\n(B) No", "answer_matching_behavior": "(A)", '
BEHAVIOUR += '"answer_not_matching_behavior": "(B)"}\n'


def test_faulty_records_are_said_in_a_line_a_kind_and_refused_under_strict(tmp_path: Path) -> None:
    path = tmp_path / "weather.jsonl"
    lines = [BEHAVIOUR % word for word in ("hot", "cold", "wet", "dry", "hot")]
    path.write_text(
        "".join([*lines, "{\n", *['{"question": "Is it so?"}\n'] * 4]), encoding="utf-8"
    )
    for _ in range(2):
        done = run("validate", path)
        assert done.returncode == 0
        assert "4 scenarios" in done.stdout
        said = done.stderr.splitlines()
        assert len(said) == 3
        assert said[0].startswith(f"· 1 record left out, invalid JSON: {path}:6 (")
        places = f"{path}:7, {path}:8, {path}:9 and 1 more"
        assert said[1].startswith(f"· 4 records left out, a field is missing: {places} (")
        assert said[2].startswith(f"· 1 record read once, an exact repeat: {path}:5 (")
    message = fails("validate", path, "--strict")
    assert "9 problems in the data:" in message
    assert "... and 5 more" in message


@pytest.mark.parametrize(
    "verb", ["study", "probe", "extract", "sweep", "steer", "entangle", "validate"]
)
def test_every_verb_that_reads_scenarios_can_be_strict(verb: str, tmp_path: Path) -> None:
    path = tmp_path / "weather.jsonl"
    path.write_text(BEHAVIOUR % "hot" + "{", encoding="utf-8")
    given = {"steer": ["--axis", "X", "--layers", "1"], "entangle": ["--layers", "X=1"]}.get(
        verb, []
    )
    given += (
        ["--vectors", str(write_tiny_vectors(tmp_path))]
        if verb in ("sweep", "steer", "entangle")
        else []
    )
    where = [path] if verb == "validate" else ["--scenarios", path, "--out", _out(verb, tmp_path)]
    assert "1 problem in the data" in fails(verb, "--strict", *given, *where)


def _out(verb: str, folder: Path) -> Path:
    return folder / {"study": "study", "extract": "v.safetensors"}.get(verb, "t.csv")


def test_validate_says_that_a_set_cannot_be_split(tmp_path: Path) -> None:
    path = tmp_path / "weather.jsonl"
    path.write_text(BEHAVIOUR % "hot", encoding="utf-8")
    done = run("validate", path)
    assert done.returncode == 2
    assert "1 scenarios, axes weather" in done.stdout
    assert (
        "error: cannot split 1 scenarios by item x domain: 1 item x domain (weather/all) with one"
        in done.stderr
    )


def test_personas_and_facts_are_printed(tmp_path: Path) -> None:
    assert run("persona", "basic:India").stdout == "You are a person living in India.\n"
    done = run("persona", "advanced:Denmark")
    assert "Peter, a person living in Denmark" in done.stdout
    assert "no mean is known of Y02, Y03" in done.stderr
    assert "near: Denmark (DNK)" in fails("persona", "basic:Danmark")
    done = run("facts", "--countries", "IND,Mexico")
    assert "Mexico" in done.stdout
    assert "rms error 0.20 (x), 0.18 (y); r 0.988, 0.993" in done.stdout
    assert "r 0.583 [0.447, 0.692]; y per x 0.465, x per y 0.729" in done.stdout


def test_figures_of_a_survey_file_reach_the_personas(tmp_path: Path) -> None:
    """From a file with the survey's column names to a persona that is no longer incomplete."""
    header = "B_COUNTRY_ALPHA,B_COUNTRY,A_YEAR,W_WEIGHT,Q164,Q8,Q14,Q15,Q17,Q184,Q254,Q45,"
    header += "Q154,Q155,Q46,Q182,Q209,Q57"
    answers = "DNK,208,2017,1,4,1,1,2,2,8,2,2,2,4,1,9,1,1"
    file = tmp_path / "wvs.csv"
    file.write_text("\n".join([header, *[answers] * 3]) + "\n")
    done = run("wvs", file, "--out", tmp_path / "facts")
    assert done.returncode == 0, done.stderr
    done = run("persona", "advanced:DNK", "--facts", tmp_path / "facts")
    assert "you place abortion at 8" in done.stdout
    assert "independence and determination, rather than obedience" in done.stdout
    assert "left out" not in done.stderr


def test_bad_input_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot write there" in fails("probe", "--out", tmp_path / "file" / "t.csv")
    assert "end the name in .csv or .parquet" in fails("probe", "--out", tmp_path / "t.xlsx")
    assert "--readout 'words'" in fails("probe", "--readout", "words", "--out", tmp_path / "t.csv")
    assert "no such file" in fails("sweep", "--vectors", tmp_path / "v.safetensors")
    assert "give AXIS=layers" in fails(
        "entangle",
        "--layers",
        "1,2",
        "--vectors",
        write_tiny_vectors(tmp_path),
        "--out",
        tmp_path / "t.csv",
    )
    twice = ("--layers", "X=1", "--layers", "Y=1", "--layers", "X=2")
    assert "--layers 'X=2': axis X has layers already" in fails(
        "entangle", *twice, "--vectors", write_tiny_vectors(tmp_path)
    )
    assert "unknown preset 'x'" in fails("study", "--preset", "x")
    assert "end the name in .csv or .parquet" in fails("probe", "--out", tmp_path / "t.safetensors")
    assert "for lettered options" in fails(
        "probe", "--labels", "1/2", "--readout", "continuation", "--out", tmp_path / "t.csv"
    )
    assert "cannot sample 0 scenarios" in fails(
        "probe", "--per-cell", "0", "--out", tmp_path / "t.csv"
    )
    assert "give a --persona too" in fails(
        "probe", "--facts", tmp_path, "--out", tmp_path / "t.csv"
    )
    assert "needs a --model" in fails("validate", "--layer", "3")
    assert "unknown --method 'all'; known: exact, gradient, refined" in fails(
        "sweep", "--method", "all", "--vectors", write_tiny_vectors(tmp_path)
    )
    few = ("--n-random", "3", "--vectors", write_tiny_vectors(tmp_path))
    assert "give 20 or more" in fails("entangle", "--layers", "X=1", *few)
    assert "--labels 'C/D'" in fails("probe", "--labels", "C/D", "--out", tmp_path / "t.csv")
    vectors = ("--vectors", write_tiny_vectors(tmp_path))
    no_effect = "alpha is 0, which steers nothing"
    assert no_effect in fails("sweep", "--alpha", "2", "--alpha", "0", *vectors)
    assert no_effect in fails("steer", "--axis", "X", "--layers", "1", "--alpha", "0", *vectors)
    assert no_effect in fails("entangle", "--layers", "X=1", "--alpha", "0", *vectors)
    assert "k is 0" in fails("sweep", "--top-k", "0", *vectors)
    assert "max_new_tokens is 0" in fails("ask", "--max-new-tokens", "0", "--out", tmp_path)
    assert "n_read is 0" in fails("bench", "--read", "0", "--out", tmp_path / "bench.json")
    both = ("--system", "Hi.", "--persona", "basic:India")
    assert "both set the system message" in fails("probe", *both, "--out", tmp_path / "t.csv")
    assert "unknown persona 'expert:x'" in fails("ask", "--persona", "expert:x", "--out", tmp_path)
    assert "no manifest.json" in fails("ask", "--facts", tmp_path, "--out", tmp_path)
    assert "no finished study" in fails("report", tmp_path)


@pytest.mark.parametrize("command", [("validate", "--model", "m"), ("ask",), ("probe",)])
def test_threads_are_chosen_before_a_model_is_loaded(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp_culture.engine import hardware, loading

    calls: list[str] = []

    def load_model(*args: Any, **options: Any) -> None:
        calls.append("load")
        raise InputError("no model here")

    monkeypatch.setattr(hardware, "choose_threads", lambda: calls.append("threads"))
    monkeypatch.setattr(loading, "load_model", load_model)
    monkeypatch.chdir(tmp_path)
    assert "no model here" in fails(*command)
    assert calls == ["threads", "load"]


def test_an_output_path_of_the_wrong_kind_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("t.csv", "v.safetensors", "page.md", "bench.json", "set.jsonl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_text("x")
    vectors = write_tiny_vectors(tmp_path)
    table = ("--out", tmp_path / "t.csv")
    teacher = ("--item", "Y01", "--domain", "family", "--endpoint", "http://127.0.0.1:1/v1")
    for_files = (
        ("probe", *table),
        ("sweep", "--vectors", vectors, *table),
        ("steer", "--axis", "X", "--layers", "1", "--vectors", vectors, *table),
        ("entangle", "--layers", "X=1", "--vectors", vectors, *table),
        ("extract", "--out", tmp_path / "v.safetensors"),
        ("validate", "--report", tmp_path / "page.md"),
        ("bench", "--out", tmp_path / "bench.json"),
        ("generate", *teacher, "--model", "m", "--out", tmp_path / "set.jsonl"),
    )
    for command in for_files:
        assert f"{command[-1]}: cannot write there (it is a folder)" in fails(*command)
        assert (Path(command[-1]) / "kept").exists()
    for_folders = (
        ("ask", "--out", tmp_path / "file"),
        ("wvs", tmp_path / "file", "--out", tmp_path / "file"),
        ("study", "--out", tmp_path / "file"),
    )
    for command in for_folders:
        assert "file: cannot write there (it is a file)" in fails(*command)


def test_unknown_models_and_devices(tmp_path: Path) -> None:
    message = fails("probe", "--model", "nobody/nothing", "--out", tmp_path / "t.csv")
    assert "unknown model 'nobody/nothing'" in message
    assert "no such .gguf file" in fails(
        "probe", "--model", tmp_path / "m.gguf", "--out", tmp_path / "t.csv"
    )
    assert "device 'tpu' is not available" in fails(
        "probe", "--device", "tpu", "--out", tmp_path / "t.csv"
    )
    assert "unknown dtype 'int3'" in fails("probe", "--dtype", "int3", "--out", tmp_path / "t.csv")


def write_tiny_vectors(folder: Path) -> Path:
    """Vectors of another model, three layers of width five."""
    import torch

    from interp_culture.steering.vector_files import save_vectors
    from interp_culture.steering.vectors import SteeringVectors

    path = folder / "other.safetensors"
    v = SteeringVectors("X", "mean_diff", torch.ones(3, 5), torch.ones(3), {"model": "other"})
    save_vectors(path, {"X": v})
    return path


@pytest.mark.slow
def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    vectors = write_tiny_vectors(tmp_path)
    args = ("--vectors", vectors, "--out", tmp_path / "t.csv", "--axis", "X", "--per-cell", "1")
    assert "does not fit smollm2 (d_model 576)" in fails("steer", "--layers", "1", *args)
    assert "layer 7 is out of range: these vectors have layers 0 to 2" in fails(
        "steer", "--layers", "7", *args
    )


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_direct_questions_on_the_embedded_model(tmp_path: Path) -> None:
    done = run(
        "ask",
        "--persona",
        "none",
        "--persona",
        "basic:India",
        "--max-new-tokens",
        "4",
        "--out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    items = pd.read_csv(tmp_path / "items.csv")
    assert len(items) == 20
    assert items.off_answers.between(0, 1).all()
    places = pd.read_parquet(tmp_path / "places.parquet").set_index("persona")
    assert places.system.to_dict() == {
        "none": "",
        "basic:India": "You are a person living in India.",
    }
    assert json.loads((tmp_path / "places.json").read_text())["model"] == "smollm2"
    again = run("ask", "--persona", "basic:India", "--max-new-tokens", "4", "--out", tmp_path)
    assert "basic:India: stored already" in again.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_verbs_work_on_the_embedded_model(tmp_path: Path, shipped: Any) -> None:
    small = tmp_path / "small.jsonl"
    picked = [s for s in shipped if s.item in ("X05", "Y01") and s.id.endswith(("1", "2"))]
    small.write_text("\n".join(json.dumps(s.model_dump()) for s in picked), encoding="utf-8")
    common = ("--scenarios", small)
    vectors, table = tmp_path / "v.safetensors", tmp_path / "t.csv"
    assert run("extract", *common, "--out", vectors).returncode == 0
    reading = ("--vectors", vectors, "--readout", "continuation", "--out", table)
    done = run("steer", "--axis", "X", "--layers", "12,13", "--alpha", "2", *common, *reading)
    assert done.returncode == 0, done.stderr
    assert "steering X: X" in done.stdout
    assert {"shift", "logit_shift", "p_positive"} <= set(pd.read_csv(table).columns)
    done = run("probe", *common, "--readout", "continuation", "--out", tmp_path / "p.parquet")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "p.parquet")) == len(picked)


def test_tables_are_one_json_document(tmp_path: Path) -> None:
    done = run("--json", "models")
    assert done.returncode == 0
    assert {row["name"] for row in json.loads(done.stdout)["models"]} >= {"smollm2"}
    # Of several tables, and of texts between them.
    facts = run("--json", "facts", "--countries", "Denmark,India")
    assert [row["country"] for row in json.loads(facts.stdout)["facts"]] == ["Denmark", "India"]
    assert "Denmark" not in run("facts", "--countries", "India").stdout
    # An error is no document.
    failed = run("--json", "verify", tmp_path)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "no finished study" in failed.stderr


def test_tables_says_what_columns_mean() -> None:
    listed = run("tables").stdout
    assert "gain.by_layer" in listed
    assert "compare.matrix" in listed
    of_one = run("tables", "matrix").stdout
    assert "a row is a steered axis and axis read. Made by ic.coupling.response_matrix." in of_one
    assert "low         lower end of the 95% interval" in of_one
    columns = json.loads(run("--json", "tables", "gain.by_layer").stdout)["columns"]
    assert {"column", "meaning", "unit"} == set(columns[0])
    assert "unknown table 'matrx'" in fails("tables", "matrx")
