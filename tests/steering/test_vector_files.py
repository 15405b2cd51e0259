"""Vectors in files: the same after loading, and files of other programs are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.extraction import extract
from interp_culture.steering.vector_files import load_vectors, save_vectors, stored_key


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
    assert stored_key(path) is None
    save_vectors(path, extract(tiny, few), key="k1")
    assert stored_key(path) == "k1"
    path.write_bytes(b"not a .safetensors file")
    assert stored_key(path) is None


def test_files_without_vectors_raise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_vectors(tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors").write_bytes(b"not a .safetensors file")
    with pytest.raises(InputError, match="not a file that save_vectors wrote"):
        load_vectors(tmp_path / "v.safetensors")
