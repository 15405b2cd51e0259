"""The header of a .gguf file, checked before another library unpacks the file.

A damaged count in the header makes the `gguf` package, with which transformers reads weights, list
values beyond the end of the file: it would fill the memory before it failed. The format:
https://github.com/ggml-org/ggml (docs/gguf.md).
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from interp_culture.errors import InputError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# Bytes of a value by the number of its type; texts and arrays have a length of their own.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
UINT32, TEXT, ARRAY = 4, 8, 9
# Arrays of arrays are allowed by the format; models have none.
MAX_ARRAY_DEPTH = 4
MAX_DIMENSIONS = 4
# The field with the multiple of bytes at which the tensors begin.
ALIGNMENT, DEFAULT_ALIGNMENT = "general.alignment", 32


class _HeaderError(ValueError):
    """What is wrong with a header."""


def check_gguf(path: Path) -> None:
    """Check that every part that the header of a .gguf file announces is in the file.

    Raises:
        InputError: another kind of file, a damaged header, or a file that is cut off.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(_Header(data))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # mmap raises a plain one for an empty file
        raise InputError(
            f"{path}: not a .gguf file that can be read: {error}; download it again"
        ) from error


@dataclass
class _Header:
    """A place in the bytes of a file, which moves as values are read."""

    data: mmap.mmap
    place: int = 0
    alignment: int = DEFAULT_ALIGNMENT

    def skip(self, size: int, what: str) -> int:
        """Move over `size` bytes; the place before them."""
        start = self.place
        if size > len(self.data) - start:
            raise _HeaderError(f"{what} ends beyond the end of the file, which is cut off")
        self.place += size
        return start

    def number(self, form: str, what: str) -> int:
        """The next number, in a form of `struct`."""
        start = self.skip(struct.calcsize(form), what)
        return int(struct.unpack_from(form, self.data, start)[0])

    def text(self, what: str) -> str:
        """The next text."""
        size = self.number("<Q", what)
        start = self.skip(size, what)
        try:
            return self.data[start : start + size].decode("utf-8")
        except UnicodeDecodeError:
            raise _HeaderError(f"{what} is not UTF-8") from None

    def count(self, least: int, what: str) -> int:
        """The next number of things, each of which takes at least `least` bytes."""
        n = self.number("<Q", what)
        if n * least > len(self.data) - self.place:
            raise _HeaderError(f"{n} {what} do not fit into {len(self.data)} bytes; it is cut off")
        return n


def _check(header: _Header) -> None:
    start = header.skip(4, "the header")
    if header.data[start : start + 4] != MAGIC:
        raise _HeaderError("it does not begin with GGUF")
    version = header.number("<I", "the version")
    if version not in VERSIONS:
        raise _HeaderError(f"its version is {version}; known: {', '.join(map(str, VERSIONS))}")
    n_tensors = header.number("<Q", "the number of tensors")
    # A name's length, its type and one byte are the least that a field takes.
    n_fields = header.count(13, "fields")
    for _ in range(n_fields):
        name = header.text("the name of a field")
        kind = header.number("<I", f"field {name!a}")
        if (name, kind) == (ALIGNMENT, UINT32):
            header.alignment = max(1, header.number("<I", name))
        else:
            _skip_value(header, kind, f"field {name!a}")
    _check_tensors(header, n_tensors)


def _skip_value(header: _Header, kind: int, what: str, depth: int = 0) -> None:
    if kind in SIZES:
        header.skip(SIZES[kind], what)
    elif kind == TEXT:
        header.skip(header.number("<Q", what), what)
    elif kind == ARRAY and depth < MAX_ARRAY_DEPTH:
        of_values = header.number("<I", what)
        n = header.count(SIZES.get(of_values, 8), f"values of {what}")
        if of_values in SIZES:
            header.skip(n * SIZES[of_values], what)
            return
        for _ in range(n):
            _skip_value(header, of_values, what, depth + 1)
    else:
        raise _HeaderError(f"{what} has the unknown type {kind}")


def _check_tensors(header: _Header, n_tensors: int) -> None:
    ends: dict[str, int] = {}
    # A name's length, the number of dimensions, the type and the offset.
    if n_tensors * 24 > len(header.data) - header.place:
        raise _HeaderError(f"{n_tensors} tensors do not fit into it; it is cut off")
    for _ in range(n_tensors):
        name = header.text("the name of a tensor")
        what = f"tensor {name!a}"
        n_dimensions = header.number("<I", what)
        if not 0 < n_dimensions <= MAX_DIMENSIONS:
            raise _HeaderError(f"{what} has {n_dimensions} dimensions")
        shape = [header.number("<Q", what) for _ in range(n_dimensions)]
        size = _bytes_of(header.number("<I", what), math.prod(shape), what)
        ends[what] = header.number("<Q", what) + size
    start = -(-header.place // header.alignment) * header.alignment
    for what, end in ends.items():
        if start + end > len(header.data):
            raise _HeaderError(f"{what} ends beyond the end of the file, which is cut off")


def _bytes_of(kind: int, n_values: int, what: str) -> int:
    """The bytes of a tensor's values, which are stored in blocks of a size by its type."""
    try:
        from gguf import GGML_QUANT_SIZES
    except ImportError:
        raise InputError(
            "a .gguf file needs the package gguf: pip install 'interp-culture[gguf]'"
        ) from None
    sizes = {int(known): size for known, size in GGML_QUANT_SIZES.items()}
    if kind not in sizes:
        raise _HeaderError(f"{what} has the unknown type {kind}")
    per_block, block_bytes = sizes[kind]
    return n_values * block_bytes // per_block
