"""Residual streams of contrastive texts: in batches, in memory, or in memory-mapped files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.artifacts.sources import source_hash
from interp_culture.artifacts.stores import folder_fault, folder_once, read_about
from interp_culture.engine.batching import over_batches
from interp_culture.engine.interventions import Edit, as_edits
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.site_reading import read_site
from interp_culture.steering.sites import Site, as_site, text_groups, texts_hash


@dataclass(frozen=True)
class Activations:
    """The activations of both poles' texts at a site, in every block.

    At the default site they are the residual streams at the last token of x+ and of x- (paper,
    equation 4).

    Attributes:
        ids: the scenarios, in the order of the first dimension.
        positive: of the positive pole, float32 on the CPU. Layer l is the site's hook point in
            block l; by default `blocks.l.hook_resid_post`, whose last layer is the stream before
            the final norm.
        negative: the same of the negative pole.
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
        rows = rows_of(self.ids, ids, "activations")
        return Activations(tuple(ids), self.positive[rows], self.negative[rows])

    def at_layers(self, layers: Sequence[int]) -> Activations:
        """The activations of these layers, in this order."""
        chosen = list(layers)
        return Activations(self.ids, self.positive[:, chosen], self.negative[:, chosen])


def rows_of(stored: Sequence[str], ids: Sequence[str], name: str) -> list[int]:
    """The rows of `ids` among the stored ones. Raises InputError for an id that is not stored."""
    row_of = {scenario_id: row for row, scenario_id in enumerate(stored)}
    missing = [scenario_id for scenario_id in ids if scenario_id not in row_of]
    if missing:
        raise InputError(
            f"no {name} of {', '.join(missing[:5])} among those of {len(stored)} scenarios; "
            f"compute the {name} of these scenarios too"
        )
    return [row_of[scenario_id] for scenario_id in ids]


POLES = ("positive", "negative")


def contrastive_activations(
    model: LanguageModel,
    scenarios: ScenarioSet,
    edits: Sequence[Edit] = (),
    site: str | Site = "last",
) -> Iterator[Activations]:
    """The activations of each scenario's contrastive texts, in batches.

    Each text is read once, and tokens that texts share are computed once. The batches are not in
    the order of `scenarios`, since texts of similar length are read together.

    Args:
        edits: active while the texts are read; by default none (the plain model).
        site: a name of `sites.SITES` or a `Site`: which texts, tokens and hook point are read.

    Raises:
        InputError: other hooks are active on the model (vectors of a steered model are not those of
            the plain one), a text is longer than the model's context, a text without a token at
            the site's positions, a hook point that the model does not have, or an activation is NaN
            or infinite.

    >>> sum(len(batch.ids) for batch in contrastive_activations(model, test)) == len(test)
    True
    """
    check_unhooked(model)
    edits = as_edits(edits)
    site = as_site(site)
    model.check_place(0, site.hook_point)
    groups = text_groups(model, scenarios, site)

    def read(batch: Batch) -> Activations:
        resid = read_site(model, batch, edits, site, scenarios)
        activations = _by_pole(scenarios, batch, resid)
        _check_finite(model, activations, edits)
        return activations

    with tqdm(total=len(scenarios), desc="reading activations", unit="scenario", delay=1) as bar:
        for activations in over_batches(model, groups, read, share_stem=site.shares_stem):
            yield activations
            bar.update(len(activations.ids))


def check_unhooked(model: LanguageModel) -> None:
    """Raise InputError while hooks are active, whose activations are not the plain model's."""
    if model.is_hooked:
        raise InputError(
            f"hooks are active on the model, at {', '.join(model.hook_places[:3])}: its "
            "activations are not those of the plain model; leave the `hooks(...)` block, or remove "
            "them (model.bridge.reset_hooks(), handle.remove())"
        )


def _by_pole(
    scenarios: ScenarioSet, batch: Batch, resid: Float[Tensor, "path layer d_model"]
) -> Activations:
    groups, positive, negative = by_pole(batch, resid)
    ids = tuple(scenarios.scenarios[group].id for group in groups)
    return Activations(ids, positive, negative)


def by_pole(
    batch: Batch, values: Float[Tensor, "path ..."]
) -> tuple[list[int], Float[Tensor, "group ..."], Float[Tensor, "group ..."]]:
    """The groups of a batch (scenarios, by their place in the set), and the values of each pole.

    A pole's values are the mean over its texts.
    """
    # The first half of a group's members belongs to the positive pole.
    index_of = {(path.group, path.member): index for index, path in enumerate(batch.paths)}
    groups = sorted({path.group for path in batch.paths})
    n_members = 1 + max(path.member for path in batch.paths)
    indices = torch.tensor([[index_of[g, m] for m in range(n_members)] for g in groups])
    positive, negative = values[indices].chunk(2, dim=1)
    return groups, positive.mean(1), negative.mean(1)


