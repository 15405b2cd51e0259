"""Steering vectors as sums of few vocabulary directions: the atoms, and those that axes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_directions import (
    SparseCode,
    TokenDirections,
    lens_directions,
    sparse_code,
    unembedding_directions,
)
from interp_culture.errors import InputError
from interp_culture.stats import LEAST_RANDOM, NullBand
from interp_culture.steering.vectors import SteeringVectors, check_by_axis
from interp_culture.steering.vocabulary import unit_vectors

POLES = {"positive": 1, "negative": -1}
COLUMNS = [
    *("axis", "layer", "pole", "rank", "token", "token_id", "coefficient"),
    *("explained", "null_mean", "null_high", "random_share", "shared_with"),
]


def direction_atoms(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    k: int = 8,
    *,
    lens: Any = None,
    n_random: int = LEAST_RANDOM,
    seed: int = 42,
) -> pd.DataFrame:
    """Each vector as a sum of few vocabulary directions: v ≈ Σ coefficient · direction of a token.

    The unit vector and its negative are each decomposed by TransformerLens' nonnegative orthogonal
    matching pursuit. Without a lens, the direction of a token is what its logit reads of the final
    residual stream (the row of the unembedding times the gain of the final norm): what the vector
    writes if no later block changes it. With a Jacobian lens it is the J-lens vector of the layer,
    which has the later blocks in it to first order, averaged over the texts it was fitted on.

    Args:
        vectors, layers: by axis.
        k: the most atoms of each pole.
        lens: a fitted `transformer_lens.tools.analysis.JacobianLens`, of this model. Fitting takes
            d_model / dim_batch backward passes a text:
            `JacobianLens.fit(model.bridge, texts, corpus="mine")`.
        n_random: isotropic random vectors that are decomposed in the same way, with each lens layer
            anew. Each takes about a second on one core for 50,000 tokens.
        seed: of the random vectors.

    Returns:
        One row for each atom: axis, layer, pole ("positive": of v; "negative": of -v), rank (the
        order in which atoms were chosen, from 1), token (its text), token_id, coefficient (of the
        unit direction of the token, v having length 1), explained (share of the squared length of
        v that all atoms of this pole explain, 0 to 1), null_mean and null_high (mean of this share
        over random vectors, and upper end of their 95% band), random_share (share of the random
        vectors that have this atom too), and shared_with (the other axes that have it at this
        layer, such as "Y", or "-Y" where it is an atom of their other pole).

    Raises:
        InputError: an axis without layers, vectors of another model, a vector of length 0, a k that
            is out of range, fewer than two random vectors, a lens of another model or without one
            of the layers, or, without a lens, a model with more than a norm before its unembedding.

    >>> table = direction_atoms(model, vectors, {"X": [2], "Y": [2]}, k=3)
    >>> table[table["rank"] == 1][["axis", "pole"]].to_records(index=False).tolist()
    [('X', 'positive'), ('X', 'negative'), ('Y', 'positive'), ('Y', 'negative')]
    """
    check_by_axis(vectors=vectors, layers=layers)
    if n_random < 2:
        raise InputError(f"n_random is {n_random}; give 2 or more, or there is no null")
    units = unit_vectors(model, vectors, layers)
    generator = torch.Generator().manual_seed(seed)
    random = torch.nn.functional.normalize(
        torch.randn(n_random, model.d_model, generator=generator), dim=-1
    )
    tables = []
    # The unembedding's directions are those of every layer, and so is their null.
    dictionary = None if lens is not None else unembedding_directions(model)
    null = None if dictionary is None else _codes(random, dictionary, k)
    for layer in sorted({layer for _, layer in units}):
        here = dictionary or lens_directions(model, lens, layer)
        of_random = null or _codes(random, here, k)
        for (axis, at), unit in units.items():
            if at == layer:
                tables.append(_atoms_of(model, axis, layer, unit, here, of_random, k))
    return _with_shared(pd.concat(tables, ignore_index=True))


def _codes(
    vectors: Float[Tensor, "vector d_model"], dictionary: TokenDirections, k: int
) -> list[SparseCode]:
    return [sparse_code(vector, dictionary, k) for vector in vectors]


def _atoms_of(
    model: LanguageModel,
    axis: str,
    layer: int,
    unit: Float[Tensor, " d_model"],
    dictionary: TokenDirections,
    of_random: Sequence[SparseCode],
    k: int,
) -> pd.DataFrame:
    # A share has no sign, so that its band is around the mean.
    band = NullBand.of(np.array([code.explained for code in of_random]), centre=None)
    rows = []
    for pole, sign in POLES.items():
        code = sparse_code(sign * unit, dictionary, k)
        atoms = zip(code.tokens, code.coefficients, strict=True)
        for rank, (token, coefficient) in enumerate(atoms, start=1):
            share = float(np.mean([token in other.tokens for other in of_random]))
            text = model.tokenizer.decode([token])
            row = (axis, layer, pole, rank, text, token, coefficient, code.explained)
            rows.append((*row, band.centre, band.high, share))
    return pd.DataFrame(rows, columns=COLUMNS[:-1])


def _with_shared(atoms: pd.DataFrame) -> pd.DataFrame:
    """The table with the other axes that have an atom; a minus marks their other pole."""
    at = ["layer", "token_id"]
    pairs = atoms.reset_index().merge(atoms, on=at, suffixes=("", "_other"))
    pairs = pairs[pairs.axis != pairs.axis_other]
    names = pairs.axis_other.where(pairs.pole == pairs.pole_other, "-" + pairs.axis_other)
    shared = names.groupby(pairs["index"]).agg(", ".join)
    return atoms.assign(shared_with=shared.reindex(atoms.index).fillna(""))
