"""Residual streams of contrastive texts, batch by batch, or all of them in memory-mapped files where asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.artifacts import replacing, write_json
from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import trace
from interp_culture.engine.interventions import Edit, as_edits
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError
from interp_culture.readout.prompts import contrastive_texts
from interp_culture.scenarios.scenario import ScenarioSet


@dataclass(frozen=True)
class Activations:
    """Residual streams after every block at the last token of x+ and x- (paper, equation 4).

    Attributes:
        ids: the scenarios, in the order of the first dimension.
        positive, negative: float32 on the CPU; layer l is `blocks.l.hook_resid_post`, the last one before the
            final norm.
    """

    ids: tuple[str, ...]
    positive: Float[Tensor, "scenario layer d_model"]
    negative: Float[Tensor, "scenario layer d_model"]

    def __repr__(self) -> str:
        n, layers, d_model = self.positive.shape
        return f"Activations({n} scenarios, {layers} layers, d_model {d_model})"

    def select(self, ids: Sequence[str]) -> Activations:
        """The rows of these scenarios, in this order; one may be named more than once (a bootstrap sample).

        Raises InputError for a scenario that is not among them.
        """
        place = {i: row for row, i in enumerate(self.ids)}
        if missing := [i for i in ids if i not in place]:
            raise InputError(
                f"no activations of {', '.join(missing[:5])} among those of {len(self.ids)} scenarios"
            )
        rows = [place[i] for i in ids]
        return Activations(tuple(ids), self.positive[rows], self.negative[rows])


CACHE_MANIFEST = "activations.json"


def contrastive_activations(
    model: LanguageModel, scenarios: ScenarioSet, edits: Sequence[Edit] = ()
) -> Iterator[Activations]:
    """The activations of each scenario's two texts, read once, in batches of any order, plain or under `edits`.

    Raises InputError while somebody's hooks are on the model, since vectors of a steered model are not its vectors;
    for a text beyond the model's context, by its scenario; and for NaN or infinite activations.
    """
    if model.is_hooked:
        raise InputError(
            f"hooks are active on the model, at {', '.join(model.hook_places[:3])}: its activations are not plain "
            "ones; leave the `hooks(...)` block, or remove them (model.bridge.reset_hooks(), handle.remove())"
        )
    edits = as_edits(edits)
    texts = [text for scenario in scenarios for text in contrastive_texts(scenario)]
    names = [f"scenario {scenario.id}" for scenario in scenarios for _ in range(2)]
    sequences = model.tokenise_texts(texts, names)
    groups = [sequences[i : i + 2] for i in range(0, len(sequences), 2)]
    layers = range(1, model.n_layers + 1)

    def read(batch: Batch) -> Activations:
        kept = trace(model, batch, edits, layers=layers)
        rows = [path.row for path in batch.paths]
        last = [int(path.reads[-1]) for path in batch.paths]
        resid = (
            torch.stack([kept.resid[layer][rows, last] for layer in layers], dim=1).float().cpu()
        )
        of = {(path.group, path.member): i for i, path in enumerate(batch.paths)}
        members = sorted({path.group for path in batch.paths})
        ids = tuple(scenarios.scenarios[g].id for g in members)
        positive, negative = (resid[[of[g, member] for g in members]] for member in (0, 1))
        _check_finite(model, ids, torch.stack([positive, negative], dim=1), edits)
        return Activations(ids, positive, negative)

    with tqdm(total=len(scenarios), desc="reading activations", unit="scenario", delay=1) as bar:
        for activations in over_batches(model, groups, read):
            yield activations
            bar.update(len(activations.ids))


def read_activations(
    model: LanguageModel, scenarios: ScenarioSet, edits: Sequence[Edit] = ()
) -> Activations:
    """All activations in memory, in the order of `scenarios`, plain or under `edits`.

    `cache_activations` keeps plain ones in files instead.
    """
    positive, negative = (np.empty(_shape(model, scenarios), np.float32) for _ in range(2))
    _fill(model, scenarios, positive, negative, edits)
    ids = tuple(s.id for s in scenarios)
    return Activations(ids, torch.from_numpy(positive), torch.from_numpy(negative))


def cache_activations(
    model: LanguageModel, scenarios: ScenarioSet, folder: str | Path
) -> Activations:
    """All activations in `folder`, computed once and opened memory-mapped: only what is used comes into memory.

    4 bytes for each of 2 x scenarios x layers x d_model. A folder of the same model and texts is opened as it is, any
    other is replaced; what was interrupted is not taken for finished.
    """
    folder = Path(folder)
    about = {**model.describe(), "scenarios": scenarios.digest, "ids": [s.id for s in scenarios]}
    if (stored := _manifest(folder)) is None or _key(stored) != _key(about):
        with replacing(folder) as part:
            part.mkdir()
            paths = [part / f"{pole}.npy" for pole in ("positive", "negative")]
            shape = _shape(model, scenarios)
            poles = [np.lib.format.open_memmap(path, "w+", np.float32, shape) for path in paths]
            _fill(model, scenarios, poles[0], poles[1])
            for pole in poles:
                pole.flush()
            write_json(part / CACHE_MANIFEST, about)
    return load_activations(folder)


def load_activations(folder: str | Path) -> Activations:
    """What `cache_activations` wrote, memory-mapped: changes stay in memory. Raises InputError for another folder."""
    folder = Path(folder)
    about = _manifest(folder)
    if about is None:
        raise InputError(
            f"{folder}: no cached activations there; write them with cache_activations"
        )
    # Copy-on-write, since torch knows no read-only tensors.
    poles = (
        torch.from_numpy(np.load(folder / f"{pole}.npy", mmap_mode="c"))
        for pole in ("positive", "negative")
    )
    return Activations(tuple(about["ids"]), *poles)


def _check_finite(
    model: LanguageModel,
    ids: Sequence[str],
    resid: Float[Tensor, "scenario pole layer d_model"],
    edits: Sequence[Edit],
) -> None:
    bad = ~torch.isfinite(resid).all(-1)
    if not bad.any():
        return
    layer = int(bad.any(0).any(0).int().argmax())
    scenario = ids[int(bad[:, :, layer].any(1).int().argmax())]
    dtype = str(model.dtype).removeprefix("torch.")
    remedy = "lower the strength" if edits else "load the model in float32 or bfloat16"
    raise InputError(
        f"scenario {scenario}: NaN or infinite activations, first after layer {layer} ({dtype}); {remedy}"
    )


def _shape(model: LanguageModel, scenarios: ScenarioSet) -> tuple[int, int, int]:
    return len(scenarios), model.n_layers, model.d_model


def _fill(
    model: LanguageModel,
    scenarios: ScenarioSet,
    positive: Float[np.ndarray, "scenario layer d_model"],
    negative: Float[np.ndarray, "scenario layer d_model"],
    edits: Sequence[Edit] = (),
) -> None:
    """Read every scenario's activations into its row."""
    place = {s.id: i for i, s in enumerate(scenarios)}
    for batch in contrastive_activations(model, scenarios, edits):
        rows = [place[i] for i in batch.ids]
        positive[rows] = batch.positive.numpy()
        negative[rows] = batch.negative.numpy()


def _key(about: dict[str, Any]) -> dict[str, Any]:
    """What decides the activations: not the name by which the model was loaded, nor where it ran."""
    return {
        name: value for name, value in about.items() if name not in ("model", "revision", "device")
    }


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / CACHE_MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
