"""Binary files: steering vectors, leaks, decoders of autoencoders, and .gguf models.

A file of ours has a checksum: a damaged one is refused, or gives exactly what was written.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from fuzz.contract import cases, read_or_refuse
from fuzz.mutations import DAMAGES, any_bytes, changed_record, damaged, odd_values
from interp_culture.engine.gguf_header import check_gguf
from interp_culture.engine.leaks import METADATA as LEAK_METADATA
from interp_culture.engine.leaks import Leak, load_leak, save_leak
from interp_culture.engine.sources import from_gguf
from interp_culture.errors import InputError
from interp_culture.steering.sparse_features import Decoder, read_decoder
from interp_culture.steering.vector_files import METADATA, load_vectors, save_vectors
from interp_culture.steering.vectors import SteeringVectors

WIDTH = 6


def some_vectors() -> dict[str, SteeringVectors]:
    generator = torch.Generator().manual_seed(0)
    return {
        axis: SteeringVectors.from_tensors(
            axis,
            torch.randn(3, WIDTH, generator=generator),
            resid_norm=torch.rand(3, generator=generator) + 1,
            model="tiny",
        )
        for axis in ("X", "É")
    }


def some_leak() -> Leak:
    return Leak(1, torch.arange(1.0, 7.0), torch.ones(WIDTH), size=0.5, centre=0.25)


VALID: dict[str, bytes] = {}
FILES = {"vectors": "vector files", "leak": "leak files"}


@pytest.fixture(scope="module", autouse=True)
def valid(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The bytes of a valid file of each kind."""
    path = tmp_path_factory.mktemp("valid") / "file.safetensors"
    save_vectors(path, some_vectors(), key="k1")
    VALID["vectors"] = path.read_bytes()
    save_leak(path, some_leak())
    VALID["leak"] = path.read_bytes()
    save_file({"W_dec": torch.randn(9, WIDTH)}, path)
    VALID["decoder"] = path.read_bytes()
    VALID["gguf"] = some_gguf(path.with_suffix(".gguf"))


@st.composite
def damaged_file(draw: st.DrawFn, kind: str) -> bytes:
    """A damaged file; half of the changes are to its header, which is a small part of it."""
    original = VALID[kind]
    if draw(st.booleans()):
        header = 8 + struct.unpack("<Q", original[:8])[0] if kind != "gguf" else 400
        return draw(damaged(original[:header], DAMAGES)) + original[header:]
    return draw(any_bytes(original))


@st.composite
def flipped_header(draw: st.DrawFn, kind: str) -> bytes:
    """A file with one other byte in its header."""
    data = bytearray(VALID[kind])
    place = draw(st.integers(0, 7 + struct.unpack("<Q", data[:8])[0]))
    data[place] ^= draw(st.integers(1, 255))
    return bytes(data)


# -- vectors --------------------------------------------------------------------------------------


def same_vectors(one: dict[str, SteeringVectors], other: dict[str, SteeringVectors]) -> bool:
    return list(one) == list(other) and all(
        torch.equal(one[axis].direction, other[axis].direction)
        and torch.equal(one[axis].resid_norm, other[axis].resid_norm)
        and (one[axis].method, one[axis].provenance, one[axis].axis)
        == (other[axis].method, other[axis].provenance, other[axis].axis)
        for axis in one
    )


@cases(quick=40, torture=900)
@given(content=damaged_file("vectors") | flipped_header("vectors"))
@example(content=b"")
@example(content=b"\xff" * 200)
@example(content=struct.pack("<Q", 100_000) + b"[" * 100_000)
def test_damaged_vector_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(content)
    outcome = read_or_refuse("vector files", lambda: load_vectors(path), path)
    if outcome.value is not None:
        assert same_vectors(outcome.value, some_vectors())


@pytest.mark.parametrize("kind", ["vectors", "leak"])
def test_one_other_bit_in_the_numbers_is_noticed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    for place in range(1, 25):
        data = bytearray(VALID[kind])
        data[-place] ^= 1
        path.write_bytes(data)
        assert read_or_refuse(FILES[kind], partial(READERS[kind], path), path).refused