def read_activations(
    model: LanguageModel,
    scenarios: ScenarioSet,
    edits: Sequence[Edit] = (),
    site: str | Site = "last",
) -> Activations:
    """All activations, in memory and in the order of `scenarios`.

    `cache_activations` stores them in files instead.

    Args:
        edits: active while the texts are read; by default none (the plain model).
        site: a name of `sites.SITES` or a `Site`.

    Raises:
        InputError: as `contrastive_activations`.

    >>> activations = ic.read_activations(model, train)
    >>> activations.positive.shape  # scenario, layer, d_model
    torch.Size([30, 4, 32])
    """
    shape = _shape(model, scenarios, site)
    positive = np.empty(shape, np.float32)
    negative = np.empty(shape, np.float32)
    _fill(model, scenarios, positive, negative, edits, site)
    ids = tuple(s.id for s in scenarios)
    return Activations(ids, torch.from_numpy(positive), torch.from_numpy(negative))


def cache_activations(
    model: LanguageModel, scenarios: ScenarioSet, folder: str | Path, site: str | Site = "last"
) -> Activations:
    """All activations of the plain model, stored in `folder` and opened memory-mapped.

    A folder that holds the activations of the same model, texts and site is opened; any other
    content is replaced. An interrupted call leaves no folder that would count as finished. The
    files take 8 bytes for every scenario, layer and dimension (float32, two poles); only the parts
    in use are in memory.

    Args:
        site: a name of `sites.SITES` or a `Site`.

    Raises:
        InputError: as `contrastive_activations`; a path that is a file.

    >>> activations = cache_activations(model, test, "activations")
    >>> len(activations.ids) == len(test)
    True
    """
    folder = Path(folder)
    site = as_site(site)
    manifest = {
        **model.describe(),
        "scenarios": scenarios.digest,
        "ids": [scenario.id for scenario in scenarios],
        "site": site.name,
        "words": texts_hash(scenarios, site),
        "source": source_hash("interp_culture"),
    }

    def fill(part: Path) -> None:
        shape = _shape(model, scenarios, site)
        positive, negative = (_new_array(part / f"{pole}.npy", shape) for pole in POLES)
        _fill(model, scenarios, positive, negative, site=site)
        positive.flush()
        negative.flush()

    return _opened(folder_once(folder, manifest, fill), manifest["ids"])


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
    manifest = read_about(folder)
    if manifest is None or not all((folder / f"{pole}.npy").is_file() for pole in POLES):
        raise InputError(
            f"{folder}: no cached activations there; write them with cache_activations"
        )
    fault = folder_fault(folder, manifest)
    if fault is not None:
        raise InputError(
            f"{folder}: {fault}; remove the folder and write it again with cache_activations"
        )
    return _opened(folder, manifest["ids"])


def _opened(folder: Path, ids: Sequence[str]) -> Activations:
    """The activations of these scenarios in a folder whose files are whole."""
    # Copy-on-write, since torch has no read-only tensors.
    positive, negative = (
        torch.from_numpy(np.load(folder / f"{pole}.npy", mmap_mode="c")) for pole in POLES
    )
    return Activations(tuple(ids), positive, negative)


def _new_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A file of zeros that is written through memory, with all its place on the disk."""
    array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    # Otherwise a disk that becomes full would end the process in the middle of a write.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


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


def _shape(model: LanguageModel, scenarios: ScenarioSet, site: str | Site) -> tuple[int, int, int]:
    width = model.width_at(0, as_site(site).hook_point)
    return len(scenarios), model.n_layers, width


def _fill(
    model: LanguageModel,
    scenarios: ScenarioSet,
    positive: Float[np.ndarray, "scenario layer d_model"],
    negative: Float[np.ndarray, "scenario layer d_model"],
    edits: Sequence[Edit] = (),
    site: str | Site = "last",
) -> None:
    """Write every scenario's activations into its row of both arrays."""
    row_of = {scenario.id: row for row, scenario in enumerate(scenarios)}
    for batch in contrastive_activations(model, scenarios, edits, site):
        rows = [row_of[scenario_id] for scenario_id in batch.ids]
        positive[rows] = batch.positive.numpy()
        negative[rows] = batch.negative.numpy()
