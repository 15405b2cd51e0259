"""The gradient of a readout: the step of a given length that moves it most, to first order."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.gradients import mean_gradients
from interp_culture.engine.interventions import Positions
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet

# The residual stream of a hook point in block l is stream l plus this.
STREAM_OF = {"hook_resid_pre": 0, "hook_resid_post": 1}


def readout_gradient(
    model: LanguageModel,
    scenarios: ScenarioSet,
    readout: Readout | ReadoutFormat,
    *,
    positions: Positions = "all",
    hook_point: str = "hook_resid_post",
) -> Float[Tensor, "layer d_model"]:
    """The mean gradient of the logit difference with respect to a vector that is added.

    The vector v, added at a layer at all `positions`, changes the mean logit difference of the
    scenarios by the dot product of v with the layer's gradient, to first order. So the gradient
    points to the positive pole, and is the direction in which a small step of given length raises
    the logit difference most.

    Args:
        scenarios: of one axis.
        readout: a name or a `ReadoutFormat`; "continuation" has the difference of log-probabilities
            per token.
        positions: the tokens at which the vector is added, see `Edit`.
        hook_point: "hook_resid_post" or "hook_resid_pre".

    Returns:
        float32, logit difference per unit of the residual stream (not normalised).

    Raises:
        InputError: no scenario, or another hook point.

    >>> gradient = readout_gradient(model, train.filter(axis="X"), "continuation")
    >>> gradient.shape  # layer, d_model
    torch.Size([4, 32])
    """
    if hook_point not in STREAM_OF:
        raise InputError(
            f"{hook_point}: gradients are taken on the residual stream between blocks; use a site "
            "at hook_resid_pre or hook_resid_post"
        )
    form = as_format(readout)
    warn_of(model, form)
    groups, score, weights = logit_diff_score(model, scenarios, form)
    first = STREAM_OF[hook_point]
    title = f"gradients of {form.readout}"
    by_stream = mean_gradients(
        model, groups, score, weights, first=first, positions=positions, title=title
    )
    return by_stream[first : first + model.n_layers].float()