@pytest.mark.parametrize("kind", ["vectors", "leak"])
def test_a_checksum_with_another_name_is_noticed(kind: str, tmp_path: Path) -> None:
    """Otherwise one other byte would make a file one of those without a checksum."""
    path = tmp_path / "file.safetensors"
    for name in (b'"sha256"', b'"digest"'):
        path.write_bytes(VALID[kind].replace(name, name.replace(b"s", b"t")))
        outcome = read_or_refuse(FILES[kind], partial(READERS[kind], path), path)
        assert outcome.refused == (name in VALID[kind])


def foreign_vectors(path: Path, about: Any, **tensors: torch.Tensor) -> Path:
    """A file in the form of ours, without a checksum, as earlier versions wrote them."""
    stored = {"X.direction": torch.ones(3, WIDTH), "X.resid_norm": torch.ones(3)}
    text = about if isinstance(about, str) else json.dumps(about)
    save_file(stored | tensors, path, metadata={METADATA: text})
    return path


def test_a_file_without_a_checksum_is_read(tmp_path: Path) -> None:
    about = {"X": {"method": "given", "provenance": {}}}
    assert list(load_vectors(foreign_vectors(tmp_path / "v.safetensors", about))) == ["X"]


@cases(quick=25, torture=500)
@given(entry=changed_record({"method": "given", "provenance": {"model": "tiny"}}))
@example(entry={"method": 3, "provenance": {}})
@example(entry={"method": "given", "provenance": [["model", "tiny"]]})
def test_odd_metadata_of_vectors(entry: Any, tmp_path: Path) -> None:
    path = foreign_vectors(tmp_path / "v.safetensors", {"X": entry})
    outcome = read_or_refuse("vector metadata", lambda: load_vectors(path), path)
    if outcome.value is not None:
        assert isinstance(outcome.value["X"].method, str)
        assert isinstance(outcome.value["X"].provenance, dict)
        repr(outcome.value["X"])


@pytest.mark.parametrize("about", ["[" * 100_000, "9" * 5_000, "[]", "{}", "null", "3", "NaN"])
def test_metadata_that_is_no_object(about: str, tmp_path: Path) -> None:
    path = foreign_vectors(tmp_path / "v.safetensors", about)
    assert read_or_refuse("vector metadata", lambda: load_vectors(path), path).refused


@pytest.mark.parametrize(
    "direction",
    [
        torch.full((3, WIDTH), torch.nan),
        torch.full((3, WIDTH), torch.inf),
        torch.ones(3, WIDTH, dtype=torch.int64),
        torch.ones(3, WIDTH, dtype=torch.bool),
        torch.ones(3, WIDTH, dtype=torch.complex64),
        torch.ones(0, WIDTH),
        torch.ones(3, 0),
        torch.ones(2, WIDTH),
        torch.ones(WIDTH),
        torch.tensor(1.0),
    ],
    ids=str,
)
def test_numbers_that_are_no_directions(direction: torch.Tensor, tmp_path: Path) -> None:
    about = {"X": {"method": "given", "provenance": {}}}
    path = foreign_vectors(tmp_path / "v.safetensors", about, **{"X.direction": direction})
    assert read_or_refuse("vector metadata", lambda: load_vectors(path), path).refused


# -- leaks ----------------------------------------------------------------------------------------


@cases(quick=30, torture=600)
@given(content=damaged_file("leak") | flipped_header("leak"))
def test_damaged_leak_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "leak.safetensors"
    path.write_bytes(content)
    outcome = read_or_refuse("leak files", lambda: load_leak(path), path)
    if outcome.value is not None:
        assert outcome.value.digest == some_leak().digest


FIELDS = {"block": 1, "size": 0.5, "centre": 0.25, "kind": "representational"}


