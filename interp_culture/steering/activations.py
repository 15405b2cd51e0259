"""Residual streams of contrastive texts: in batches, in memory, or in memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.artifacts import read_json, refuse_file, replacing, write_json
from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import trace
from interp_culture.engine.interventions import Edit, as_edits
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch, TokenSequence
from interp_culture.errors import InputError
from interp_culture.readout.prompts import contrastive_texts
from interp_culture.scenarios.scenario import ScenarioSet


@dataclass(frozen=True)
class Activations:
    """Residual streams at the last token of x+ and of x- (paper, equation 4), after every block.

    Attributes:
        ids: the scenarios, in the order of the first dimension.
        positive: of x+, float32 on the CPU. Layer l is `blocks.l.hook_resid_post`; the last layer
            is the stream before the final norm.
        negative: the same of x-.
    """

    ids: tuple[str, ...]
    positive: Float[Tensor, "scenario layer d_model"]
    negative: Float[Tensor, "scenario layer d_model"]

    def __repr__(self) -> str:
        n, layers, d_model = self.positive.shape
        return f"Activations({n} scenarios, {layers} layers, d_model {d_model})"

    def select(self, ids: Sequence[str]) -> Activations:
        """The activations of these scenarios, in this order.

        An id may occur more than once, as in a bootstrap sample. Raises InputError for an id that
        has no activations here.
        """
        row_of = {scenario_id: row for row, scenario_id in enumerate(self.ids)}
        missing = [scenario_id for scenario_id in ids if scenario_id not in row_of]
        if missing:
            raise InputError(
                f"no activations of {', '.join(missing[:5])} among those of {len(self.ids)} "
                "scenarios; compute them with read_activations"
            )
        rows = [row_of[scenario_id] for scenario_id in ids]
        return Activations(tuple(ids), self.positive[rows], self.negative[rows])


CACHE_MANIFEST = "activations.json"


def contrastive_activations(
    model: LanguageModel, scenarios: ScenarioSet, edits: Sequence[Edit] = ()
) -> Iterator[Activations]:
    """The activations of each scenario's two texts, in batches.

    Each text is read once. The batches are not in the order of `scenarios`, since texts of similar
    length are read together.

    Args:
        edits: active while the texts are read; by default none (the plain model).

    Raises:
        InputError: other hooks are active on the model (vectors of a steered model are not those of
            the plain one), a text is longer than the model's context, or an activation is NaN or
            infinite.

    >>> sum(len(batch.ids) for batch in contrastive_activations(model, test)) == len(test)
    True
    """
    if model.is_hooked:
        raise InputError(
            f"hooks are active on the model, at {', '.join(model.hook_places[:3])}: its "
            "activations are not those of the plain model; leave the `hooks(...)` block, or remove "
            "them (model.bridge.reset_hooks(), handle.remove())"
        )
    edits = as_edits(edits)
    groups = _text_groups(model, scenarios)
    # `Trace.resid[l]` is the stream before block l, which is the one after block l - 1.
    layers = range(1, model.n_layers + 1)

    def read(batch: Batch) -> Activations:
        traced = trace(model, batch, edits, layers=layers)
        rows = [path.row for path in batch.paths]
        last_tokens = [int(path.reads[-1]) for path in batch.paths]
        by_layer = [traced.resid[layer][rows, last_tokens] for layer in layers]
        resid = torch.stack(by_layer, dim=1).float().cpu()
        activations = _by_pole(scenarios, batch, resid)
        _check_finite(model, activations, edits)
        return activations

    with tqdm(total=len(scenarios), desc="reading activations", unit="scenario", delay=1) as bar:
        for activations in over_batches(model, groups, read):
            yield activations
            bar.update(len(activations.ids))


def _text_groups(model: LanguageModel, scenarios: ScenarioSet) -> list[list[TokenSequence]]:
    """The tokens of x+ and x- of each scenario."""
    texts: list[str] = []
    names: list[str] = []
    for scenario in scenarios:
        texts += contrastive_texts(scenario)
        names += [f"scenario {scenario.id}"] * 2
    sequences = model.tokenise_texts(texts, names)
    return [sequences[first : first + 2] for first in range(0, len(sequences), 2)]


def _by_pole(
    scenarios: ScenarioSet, batch: Batch, resid: Float[Tensor, "path layer d_model"]
) -> Activations:
    """The activations of a batch, by scenario."""
    # A path's group is the scenario's place in the set; member 0 is x+, member 1 is x-.
    index_of = {(path.group, path.member): index for index, path in enumerate(batch.paths)}
    groups = sorted({path.group for path in batch.paths})
    ids = tuple(scenarios.scenarios[group].id for group in groups)
    positive = resid[[index_of[group, 0] for group in groups]]
    negative = resid[[index_of[group, 1] for group in groups]]
    return Activations(ids, positive, negative)


def read_activations(
    model: LanguageModel, scenarios: ScenarioSet, edits: Sequence[Edit] = ()
) -> Activations:
    """All activations, in memory and in the order of `scenarios`.

    `cache_activations` stores them in files instead.

    Args:
        edits: active while the texts are read; by default none (the plain model).

    Raises:
        InputError: as `contrastive_activations`.

    >>> activations = ic.read_activations(model, train)
    >>> activations.positive.shape  # scenario, layer, d_model
    torch.Size([30, 4, 32])
    """
    shape = _shape(model, scenarios)
    positive = np.empty(shape, np.float32)
    negative = np.empty(shape, np.float32)
    _fill(model, scenarios, positive, negative, edits)
    ids = tuple(s.id for s in scenarios)
    return Activations(ids, torch.from_numpy(positive), torch.from_numpy(negative))


def cache_activations(
    model: LanguageModel, scenarios: ScenarioSet, folder: str | Path
) -> Activations:
    """All activations of the plain model, stored in `folder` and opened memory-mapped.

    A folder that holds the activations of the same model and texts is opened; any other content
    is replaced. An interrupted call leaves no folder that would count as finished. The files take
    8 bytes for every scenario, layer and dimension (float32, two texts); only the parts in use
    are in memory.

    Raises:
        InputError: as `contrastive_activations`; a path that is a file.

    >>> activations = cache_activations(model, test, "activations")
    >>> len(activations.ids) == len(test)
    True
    """
    folder = Path(folder)
    refuse_file(folder)
    manifest = {
        **model.describe(),
        "scenarios": scenarios.digest,
        "ids": [scenario.id for scenario in scenarios],
    }
    stored = _read_manifest(folder)
    if stored is None or _key(stored) != _key(manifest):
        with replacing(folder) as part:
            part.mkdir()
            shape = _shape(model, scenarios)
            positive = np.lib.format.open_memmap(part / "positive.npy", "w+", np.float32, shape)
            negative = np.lib.format.open_memmap(part / "negative.npy", "w+", np.float32, shape)
            _fill(model, scenarios, positive, negative)
            positive.flush()
            negative.flush()
            write_json(part / CACHE_MANIFEST, manifest)
    return load_activations(folder)


def load_activations(folder: str | Path) -> Activations:
    """The activations that `cache_activations` stored, memory-mapped.

    Changes to the tensors stay in memory.

    Returns:
        The ids of the scenarios and the residual streams of both poles [scenario, layer, d_model].

    Raises:
        InputError: a folder without activations.

    >>> stored = cache_activations(model, test, "activations")
    >>> load_activations("activations").positive.equal(stored.positive)
    True
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if manifest is None:
        raise InputError(
            f"{folder}: no cached activations there; write them with cache_activations"
        )
    # Copy-on-write, since torch has no read-only tensors.
    positive, negative = (
        torch.from_numpy(np.load(folder / f"{pole}.npy", mmap_mode="c"))
        for pole in ("positive", "negative")
    )
    return Activations(tuple(manifest["ids"]), positive, negative)


