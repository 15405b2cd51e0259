"""Batches of scores and gradients that an earlier run of the same table has finished."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.artifacts.journal import Journal, current_journal
from interp_culture.artifacts.tensors import tensor_bytes
from interp_culture.engine.interventions import Edit
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch

# The group of each row, its score, and its gradients by place.
RowGradients = tuple[
    Int[np.ndarray, " row"], Float[np.ndarray, " row"], Float[np.ndarray, "place row d_model"]
]
_Values = dict[Any, Float[Tensor, "path value"]]


@dataclass(frozen=True)
class KeptBatches:
    """The values of finished batches under some runs, in the journal of the table, if any.

    A batch is known by its tokens and by the edits of all runs, so that no part is taken for that
    of another pass.
    """

    runs: Sequence[Any]
    journal: Journal | None
    about_runs: bytes

    @classmethod
    def of(cls, runs: Mapping[Any, Sequence[Edit | Patch]]) -> KeptBatches:
        journal = current_journal()
        about = b"" if journal is None else b"\0".join(_about_run(edits) for edits in runs.values())
        return cls(list(runs), journal, hashlib.sha256(about).digest())

    def name(self, batch: Batch) -> str:
        """The name of a batch's part; call it once for each batch that is read."""
        if self.journal is None:
            return ""
        return self.journal.name(self.about_runs + _about_batch(batch))

    def get(self, name: str, device: torch.device) -> _Values | None:
        """The values of a finished batch; None for one that is not finished."""
        stored = None if self.journal is None else self.journal.kept(name)
        if stored is None or len(stored) != len(self.runs):
            return None
        return dict(zip(self.runs, torch.from_numpy(stored).to(device), strict=True))

    def put(self, name: str, values: _Values) -> None:
        if self.journal is not None:
            by_run = torch.stack([values[run].double().cpu() for run in self.runs])
            self.journal.keep(name, np.asarray(by_run))


class KeptGradients:
    """The gradients of finished batches in the journal of the folder or table, if any.

    Args:
        about: what decides the gradients beside the batch.
        n_places: at how many streams and hook points they are taken.
    """

    def __init__(self, edits: Sequence[Edit], about: Sequence[Any], n_places: int) -> None:
        self.journal = current_journal()
        self.n_places = n_places
        self.about = b""
        if self.journal is not None:
            parts = (_about_run(edits), *(_as_bytes(value) for value in about))
            self.about = hashlib.sha256(b"\0".join(parts)).digest()

    def name(self, batch: Batch) -> str:
        """The name of a batch's part; call it once for each batch that is read."""
        return "" if self.journal is None else self.journal.name(self.about + _about_batch(batch))

    def get(self, name: str) -> RowGradients | None:
        """The gradients of a finished batch; None for one that is not finished."""
        stored = None if self.journal is None else self.journal.kept(name)
        if stored is None:
            return None
        groups, scores, flat = np.split(stored, [1, 2], axis=1)
        by_place = rearrange(flat, "row (place d_model) -> place row d_model", place=self.n_places)
        return groups[:, 0].astype(int), scores[:, 0], by_place

    def put(self, name: str, gradients: RowGradients) -> None:
        if self.journal is not None:
            groups, scores, by_place = gradients
            flat = rearrange(by_place, "place row d_model -> row (place d_model)")
            columns = [groups[:, None].astype(float), scores[:, None], flat]
            self.journal.keep(name, np.concatenate(columns, axis=1))


def _about_run(edits: Sequence[Edit | Patch]) -> bytes:
    """What decides a run, as bytes."""
    about = []
    for edit in edits:
        about.append(type(edit).__name__.encode())
        about += [_as_bytes(getattr(edit, field.name)) for field in fields(edit)]
    return b"\0".join(about)


def _about_batch(batch: Batch) -> bytes:
    parts = [batch] if batch.stem is None else [batch.stem, batch]
    return b"\0".join(
        _as_bytes(tensor)
        for part in parts
        for tensor in (part.tokens, part.position_ids, part.is_answer, part.is_option)
    )


def _as_bytes(value: Any) -> bytes:
    return tensor_bytes(value) if isinstance(value, Tensor) else repr(value).encode()