@cases(quick=25, torture=500)
@given(fields=changed_record(FIELDS) | odd_values())
@example(fields=FIELDS | {"block": "1"})
@example(fields=FIELDS | {"block": -1})
@example(fields=FIELDS | {"block": True})
@example(fields=FIELDS | {"size": 10**400})
def test_odd_fields_of_leaks(fields: Any, tmp_path: Path) -> None:
    path = tmp_path / "leak.safetensors"
    directions = {"reads": torch.ones(WIDTH), "writes": torch.ones(WIDTH)}
    try:
        text = json.dumps(fields)
        save_file(directions, path, metadata={LEAK_METADATA: text})
    except (RecursionError, UnicodeEncodeError):
        return  # this is in no file
    outcome = read_or_refuse("leak fields", lambda: load_leak(path), path)
    if outcome.value is not None:
        assert outcome.value.block == int(outcome.value.block) >= 0
        assert not isinstance(outcome.value.block, bool)
        assert outcome.value.digest


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, "[]", "null", "{}", ""])
def test_leak_metadata_that_is_no_object(text: str, tmp_path: Path) -> None:
    path = tmp_path / "leak.safetensors"
    directions = {"reads": torch.ones(WIDTH), "writes": torch.ones(WIDTH)}
    save_file(directions, path, metadata={LEAK_METADATA: text})
    assert read_or_refuse("leak fields", lambda: load_leak(path), path).refused


# -- decoders -------------------------------------------------------------------------------------


@cases(quick=30, torture=600)
@given(content=damaged_file("decoder"))
def test_damaged_decoders(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sae.safetensors"
    path.write_bytes(content)
    outcome = read_or_refuse("decoder files", lambda: read_decoder(path, WIDTH), path)
    if outcome.value is not None:
        check_decoder(outcome.value)


def check_decoder(decoder: Decoder) -> None:
    lengths = decoder.units.norm(dim=-1)
    assert decoder.units.shape[1] == WIDTH
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_decoders_that_are_no_floats(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "sae.safetensors"
    save_file({"W_dec": torch.ones(9, WIDTH, dtype=dtype)}, path)
    assert read_or_refuse("decoder files", lambda: read_decoder(path, WIDTH), path).refused


# -- .gguf ----------------------------------------------------------------------------------------


def some_gguf(path: Path) -> bytes:
    """A small model file with every kind of value."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10_000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_token_list(["<s>", "</s>", "é", "tea"])
    writer.add_token_scores([0.0, 0.5, 1.0, 1.5])
    writer.add_tensor("token_embd.weight", np.ones((4, 32), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def header_of(path: Path) -> bool:
    check_gguf(path)
    return True


@cases(quick=50, torture=1500)
@given(content=damaged_file("gguf"))
@example(content=b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60))
@example(content=b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0))
@example(content=b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 0, 2**40) + b"\0" * 100)
@example(content=b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62))
@example(content=b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 9) + b"\x09\0\0\0" * 5_000)
def test_damaged_gguf_headers(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    outcome = read_or_refuse("GGUF headers", lambda: header_of(path), path)
    if not outcome.refused:
        # What passes the check can be listed without a loop that never ends.
        from gguf import GGUFReader

        try:
            assert len(GGUFReader(path).tensors) <= 1_000
        except (ValueError, KeyError, IndexError, UnicodeDecodeError):
            return  # such a file is refused a step later, by `from_gguf`


@cases(quick=6, torture=150)
@given(content=damaged_file("gguf"))
@example(content=b"")
# An array of a trillion numbers, which would be listed one by one.
@example(content=b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 0, 2**40))
def test_damaged_gguf_files(content: bytes, tmp_path: Path) -> None:
    """The whole reader, up to the tokenizer that this small file does not have."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    outcome = read_or_refuse("GGUF files", lambda: from_gguf(path, torch.float32), path)
    assert outcome.refused


def test_a_gguf_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(VALID["gguf"])
    check_gguf(path)
    path.write_bytes(VALID["gguf"][:-40])
    with pytest.raises(InputError, match=r"m\.gguf: .*'output_norm.weight' ends .* is cut off"):
        check_gguf(path)


# -- places that are no files ---------------------------------------------------------------------

READERS = {
    "vectors": load_vectors,
    "leak": load_leak,
    "decoder": lambda path: read_decoder(path, WIDTH),
    "gguf": lambda path: from_gguf(Path(path), torch.float32),
}


@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
@pytest.mark.parametrize("name", ["nowhere.gguf", "a\x00b", "x" * 5_000, "folder"])
def test_places_without_tensors(read: Any, name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError):
        read(tmp_path / name)
