"""Which attention heads and MLPs write a steering vector: the residual difference, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from interp_culture.coupling.gain import GRADIENTS_AT, steps
from interp_culture.coupling.steered import check_axes
from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import trace
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.engine.writers import Writer, find_writers
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, NullBand, item_weights, mean_samples
from interp_culture.steering.activations import by_pole, check_unhooked
from interp_culture.steering.edits import steer
from interp_culture.steering.site_reading import site_tokens
from interp_culture.steering.sites import Site, as_site, text_groups
from interp_culture.steering.vectors import SteeringVectors

COLUMNS = ["steered", "layer", "component", "block", "kind", "head", "written", "low", "high"]
COLUMNS += ["n", "null_low", "null_high", "share"]

# The activations at the site, positive minus negative pole, by hook point.
_Differences = Mapping[str, Float[Tensor, "scenario _"]]


def write_effects(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    site: str | Site = "last",
    seed: int = 42,
) -> pd.DataFrame:
    """How much of each steering vector every attention head and MLP writes.

    The residual stream after block l is the sum of the embedding and of what the components of
    blocks 0 to l add to it. So is its difference between the texts of both poles, whose mean is the
    steering vector of the method "mean_diff". A component writes the part of this mean difference
    along the vector that its own output makes: `mean <out_pos - out_neg, v> / |v|` (direct
    attribution). The parts add up to `<mean difference, v> / |v|`; that is the norm of v for
    vectors of "mean_diff" from these scenarios at this site.

    A part of a vector's own texts contains their noise. Held-out scenarios show what the component
    writes in other texts.

    Args:
        scenarios: of the axes of `vectors`; those from which they come, or held-out ones.
        vectors: by axis; they act at "hook_resid_post".
        layers: by axis. Each layer is taken alone, since its vector is a sum of its own.
        site: where the texts are read, as for `extract`; give that of the vectors.
        seed: of the bootstrap.

    Returns:
        steered (the vector's axis), layer (of the vector), component, block (-1 for the embedding),
        kind ("embed", "head", "attn" for a whole attention whose heads do not add up to it, "mlp",
        or "block" for a whole block), head (-1 for the others), written (in units of the residual
        stream; positive along the vector), low and high (95%, bootstrap by item; NaN for fewer than
        6 scenarios), n (scenarios), null_low and null_high (the 95% band for a random direction in
        place of v), share (written / sum of the parts; NaN where the interval of the sum includes
        0). Biases write nothing, since both poles have them.

    Raises:
        InputError: an axis without layers or scenarios, vectors of another model, hook point or
            length 0, or hooks that are active on the model.

    >>> table = write_effects(model, train, vectors, layers)
    >>> of_x = table[table.steered == "X"]
    >>> of_x.component.tolist()[:6]
    ['embed', 'L0.H0', 'L0.H1', 'L0.H2', 'L0.H3', 'L0.mlp']
    >>> norm = float(vectors["X"].direction[layers["X"][0]].norm())
    >>> bool(abs(of_x.written.sum() - norm) < 1e-3 * norm)
    True
    """
    check_axes(vectors, layers)
    check_unhooked(model)
    site = as_site(site)
    tables = []
    for axis, of_axis in vectors.items():
        chosen = steps(layers, axis, model.n_layers)[-1]
        directions = _unit_directions(model, of_axis, chosen)
        texts = scenarios.filter(axis=axis)
        if not len(texts):
            raise InputError(f"no scenario of axis {axis}; give those that its vector comes from")
        writers, differences = _read(model, texts, site, max(chosen))
        rows = _rows(texts, writers, differences, directions, chosen, seed)
        tables.append(rows.assign(steered=axis))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _unit_directions(
    model: LanguageModel, vectors: SteeringVectors, layers: Sequence[int]
) -> Float[Tensor, "layer d_model"]:
    model.check_edits(steer(vectors, layers, 1.0))
    place = vectors.provenance.get("hook_point", GRADIENTS_AT)
    if place != GRADIENTS_AT:
        raise InputError(
            f"vectors of {vectors.axis} act at {place}, and components add up to the stream at "
            f"{GRADIENTS_AT}; give vectors of that hook point"
        )
    directions = vectors.direction[list(layers)].double()
    norms = directions.norm(dim=-1, keepdim=True)
    if empty := [layer for layer, norm in zip(layers, norms, strict=True) if not norm > 0]:
        raise InputError(
            f"the vector of {vectors.axis} has length 0 at layer {empty[0]}; give other layers"
        )
    return directions / norms


def _read(
    model: LanguageModel, scenarios: ScenarioSet, site: Site, last: int
) -> tuple[list[Writer], _Differences]:
    """The components of blocks 0 to `last`, and what is read of them."""
    groups = text_groups(model, scenarios, site)
    writers = [writer for writer in find_writers(model, groups[0][0]) if writer.layer <= last]
    points = sorted({point for writer in writers for point in writer.points})
    found: dict[str, Tensor] = {}

    def read(batch: Batch) -> tuple[list[int], dict[str, Tensor]]:
        traced = trace(model, batch, points=points)
        tokens = site_tokens(batch, site, scenarios)
        differences = {}
        for point in points:
            of_rows, positive, negative = by_pole(batch, tokens.means(traced.rows.points[point]))
            differences[point] = positive - negative
        return of_rows, differences

    with tqdm(total=len(scenarios), desc="reading writers", unit="scenario", delay=1) as bar:
        for of_rows, differences in over_batches(model, groups, read, share_stem=site.shares_stem):
            for point, values in differences.items():
                kept = found.setdefault(point, values.new_zeros(len(groups), values.shape[1]))
                kept[of_rows] = values
            bar.update(len(of_rows))
    return writers, found


def _rows(
    scenarios: ScenarioSet,
    writers: Sequence[Writer],
    differences: _Differences,
    directions: Float[Tensor, "layer d_model"],
    layers: Sequence[int],
    seed: int,
) -> pd.DataFrame:
    """The rows of one axis, layer by layer and from the first component to the last."""
    items = scenarios.frame()["item"].to_numpy(str)
    drawn = item_weights(items, seed=seed)
    written, lengths = [], []
    for writer in writers:
        values = writer.values(differences)
        written.append(writer.along(values, directions))
        lengths.append(float(writer.output(values.mean(0)).norm()))
    by_writer: Float[np.ndarray, "writer scenario layer"] = torch.stack(written).numpy()
    rows: list[dict[str, Any]] = []
    for place, layer in enumerate(layers):
        until = [number for number, writer in enumerate(writers) if writer.layer <= layer]
        total = mean_samples(drawn, by_writer[until, :, place].sum(0))
        whole = Estimate.of_samples(total)
        for number in until:
            writer = writers[number]
            part = Estimate.of_samples(mean_samples(drawn, by_writer[number, :, place]))
            # A coordinate of a random unit vector has the variance 1 / d_model.
            band = NullBand.of_scale(lengths[number] / np.sqrt(directions.shape[1]))
            rows.append(
                {
                    "layer": layer,
                    "component": writer.name,
                    "block": writer.layer,
                    "kind": writer.kind,
                    "head": writer.head,
                    "written": part.value,
                    "low": part.low,
                    "high": part.high,
                    "n": len(items),
                    "null_low": band.low,
                    "null_high": band.high,
                    "share": part.value / whole.value if whole.excludes_zero else np.nan,
                }
            )
    return pd.DataFrame(rows)
