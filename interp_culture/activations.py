"""Residual streams of contrastive texts, batch by batch: nothing is kept that grows with the number of texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.batching import over_batches
from interp_culture.errors import InputError
from interp_culture.model import LanguageModel
from interp_culture.passes import trace
from interp_culture.prompts import contrastive_texts
from interp_culture.scenarios import ScenarioSet
from interp_culture.token_tree import Batch


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


def contrastive_activations(model: LanguageModel, scenarios: ScenarioSet) -> Iterator[Activations]:
    """The activations of each scenario's two texts, read once, in batches of any order.

    Raises InputError while hooks are on the model: vectors of a steered model are not its vectors.
    """
    if model.is_hooked:
        raise InputError(
            "hooks are active on the model: its activations are not plain ones; leave the `hooks(...)` block "
            "or call model.bridge.reset_hooks() before extracting"
        )
    texts = [contrastive_texts(scenario) for scenario in scenarios]
    groups = [[model.tokenise_text(text) for text in pair] for pair in texts]
    layers = range(1, model.n_layers + 1)

    def read(batch: Batch) -> Activations:
        kept = trace(model, batch, layers=layers)
        rows = [path.row for path in batch.paths]
        last = [int(path.reads[-1]) for path in batch.paths]
        resid = torch.stack([kept.resid[layer][rows, last] for layer in layers], dim=1).float().cpu()
        of = {(path.group, path.member): i for i, path in enumerate(batch.paths)}
        members = sorted({path.group for path in batch.paths})
        return Activations(
            tuple(scenarios.scenarios[g].id for g in members),
            resid[[of[g, 0] for g in members]],
            resid[[of[g, 1] for g in members]],
        )

    with tqdm(total=len(scenarios), desc="reading activations", unit="scenario", delay=1) as bar:
        for activations in over_batches(model, groups, read):
            yield activations
            bar.update(len(activations.ids))