def _check_finite(model: LanguageModel, activations: Activations, edits: Sequence[Edit]) -> None:
    resid = torch.stack([activations.positive, activations.negative], dim=1)
    not_finite = ~torch.isfinite(resid).all(-1)  # scenario, pole, layer
    if not not_finite.any():
        return
    first_layer = int(not_finite.any(0).any(0).int().argmax())
    first_scenario = int(not_finite[:, :, first_layer].any(1).int().argmax())
    dtype = str(model.dtype).removeprefix("torch.")
    remedy = "lower the strength" if edits else "load the model in float32 or bfloat16"
    raise InputError(
        f"scenario {activations.ids[first_scenario]}: NaN or infinite activations, first after "
        f"layer {first_layer} ({dtype}); {remedy}"
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
    """Write every scenario's activations into its row of both arrays."""
    row_of = {scenario.id: row for row, scenario in enumerate(scenarios)}
    for batch in contrastive_activations(model, scenarios, edits):
        rows = [row_of[scenario_id] for scenario_id in batch.ids]
        positive[rows] = batch.positive.numpy()
        negative[rows] = batch.negative.numpy()


def _key(manifest: dict[str, Any]) -> dict[str, Any]:
    """The part of a manifest that decides the activations."""
    # The hash of the weights identifies the model, under any name and on any device.
    not_deciding = ("model", "revision", "device")
    return {name: value for name, value in manifest.items() if name not in not_deciding}


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / CACHE_MANIFEST)
    except InputError:
        return None
