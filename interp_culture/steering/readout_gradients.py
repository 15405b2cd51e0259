"""Gradients of a readout: for each scenario, the step that moves its choice most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp_culture.artifacts.files import content_key
from interp_culture.artifacts.journal import forget, journal
from interp_culture.artifacts.sources import source_hash
from interp_culture.artifacts.stores import folder_once
from interp_culture.engine.interventions import Positions
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.sensitivity import Sensitivity, sensitivity
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, rows_of

# The residual stream of a hook point in block l is stream l plus this.
STREAM_OF = {"hook_resid_pre": 0, "hook_resid_post": 1}
TENSORS = "gradients.safetensors"


@dataclass(frozen=True)
class ReadoutGradients:
    """The gradient of every scenario's logit difference with respect to a vector that is added.

    The vector v, added at layer l, changes the logit difference of scenario s by
    `gradient[s, l] . v` (nats; of a continuation nats per token) and its P+ by `slope[s]` times as
    much, to first order. So the mean gradient of an axis points to its positive pole.

    Attributes:
        readout: whose logit difference it is.
        ids: the scenarios, in the order of the first dimension.
        logit_diff: of the plain model, positive minus negative pole.
        gradient: float32 on the CPU, per unit of the residual stream.
    """

    readout: Readout
    ids: tuple[str, ...]
    logit_diff: Float[Tensor, " scenario"]
    gradient: Float[Tensor, "scenario layer d_model"]

    def __repr__(self) -> str:
        n, layers, d_model = self.gradient.shape
        return f"ReadoutGradients({n} scenarios, {layers} layers, d_model {d_model})"

    @property
    def slope(self) -> Float[Tensor, " scenario"]:
        """The change of P+ per unit of the logit difference, between 0 and 1/4."""
        p_positive = self.logit_diff.double().sigmoid()
        return p_positive * (1 - p_positive)

    @property
    def of_p_positive(self) -> Float[Tensor, "scenario layer d_model"]:
        """The gradient of P+, in double precision."""
        return self.slope[:, None, None] * self.gradient.double()

    def mean_of_p_positive(self, ids: Sequence[str]) -> Float[Tensor, "layer d_model"]:
        """The gradient of the mean P+ of these scenarios, in double precision."""
        return self.select(ids).of_p_positive.mean(0)

    @property
    def as_activations(self) -> Activations:
        """The same as `Activations` whose difference, positive minus negative, is the gradient.

        In this form they serve wherever a mean difference is taken.
        """
        return Activations(self.ids, self.gradient, torch.zeros_like(self.gradient))

    @property
    def as_sensitivity(self) -> Sensitivity:
        """The same by residual stream: l + 1 is the stream after block l."""
        by_stream = {
            layer + 1: self.gradient[:, layer].double().numpy()
            for layer in range(self.gradient.shape[1])
        }
        return Sensitivity(self.logit_diff.double().numpy(), by_stream)

    def select(self, ids: Sequence[str]) -> ReadoutGradients:
        """The gradients of these scenarios, in this order. Raises InputError for an unknown id."""
        rows = rows_of(self.ids, ids, "gradients")
        return ReadoutGradients(
            self.readout, tuple(ids), self.logit_diff[rows], self.gradient[rows]
        )

    def at_layers(self, layers: Sequence[int]) -> ReadoutGradients:
        """The gradients of these layers, in this order."""
        return replace(self, gradient=self.gradient[:, list(layers)])


def readout_gradients(
    model: LanguageModel,
    scenarios: ScenarioSet,
    readout: Readout | ReadoutFormat,
    *,
    positions: Positions = "all",
    hook_point: str = "hook_resid_post",
) -> ReadoutGradients:
    """The gradients of every scenario at every layer, from one forward and one backward pass.

    Args:
        readout: a name or a `ReadoutFormat`; "continuation" has the difference of log-probabilities
            per token.
        positions: the tokens at which the vector is added, see `Edit`.
        hook_point: "hook_resid_post" or "hook_resid_pre".

    Raises:
        InputError: no scenario, or another hook point.

    >>> gradients = readout_gradients(model, test, "continuation")
    >>> gradients.gradient.shape  # scenario, layer, d_model
    torch.Size([30, 4, 32])
    """
    if hook_point not in STREAM_OF:
        raise InputError(
            f"{hook_point}: gradients are taken on the residual stream between blocks; use a site "
            "at hook_resid_pre or hook_resid_post"
        )
    first = STREAM_OF[hook_point]
    streams = range(first, first + model.n_layers)
    plain = sensitivity(model, scenarios, streams, readout=readout, positions=positions)
    by_layer = np.stack([plain.gradient[stream] for stream in streams], axis=1)
    return ReadoutGradients(
        as_format(readout).readout,
        tuple(scenario.id for scenario in scenarios),
        torch.from_numpy(plain.logit_diff).float(),
        torch.from_numpy(by_layer).float(),
    )


def cache_gradients(
    model: LanguageModel,
    scenarios: ScenarioSet,
    folder: str | Path,
    readout: Readout | ReadoutFormat,
) -> ReadoutGradients:
    """`readout_gradients` at "hook_resid_post", stored in `folder`.

    A folder that holds the gradients of the same model, scenarios and readout is read; any other
    content is replaced.

    >>> gradients = cache_gradients(model, test, "gradients", "continuation")
    >>> len(gradients.ids) == len(test)
    True
    """
    folder = Path(folder)
    manifest = {
        **model.describe(),
        "scenarios": scenarios.digest,
        "ids": [scenario.id for scenario in scenarios],
        "readout": asdict(as_format(readout)),
        "source": source_hash("interp_culture"),
    }

    def fill(part: Path) -> None:
        # A pass that is stopped goes on after the batches that it had finished.
        with journal(folder.parent, folder.name, content_key(manifest)):
            gradients = readout_gradients(model, scenarios, readout)
        tensors = {"logit_diff": gradients.logit_diff, "gradient": gradients.gradient.contiguous()}
        save_file(tensors, part / TENSORS)

    stored = load_file(folder_once(folder, manifest, fill) / TENSORS)
    forget(folder.parent, folder.name)
    ids = tuple(manifest["ids"])
    kind = as_format(readout).readout
    return ReadoutGradients(kind, ids, stored["logit_diff"], stored["gradient"])
