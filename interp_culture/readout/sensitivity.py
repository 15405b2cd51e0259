"""The gradients of P+ and of the logit difference at residual streams, by scenario."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit, Positions
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet


@dataclass(frozen=True)
class Sensitivity:
    """How every scenario's choice depends on residual streams, to first order.

    Attributes:
        logit_diff: of every scenario, in this pass.
        gradient: of logit_diff, by residual stream, with respect to a vector that is added there:
            its dot product with a vector is the effect of this vector (nats), to first order.
        along: the derivative of logit_diff by the size of a leak, at size 0; None without a leak.
        at_point: the gradient of what is read at hook points within blocks, by their full names.
    """

    logit_diff: Float[np.ndarray, " scenario"]
    gradient: dict[int, Float[np.ndarray, "scenario d_model"]]
    along: Float[np.ndarray, " scenario"] | None = None
    at_point: dict[str, Float[np.ndarray, "scenario d_model"]] = field(default_factory=dict)

    @property
    def p_positive(self) -> Float[np.ndarray, " scenario"]:
        """P+, the sigmoid of logit_diff."""
        return 1 / (1 + np.exp(-self.logit_diff))

    @property
    def slope(self) -> Float[np.ndarray, " scenario"]:
        """The change of P+ per unit of logit_diff."""
        return self.p_positive * (1 - self.p_positive)


def sensitivity(
    model: LanguageModel,
    scenarios: ScenarioSet,
    streams: Collection[int],
    *,
    readout: Readout | ReadoutFormat = "letters",
    positions: Positions = "all",
    edits: Sequence[Edit] = (),
    leak: Leak | None = None,
    points: Sequence[str] = (),
) -> Sensitivity:
    """The gradients of every scenario's choice, from one forward and one backward pass.

    Args:
        streams: numbers of residual streams: l + 1 is the stream after block l.
        positions: the tokens at which a vector is added, see `Edit`.
        edits: active in the pass; they add vectors at "hook_resid_post".
        leak: also take the derivative by the size of this leak, which acts on one of the streams.
        points: full names of hook points, see `stream_gradients`.

    Raises:
        InputError: see `stream_gradients`.

    >>> few = test.filter(domain="family")
    >>> sensitivity(model, few, [2], readout="continuation").gradient[2].shape
    (10, 32)
    """
    form = as_format(readout)
    warn_of(model, form)
    groups, score, weights = logit_diff_score(model, scenarios, form)
    by_stream = stream_gradients(
        model,
        groups,
        score,
        weights,
        streams,
        positions=positions,
        edits=edits,
        leak=leak,
        points=points,
        title=f"gradients of {form.readout}",
    )
    return Sensitivity(by_stream.score, by_stream.gradient, by_stream.along, by_stream.at_point)
