"""What steering vectors say: the tokens that they promote, and where a text lies along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.batching import over_batches
from interp_culture.engine.forward import trace
from interp_culture.engine.interventions import Edit, as_edits
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import Batch
from interp_culture.errors import InputError
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors, check_by_axis

N_RANDOM = 100
# A token's logit is beyond chance above this percentile of the largest logits of random vectors.
PERCENTILE = 95
# By name and layer.
Directions = dict[tuple[str, int], Float[Tensor, " d_model"]]
TOKEN_COLUMNS = ["direction", "layer", "pole", "rank", "token", "token_id", "logit", "random_top"]


def direction_tokens(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    k: int = 10,
    seed: int = 42,
) -> pd.DataFrame:
    """The tokens that each vector promotes and suppresses: the logit lens of a direction.

    A vector of the length of a normed stream goes through the model's own final norm and
    unembedding, with both signs: `(logits(v) - logits(-v)) / 2`, so that biases drop out. This is
    what the vector writes if no later block changes it, which those of early layers seldom are.

    Args:
        vectors: by axis. Where two axes share a layer, the difference of their unit vectors is read
            too, under a name such as "X - Y".
        layers: by axis.
        k: tokens for each pole.
        seed: of the random vectors.

    Returns:
        direction, layer, pole ("positive": promoted by a positive alpha; "negative"), rank (from
        1), token (its text), token_id, logit (of a vector of length sqrt(d_model), toward the
        pole) and random_top (the 95th percentile of the largest logit of 100 random vectors: below
        it, chance promotes some token as much).

    Raises:
        InputError: an axis without layers, vectors of another model, or k below 1.

    >>> table = direction_tokens(model, vectors, {"X": [2], "Y": [2]}, k=3)
    >>> table.direction.unique().tolist(), len(table)
    (['X', 'Y', 'X - Y'], 18)
    """
    check_by_axis(vectors=vectors, layers=layers)
    if k < 1:
        raise InputError(f"k is {k}; give the number of tokens, 1 or more")
    units = unit_vectors(model, vectors, layers)
    directions = units | _differences(units)
    random = torch.randn(N_RANDOM, model.d_model, generator=torch.Generator().manual_seed(seed))
    tops = _written(model, random).amax(-1)
    random_top = float(np.percentile(tops.numpy(), PERCENTILE))
    written = _written(model, torch.stack(list(directions.values())))
    rows = []
    for (name, layer), logits in zip(directions, written, strict=True):
        for pole, sign in (("positive", 1), ("negative", -1)):
            top = (sign * logits).topk(min(k, len(logits)))
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            for rank, (token, logit) in enumerate(pairs, start=1):
                text = model.tokenizer.decode([token])
                rows.append((name, layer, pole, rank, text, token, logit, random_top))
    return pd.DataFrame(rows, columns=TOKEN_COLUMNS)


def token_projections(
    model: LanguageModel,
    texts: Sequence[str],
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, int],
    *,
    edits: Sequence[Edit] = (),
) -> pd.DataFrame:
    """How far the residual stream of every token lies along each axis' vector.

    Args:
        texts: read without a chat template, such as generated answers.
        vectors: by axis.
        layers: by axis, the one layer whose stream is projected.
        edits: active while the texts are read; by default none.

    Returns:
        text (its index), position (from 0), token (its text), axis, and projection: `h . v / |v|`
        with h the stream after the layer, in units of the stream; above 0 toward the positive
        pole. A constant of the layer is in it, so that tokens are to be compared with each other.

    Raises:
        InputError: no text, a text without a token, an axis without a layer, or vectors of another
            model.

    >>> table = token_projections(model, ["A new flat."], vectors, {"X": 1, "Y": 2})
    >>> table[table.axis == "X"].token.str.cat()
    'A new flat.'
    """
    check_by_axis(vectors=vectors, layers=layers)
    units = unit_vectors(model, vectors, {axis: [layer] for axis, layer in layers.items()})
    sequences = model.tokenise_texts(texts)
    if not sequences or not all(sequence.prompt for sequence in sequences):
        raise InputError("a text without a token has nothing to project; give texts with words")
    edits = as_edits(edits)
    streams = sorted({layer + 1 for _, layer in units})

    def read(batch: Batch) -> list[tuple[int, str, list[float]]]:
        traced = trace(model, batch, edits, layers=streams, final=False)
        found = []
        for (axis, layer), unit in units.items():
            stream = traced.at(layer, "hook_resid_post").float().cpu()
            found += [
                (path.group, axis, (stream[path.row, path.positions] @ unit).tolist())
                for path in batch.paths
            ]
        return found

    rows = []
    groups = [[sequence] for sequence in sequences]
    for of_batch in over_batches(model, groups, read, share_stem=False):
        for text, axis, projections in of_batch:
            tokens = sequences[text].prompt
            for position, (token, value) in enumerate(zip(tokens, projections, strict=True)):
                rows.append((text, position, model.tokenizer.decode([token]), axis, value))
    columns = ["text", "position", "token", "axis", "projection"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["axis", "text", "position"], ignore_index=True)


def unit_vectors(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
) -> Directions:
    """The vector of each axis at each of its layers, with length 1.

    Raises:
        InputError: an axis without layers, vectors of another model, or a vector of length 0.
    """
    units = {}
    for axis, of_axis in vectors.items():
        if axis not in layers:
            raise InputError(f"no layer of axis {axis}; give layers for {', '.join(vectors)}")
        model.check_edits(steer(of_axis, list(layers[axis]), 1.0))
        for layer in layers[axis]:
            units[axis, layer] = unit_vector(of_axis, layer)
    return units


def unit_vector(vectors: SteeringVectors, layer: int) -> Float[Tensor, " d_model"]:
    """The vector of one layer with length 1. Raises InputError if it is 0."""
    vector = vectors.direction[layer].float()
    length = vector.norm()
    if length == 0:
        raise InputError(f"the vector of {vectors.axis} is 0 at layer {layer}; name another layer")
    return vector / length


def _differences(units: Directions) -> Directions:
    """The differences of two axes at the layers that they share, such as "X - Y"."""
    return {
        (f"{one} - {other}", layer): units[one, layer] - units[other, layer]
        for one, other in combinations(dict.fromkeys(axis for axis, _ in units), 2)
        for layer in sorted({at for axis, at in units if axis == one and (other, at) in units})
    }


def _written(
    model: LanguageModel, directions: Float[Tensor, "direction d_model"]
) -> Float[Tensor, "direction d_vocab"]:
    """What vectors of the length of a normed stream write to the logits."""
    lengths = directions.norm(dim=-1, keepdim=True)
    resid = (directions / lengths * model.d_model**0.5).to(model.device, model.dtype)
    with torch.inference_mode():
        return ((model.logits(resid) - model.logits(-resid)) / 2).cpu()
