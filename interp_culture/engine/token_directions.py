"""Directions of vocabulary tokens in the residual stream, and sparse codes of vectors in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError


@dataclass(frozen=True)
class TokenDirections:
    """Unit vectors of the residual stream, one for each token that has a direction.

    Attributes:
        units: of length 1; a positive projection promotes the token.
        tokens: the token of each. Rows of the unembedding that are 0 (padding) have no direction.
    """

    units: Float[Tensor, "atom d_model"]
    tokens: list[int]


@dataclass(frozen=True)
class SparseCode:
    """A vector as a sum of few token directions.

    Attributes:
        tokens: in the order in which they were chosen.
        coefficients: of the unit directions, all above 0; in units of the vector.
        explained: share of the vector's squared length that the sum explains, 0 to 1.
    """

    tokens: list[int]
    coefficients: list[float]
    explained: float


def unembedding_directions(model: LanguageModel) -> TokenDirections:
    """The directions that the model's own final norm and unembedding read: a logit-lens dictionary.

    Raises:
        InputError: a model that has more than a norm before its unembedding.

    >>> unembedding_directions(model).units.shape
    torch.Size([320, 32])
    """
    rows = model.unembedding.rows_in_stream()
    if rows is None:
        raise InputError(
            f"{model.name} has more than a norm before its unembedding, so that its tokens have no "
            "directions; give a fitted lens: lens=JacobianLens.load(path)"
        )
    return _unit_directions(rows)


def lens_directions(model: LanguageModel, lens: Any, layer: int) -> TokenDirections:
    """The J-lens vectors of a layer: what TransformerLens' fitted Jacobian lens says of each token.

    Args:
        lens: a `transformer_lens.tools.analysis.JacobianLens`.
        layer: the block whose output they read.

    Raises:
        InputError: something else than a lens, or one of another model or without this layer.
    """
    from transformer_lens.tools.analysis import JacobianLens

    if not isinstance(lens, JacobianLens):
        raise InputError(
            f"lens is a {type(lens).__name__}; give a fitted JacobianLens of TransformerLens, from "
            "JacobianLens.fit(model.bridge, texts, corpus=...) or JacobianLens.load(path)"
        )
    try:
        rows = lens.lens_vector_dictionary(model.bridge, layer)
    except (TypeError, ValueError) as error:
        raise InputError(f"the lens does not fit {model.name}, layer {layer}: {error}") from error
    # It would keep a copy of the whole dictionary for every layer.
    lens.clear_device_cache()
    return _unit_directions(rows)


def sparse_code(
    vector: Float[Tensor, " d_model"], directions: TokenDirections, k: int
) -> SparseCode:
    """A vector as a sum of at most k token directions with positive coefficients.

    By TransformerLens' decomposition of the J-space: nonnegative orthogonal matching pursuit.

    Raises:
        InputError: more atoms than there are directions.

    >>> directions = unembedding_directions(model)
    >>> code = sparse_code(2 * directions.units[7], directions, k=3)
    >>> code.tokens, [round(value, 3) for value in code.coefficients], round(code.explained, 3)
    ([7], [2.0], 1.0)
    """
    from transformer_lens.tools.analysis import get_sparse_decomposition

    n = len(directions.tokens)
    if not 1 <= k <= n:
        raise InputError(f"k is {k}; give a number of atoms from 1 to {n}")
    target = vector.to(directions.units)
    found = get_sparse_decomposition(target, directions.units, k)
    rest = target - found.reconstruction
    return SparseCode(
        [directions.tokens[place] for place in found.support.tolist()],
        found.coordinates.tolist(),
        float(1 - rest.square().sum() / target.square().sum()),
    )


def _unit_directions(rows: Float[Tensor, "d_vocab d_model"]) -> TokenDirections:
    rows = rows.detach().float()
    lengths = rows.norm(dim=-1)
    present = lengths > 0
    return TokenDirections(
        rows[present] / lengths[present, None], present.nonzero().flatten().tolist()
    )
