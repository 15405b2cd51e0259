"""Strengths at which several vectors cost the same, so that their effects can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pandas as pd

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import check_known
from interp_culture.steering.edits import check_strength, steer
from interp_culture.steering.fluency import BudgetError, calibrate, mean_kl
from interp_culture.steering.vectors import SteeringVectors

SIGNS = (1, -1)


def equal_kl_strengths(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Sequence[int],
    reference: str,
    alpha: float,
    texts: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The strengths at which vectors have the KL of a reference, toward each pole.

    Args:
        vectors: of one axis, by name; the reference is among them.
        layers: steered together.
        reference: the name of the vectors whose KL at `alpha` and at `-alpha` is the budget.
        alpha: strength of the reference, above 0.
        texts: as `kl_on_neutral`.

    Returns:
        One row for each name and sign: method (the name), sign (1 toward the positive pole, -1
        toward the negative one), alpha (above 0) and kl (measured at sign * alpha, nats per token;
        within 2% of the reference's). Vectors that do not reach the KL with either sign are left
        out.

    Raises:
        InputError: an unknown reference, alpha 0, or a reference that changes nothing.

    >>> by_axis = {"X": vectors["X"], "Y": vectors["Y"]}
    >>> texts = ["Water boils at 100 degrees."]
    >>> strengths = equal_kl_strengths(model, by_axis, [1, 2], "X", alpha=1.0, texts=texts)
    >>> strengths.groupby("sign").kl.apply(lambda kl: bool(kl.max() / kl.min() < 1.02)).tolist()
    [True, True]
    """
    check_known("reference", reference, vectors)
    check_strength(alpha)
    strengths = {(reference, sign): alpha for sign in SIGNS}
    budget = _divergence(model, vectors, layers, strengths, texts)
    for name in vectors:
        if name == reference:
            continue
        # Without a strength for one sign, no effect from both signs could be measured.
        with suppress(BudgetError):
            strengths |= {
                (name, sign): calibrate(
                    model, vectors[name], layers, budget[reference, sign], texts=texts, sign=sign
                )
                for sign in SIGNS
            }
    divergence = _divergence(model, vectors, layers, strengths, texts)
    rows = [(*key, strength, divergence[key]) for key, strength in strengths.items()]
    return pd.DataFrame(rows, columns=["method", "sign", "alpha", "kl"])


def _divergence(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    layers: Sequence[int],
    strengths: Mapping[tuple[str, int], float],
    texts: Sequence[str] | None,
) -> dict[tuple[str, int], float]:
    """The mean KL on neutral texts, by name and sign."""
    runs = {
        (name, sign): steer(vectors[name], layers, sign * alpha)
        for (name, sign), alpha in strengths.items()
    }
    return mean_kl(model, runs, texts)
