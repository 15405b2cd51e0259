"""Tensors in files: their bytes for a checksum, and the errors of reading a file of anybody's."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from torch import Tensor

# What reading a .safetensors file and its metadata raises, if they are not what they should be.
READ_FAULTS = (
    *(SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError),
    *(RuntimeError, ArithmeticError),  # such as RecursionError
)


def tensor_bytes(tensor: Tensor) -> bytes:
    """The shape, the dtype and the numbers of a tensor. Equal tensors have equal bytes.

    >>> tensor_bytes(torch.ones(2)) == tensor_bytes(torch.ones(1, 2))
    False
    """
    numbers = tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy()
    return f"{tuple(tensor.shape)} {tensor.dtype}\0".encode() + numbers.tobytes()
