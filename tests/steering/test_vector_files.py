"""Vectors in files: the same after loading, and files of other programs are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp_culture.artifacts.files import DamageWarning
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract
from interp_culture.steering.vector_files import load_vectors, save_vectors, stored_vectors


def test_loaded_vectors_equal_the_saved_ones(
    tiny: LanguageModel, few: ScenarioSet, tmp_path: Path
) -> None:
    vectors = extract(tiny, few)
    save_vectors(tmp_path / "v.safetensors", vectors)
    loaded = load_vectors(tmp_path / "v.safetensors")
    assert list(loaded) == ["X", "Y"]
    for axis, v in vectors.items():
        assert torch.equal(loaded[axis].direction, v.direction)
        assert torch.equal(loaded[axis].resid_norm, v.resid_norm)
        assert loaded[axis].method == v.method
        assert loaded[axis].provenance == v.provenance


def test_the_key_of_a_file(tiny: LanguageModel, few: ScenarioSet, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    assert stored_vectors(path, "k1") is None
    vectors = extract(tiny, few)
    save_vectors(path, vectors, key="k1")
    stored = stored_vectors(path, "k1")
    assert stored is not None
    assert torch.equal(stored["X"].direction, vectors["X"].direction)
    assert stored_vectors(path, "k2") is None
    path.write_bytes(b"not a .safetensors file")
    with pytest.warns(DamageWarning, match="not a complete .safetensors file"):
        assert stored_vectors(path, "k1") is None
    assert not path.exists()


def test_a_flipped_bit_is_noticed(tiny: LanguageModel, few: ScenarioSet, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_vectors(path, extract(tiny, few), key="k1")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="its checksum is wrong"):
        load_vectors(path)
    with pytest.warns(DamageWarning, match="its checksum is wrong"):
        assert stored_vectors(path, "k1") is None


def test_files_without_vectors_raise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_vectors(tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors").write_bytes(b"not a .safetensors file")
    with pytest.raises(InputError, match="not a file that save_vectors wrote"):
        load_vectors(tmp_path / "v.safetensors")
