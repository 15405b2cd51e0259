"""LEACE: what tells the poles of the other axes apart is taken out of an axis' vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from interp_culture.steering.activations import Activations

if TYPE_CHECKING:
    from concept_erasure import LeaceEraser


# The eraser of a layer and steered axis.
Erasers = Callable[[int, str], "LeaceEraser"]


class ErasureWarning(UserWarning):
    """There are fewer texts than d_model, so that shrinkage does much of an erasure."""


def erasers(activations: Activations, ids: Mapping[str, Sequence[str]]) -> Erasers:
    """The erasers of any layer, each fitted on the texts of every axis but the steered one.

    Warns with ErasureWarning where these texts are fewer than d_model.

    Args:
        ids: the training scenarios, by axis.
    """
    _warn_of_few({axis: 2 * len(of_axis) for axis, of_axis in ids.items()}, activations)
    return partial(_fitted, activations, ids)


def _fitted(
    activations: Activations, ids: Mapping[str, Sequence[str]], layer: int, steered: str
) -> LeaceEraser:
    """One eraser for all other axes, so that their order does not matter.

    It has a column of labels for each: 1 for the positive pole of the axis, 0 for all other texts.
    The texts are centred by axis, so that what the axes are about is neither erased nor part of the
    covariance.
    """
    # Imported here, since few studies erase.
    from concept_erasure import LeaceFitter

    others = [axis for axis in ids if axis != steered]
    at_layer = activations.at_layers([layer])
    # The trace of the covariance needs no bound: LEACE never raises that of the fit.
    fitter = LeaceFitter(
        activations.positive.shape[-1],
        len(others),
        constrain_cov_trace=False,
        dtype=torch.float64,
    )
    for column, axis in enumerate(others):
        of_axis = at_layer.select(ids[axis])
        texts = torch.cat([of_axis.positive[:, 0], of_axis.negative[:, 0]]).double()
        labels = torch.zeros(len(texts), len(others))
        labels[: len(of_axis.ids), column] = 1
        fitter.update(texts - texts.mean(0), labels)
    return fitter.eraser


def _warn_of_few(n_texts: Mapping[str, int], activations: Activations) -> None:
    d_model = activations.positive.shape[-1]
    # Those of the other axes; the axis with the most texts has the fewest beside it.
    fewest = sum(n_texts.values()) - max(n_texts.values())
    if fewest < d_model:
        warnings.warn(
            f"leace: {fewest} texts of other axes, fewer than d_model ({d_model}), so that "
            "shrinkage does much of the erasure; give more training scenarios, or compare with "
            "'whitened'",
            ErasureWarning,
            stacklevel=5,
        )
