"""The activations of one batch of texts at a site: traced, and averaged over the site's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.engine.forward import trace
from interp_culture.engine.interventions import Edit, tokens_at
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.sites import Site


def read_site(
    model: LanguageModel, batch: Batch, edits: Sequence[Edit], site: Site, scenarios: ScenarioSet
) -> Float[Tensor, "path layer d_model"]:
    """The mean activation over the site's tokens of each text, in every block.

    Args:
        edits: active while the texts are read.
        scenarios: that the groups of the batch are, for messages.

    Returns:
        float32 on the CPU, in the order of the batch's paths.

    Raises InputError for a text without a token at the site's positions.
    """
    layers = range(model.n_layers)
    points = []
    # `Trace.resid[l]` is the stream before block l, which is the one after block l - 1.
    streams = [layer + 1 for layer in layers]
    if site.hook_point != "hook_resid_post":
        points = [f"blocks.{layer}.{site.hook_point}" for layer in layers]
        streams = []
    traced = trace(model, batch, edits, layers=streams, points=points)
    tokens = site_tokens(batch, site, scenarios)
    by_layer = [tokens.means(traced.at(layer, site.hook_point)) for layer in layers]
    return torch.stack(by_layer, dim=1)


@dataclass(frozen=True)
class SiteTokens:
    """The tokens of a batch that are read at a site: row and column of each, path after path.

    Attributes:
        lengths: the number of tokens of each path.
    """

    rows: Int[np.ndarray, " token"]
    columns: Int[np.ndarray, " token"]
    lengths: list[int]

    def means(self, values: Float[Tensor, "row pos width"]) -> Float[Tensor, "path width"]:
        """The mean over the tokens of each path, float32 on the CPU."""
        read = values[self.rows, self.columns].float().cpu()
        return torch.stack([piece.mean(0) for piece in read.split(self.lengths)])


def site_tokens(batch: Batch, site: Site, scenarios: ScenarioSet) -> SiteTokens:
    """Where the tokens of a site are. Raises InputError as `read_site`."""
    tokens = _tokens_read(batch, site, scenarios)
    lengths = [len(read) for read in tokens]
    rows = np.repeat([path.row for path in batch.paths], lengths)
    return SiteTokens(rows, np.concatenate(tokens), lengths)


def _tokens_read(
    batch: Batch, site: Site, scenarios: ScenarioSet
) -> list[Int[np.ndarray, " token"]]:
    """The places of the tokens of each text that are read."""
    if site.positions == "end":
        return [path.positions[-1:] for path in batch.paths]
    is_read = tokens_at(site.positions, batch).cpu().numpy()
    tokens = []
    for path in batch.paths:
        read = path.positions[is_read[path.row, path.positions]]
        if not len(read):
            raise InputError(
                f"scenario {scenarios.scenarios[path.group].id}: a text of the site {site.name!r} "
                f"has no token at positions {site.positions!r}; use other positions"
            )
        tokens.append(read)
    return tokens
