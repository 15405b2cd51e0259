"""A positive control: a coupling of known size, planted in a model and then looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from interp_culture.coupling.steered import check_axes
from interp_culture.engine.leaks import Kind, Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.readout.sensitivity import sensitivity
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.direction_choice import training_halves
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors


def predicted_coupling(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    leak: Leak,
    *,
    alpha: float = 1.0,
    readout: Readout | ReadoutFormat = "letters",
) -> pd.DataFrame:
    """What a leak adds to every response D[i, j], to first order in the leak's size.

    Steering by `alpha v_i` changes the stream after the leak's block by a step s at each token, and
    the leak adds `size * (s . reads) * writes`. With g the gradient of P+ at that token,

        growth[i, j] = size * mean over scenarios of axis j of
                       sum over tokens of (s . reads) (g . writes) / alpha.

    The prediction takes h and g from the plain model's passes at +alpha and -alpha, so that it is
    exact in alpha for edits at or before the leak's block. Edits after it are left out: the leak
    does not see their steps.

    Args:
        model: the plain model, without the leak.
        scenarios: those on which the response is measured.
        vectors, layers: by axis, as for `steered_readouts`.
        alpha: the largest strength, of which D is the central difference.

    Returns:
        steered, axis (read) and growth (change of P+ per unit of alpha).

    Raises:
        InputError: see `steered_readouts`.

    >>> leak = ic.engine.Leak(2, vectors["X"].direction[2], vectors["Y"].direction[2], size=0.1)
    >>> few = test.sample(1, by="item")
    >>> growth = predicted_coupling(model, few, vectors, layers, leak, readout="continuation")
    >>> growth[["steered", "axis"]].to_records(index=False).tolist()
    [('X', 'X'), ('X', 'Y'), ('Y', 'X'), ('Y', 'Y')]
    """
    check_axes(vectors, layers)
    axes = scenarios.frame()["axis"].to_numpy()
    rows = []
    for steered, of_axis in vectors.items():
        seen = [layer for layer in layers[steered] if layer <= leak.block]
        change = np.zeros(len(scenarios))
        for sign in (1, -1) if seen else ():
            edits = steer(of_axis, seen, sign * alpha)
            at_sign = sensitivity(
                model, scenarios, [leak.stream], readout=readout, edits=edits, leak=leak
            )
            assert at_sign.along is not None
            change += sign * at_sign.slope * at_sign.along / (2 * alpha)
        for axis in sorted(set(axes)):
            growth = leak.size * float(change[axes == axis].mean())
            rows.append({"steered": steered, "axis": axis, "growth": growth})
    return pd.DataFrame(rows)


def leak_of_size(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    steered: str,
    axis: str,
    size: float = 0.02,
    block: int | None = None,
    kind: Kind = "representational",
    alpha: float = 1.0,
    readout: Readout | ReadoutFormat = "letters",
    reads: Float[np.ndarray, " d_model"] | None = None,
    writes: Float[np.ndarray, "layer d_model"] | None = None,
) -> Leak:
    """A leak that adds `size` to D[steered, axis], by `predicted_coupling`.

    A representational leak reads the steering direction of `steered` after `block` and writes along
    the mean gradient of P+ of `axis` there. The gradient is that of one half of the scenarios, and
    the size is set on the other half: on its own scenarios a gradient would move P+ further than on
    held-out ones. A readout leak reads the mean gradient of P+ of
    `steered` at the final stream and writes along that of `axis`: it couples the two readouts for
    every step that moves the first, random vectors included. With the letters readout in both
    orders these gradients cancel, so that a readout leak needs the continuation readout.

    The leak is centred so that the plain model's mean P+ of `axis` stays where it is, to first
    order. Otherwise the stream's mean along the direction would move P+ toward 0 or 1, where a step
    counts for less.

    Args:
        model: the plain model.
        scenarios: from which direction, centre and size come; use training scenarios, so that the
            held-out response is a test.
        size: the growth of D, change of P+ per unit of alpha; 0 plants nothing.
        block: after which the leak acts; by default the last steered layer of the two axes, or the
            last block for a readout leak.
        alpha: the strength at which D will be measured.
        reads: the direction to read after the block, in place of the one of this kind. A whitened
            steering direction varies less over texts, so that the leak disturbs them less.
        writes: the direction to write along after each block, from other scenarios than these; then
            the size is set on all of these.

    Raises:
        InputError: an unknown axis or kind, no scenario of `axis`, a block before all steered
            layers, or directions that do not give a coupling of this sign.

    >>> few = train.sample(1, by="item")
    >>> leak = ic.coupling.leak_of_size(
    ...     model, few, vectors, layers, steered="X", axis="Y", readout="continuation"
    ... )
    >>> leak.block, leak.kind
    (2, 'representational')
    """
    check_axes(vectors, layers)
    for name in (steered, axis):
        check_known("axis", name, vectors)
    last = model.n_layers - 1
    if block is None:
        # At the layers of `axis` its direction acts most; before them only a large leak would.
        block = last if kind == "readout" else max(*layers[steered], *layers[axis])
    if block < min(layers[steered]):
        raise InputError(
            f"a leak after block {block} sees no step that is added at layers "
            f"{', '.join(map(str, layers[steered]))}; give block {min(layers[steered])} or more"
        )
    read_scenarios = scenarios.filter(axis=axis)
    if writes is None:
        fitted, read_scenarios = training_halves(read_scenarios)
        along = _mean_gradient(model, fitted, block + 1, readout)
    else:
        along = writes[block]
    if reads is None and kind == "readout":
        reads = _mean_gradient(model, scenarios.filter(axis=steered), block + 1, readout)
    elif reads is None:
        reads = vectors[steered].direction[block].numpy()
    unit = _leak(block, reads, along, kind)
    unit = replace(unit, centre=_centre(model, read_scenarios, unit, readout))
    growth = predicted_coupling(
        model, read_scenarios, {steered: vectors[steered]}, layers, unit, alpha=alpha,
        readout=readout,
    ).growth.item()  # fmt: skip
    if not growth > 0:
        raise InputError(
            f"a leak after block {block} would not raise {axis} when {steered} is steered "
            f"(growth {growth:+.2g} at size 1); choose another block"
        )
    return replace(unit, size=size / growth)


def _leak(
    block: int,
    reads: Float[np.ndarray, " d_model"],
    writes: Float[np.ndarray, " d_model"],
    kind: Kind,
) -> Leak:
    """A leak of size 1 without a centre."""
    return Leak(block, torch.from_numpy(reads), torch.from_numpy(writes), 1.0, kind=kind)


def _centre(
    model: LanguageModel, scenarios: ScenarioSet, leak: Leak, readout: Readout | ReadoutFormat
) -> float:
    """The centre at which the leak leaves the plain model's mean P+ where it is, to first order."""
    plain = sensitivity(model, scenarios, [leak.stream], readout=readout, leak=leak)
    assert plain.along is not None
    written = plain.gradient[leak.stream] @ leak.writes.double().numpy()
    return float((plain.slope * plain.along).sum() / (plain.slope * written).sum())


def _mean_gradient(
    model: LanguageModel, scenarios: ScenarioSet, stream: int, readout: Readout | ReadoutFormat
) -> Float[np.ndarray, " d_model"]:
    """The gradient of the mean P+ by a vector that is added at every token."""
    plain = sensitivity(model, scenarios, [stream], readout=readout)
    return plain.slope @ plain.gradient[stream] / len(scenarios)
