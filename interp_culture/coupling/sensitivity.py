"""The gradients of P+ and of the logit difference at residual streams, by scenario."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp_culture.engine.gradients import stream_gradients
from interp_culture.engine.interventions import Edit
from interp_culture.engine.leaks import Leak
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.choices import choice_weights
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format, token_groups
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.scenario import ScenarioSet


@dataclass(frozen=True)
class Sensitivity:
    """How every scenario's choice depends on residual streams, to first order.

    Attributes:
        logit_diff: of every scenario, in this pass.
        gradient: of logit_diff, by residual stream, summed over all tokens: its dot product with a
            vector is the effect of this vector at every token.
        along: the derivative of logit_diff by the size of a leak, at size 0; None without a leak.
    """

    logit_diff: Float[np.ndarray, " scenario"]
    gradient: dict[int, Float[np.ndarray, "scenario d_model"]]
    along: Float[np.ndarray, " scenario"] | None

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
    edits: Sequence[Edit] = (),
    leak: Leak | None = None,
) -> Sensitivity:
    """The gradients of every scenario's choice, from one forward and one backward pass.

    Args:
        streams: numbers of residual streams: l + 1 is the stream after block l.
        edits: of the pass, at or before the first of these streams.
        leak: also take the derivative by the size of this leak, which acts on one of the streams.

    Raises:
        InputError: see `stream_gradients`.

    >>> few = test.filter(domain="family")
    >>> sensitivity(model, few, [2], readout="continuation").gradient[2].shape
    (10, 32)
    """
    form = as_format(readout)
    letters = check_readout(model, form).letters
    groups, score = token_groups(model, scenarios, form)
    n_tokens = np.array([[len(s.answer) for s in members] for members in groups], dtype=float)
    weights = choice_weights(scenarios, form, letters, n_tokens)
    found = stream_gradients(model, groups, score, weights, streams, edits, leak)
    return Sensitivity(found.score, found.gradient, found.along)
