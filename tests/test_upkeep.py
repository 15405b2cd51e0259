"""The verbs cache, verify and doctor: what they find, and what they leave alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, run
from planted import planted_model, planted_scenarios

import interp_culture as ic
from interp_culture.artifacts.stores import folder_once
from interp_culture.engine import doctor as doctor_module
from interp_culture.engine import versions
from interp_culture.engine.packaged import PACKAGED
from interp_culture.study import study as study_module


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the unpacked weights of a model, and what a killed process left."""
    monkeypatch.setenv("INTERP_CULTURE_CACHE", str(tmp_path))
    model = PACKAGED["smollm2"]
    folder_once(
        model.unpacked,
        {"gguf": model.sha256},
        lambda part: (part / "model.safetensors").write_bytes(b"weights"),
    )
    left = tmp_path / "models" / ".writing-x-1"
    left.mkdir()
    (tmp_path / "models" / "old-model").mkdir()
    return tmp_path


def test_the_cache_is_listed_compared_and_cleaned(cache: Path) -> None:
    listed = run("cache", "list").stdout
    assert "unpacked weights of smollm2" in listed
    assert "whole" not in listed
    assert "whole" in run("cache", "verify").stdout
    removed = run("cache", "prune")
    assert removed.stdout.startswith("2 removed")
    kept = {path.name for path in cache.glob("models/*") if path.is_dir()}
    assert kept == {PACKAGED["smollm2"].unpacked.name}
    (PACKAGED["smollm2"].unpacked / "model.safetensors").write_bytes(b"weightz")
    message = fails("cache", "verify")
    assert "damaged" in message
    assert "interp-culture cache prune" in message
    assert run("cache", "prune").stdout.startswith("1 removed")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a planted model."""
    folder = tmp_path_factory.mktemp("upkeep") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "load_model", lambda *a, **k: planted_model())
        patch.setattr(study_module, "load_scenarios", lambda path: planted_scenarios(4))
        config = {
            "method": "mean_diff", "readout": "continuation", "alphas": [0.1],
            "sweep_alphas": [0.1], "sweep_method": "gradient", "top_k": 1, "brief": True,
        }  # fmt: skip
        ic.run_study(ic.StudyConfig(model="planted", out=str(folder), **config))
    return folder


def test_a_whole_study_is_whole(study: Path) -> None:
    states = ic.study.verify_study(study)
    assert set(states.state) == {"whole"}
    for suffix in (".parquet", ".csv", ".safetensors"):
        assert states.file.str.endswith(suffix).any()
    assert states.file.str.startswith("activations").any()
    assert run("verify", str(study)).stdout == f"{len(states)} whole\n"


@pytest.mark.parametrize(
    "name",
    ["sweep.parquet", "sweep.csv", "sweep.json", "activations_last/positive.npy",
     "paper_vectors.safetensors"],
)  # fmt: skip
def test_a_flipped_bit_in_any_file_is_found(name: str, study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    content = bytearray((copy / name).read_bytes())
    content[-20] ^= 1
    (copy / name).write_bytes(content)
    message = fails("verify", str(copy))
    assert "1 of" in message or "2 of" in message
    states = ic.study.verify_study(copy)
    assert (
        states.file[states.state == "damaged"]
        .str.startswith(name.split("/", maxsplit=1)[0][:5])
        .all()
    )


def test_what_is_missing_or_of_an_earlier_study_is_named(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    (copy / "sweep.parquet").unlink()
    (copy / "old.parquet").write_bytes((copy / "vectors.parquet").read_bytes())
    (copy / "t.unfinished").mkdir()
    states = ic.study.verify_study(copy).set_index("file").state
    assert states["sweep.parquet"] == "missing"
    assert states["t.unfinished"] == "unfinished"


def test_the_doctor_shows_the_installation_and_the_errors(
    tiny: ic.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.check_errors = {"logits": 2e-7}
    monkeypatch.setattr(doctor_module, "load_model", lambda *a, **k: tiny)
    shown = run("doctor", "--model", "tiny").stdout
    for fact in ("torch", "transformers", "threads", "memory", "cache", "untested versions"):
        assert fact in shown
    assert "logits: relative error 2.0e-07, at most 1e-03" in shown
    assert "repeated: the same numbers, bit for bit" in shown


def test_a_device_that_is_not_deterministic_is_said(
    tiny: ic.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor_module.score_runs
    noise = iter([0.0, 1e-5])

    def noisy(*args: Any) -> dict[str, Any]:
        return {run: scores + next(noise) for run, scores in real(*args).items()}

    monkeypatch.setattr(doctor_module, "load_model", lambda *a, **k: tiny)
    monkeypatch.setattr(doctor_module, "score_runs", noisy)
    said = str(doctor_module.compare_with_plain("tiny"))
    assert "scores differ by up to 1.0e-05 nats: not deterministic here" in said


def test_untested_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TESTED", {"torch": ("1.0", "1.1")})
    with pytest.warns(versions.VersionWarning, match=r"torch .* was not tested .*tested: 1\.0 up"):
        versions.warn_of_versions()


def test_every_check_at_loading_has_its_error() -> None:
    from conftest import byte_tokenizer, tiny_hf

    model = ic.load_model(tiny_hf("llama"), tokenizer=byte_tokenizer(), device="cpu")
    assert len(model.check_errors) == 4
    assert all(error < 1e-5 for error in model.check_errors.values())
