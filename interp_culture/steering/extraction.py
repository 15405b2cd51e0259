"""Extraction: the steering vectors of every axis, from a model and its training scenarios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import cast

from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.interventions import Positions
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering import directions
from interp_culture.steering.activations import Activations, contrastive_activations
from interp_culture.steering.directions import RunningMean, differences, direction, with_norm
from interp_culture.steering.optimised import DEFAULT_TRAINING, Training, optimise
from interp_culture.steering.readout_gradients import readout_gradients
from interp_culture.steering.sites import Site, as_site
from interp_culture.steering.vectors import Provenance, SteeringVectors, check_by_axis

# Methods that move a readout, and so need one; the others only tell texts apart.
READOUT_METHODS = ("gradient", "optimised")
METHODS = (*directions.METHODS, *READOUT_METHODS)


def extract(
    model: LanguageModel,
    scenarios: ScenarioSet,
    method: str = "mean_diff",
    seed: int = 42,
    *,
    site: str | Site = "last",
    readout: Readout | ReadoutFormat | None = None,
    positions: Positions = "all",
    layers: Mapping[str, Sequence[int]] | None = None,
    training: Training = DEFAULT_TRAINING,
    activations: Activations | None = None,
) -> dict[str, SteeringVectors]:
    """The vectors of every axis, each from the scenarios of that axis only.

    Every text is read once. To compute many methods from one reading, give `activations`.

    Args:
        method: how a direction is computed. From activations: one of `directions.METHODS`. From a
            readout: "gradient" (see `readout_gradients`) or "optimised" (see `optimise`).
        seed: of the draw of "random", and of the training of "optimised".
        site: where the activations are read: "last", "answer_mean", "answer_last", "letter" or
            "prompt_persona" (see `sites.as_site`), or a `Site`. The norms of two sites differ;
            compare their directions with `norm_matched`. For "gradient" and "optimised" the site
            gives the norm alone.
        readout: that "gradient" and "optimised" move; only they use it.
        positions: the tokens at which the vectors of "gradient" and "optimised" will be added.
        layers: the blocks, by axis, whose vectors "optimised" trains together.
        training: the settings of "optimised".
        activations: of these scenarios at this site, if they are read already (by
            `read_activations` or `cache_activations`); then no text is read for them.

    Returns:
        The vectors by axis. Each has `direction` [layer, d_model], positive minus negative pole, in
        units of the activations at the site's hook point. With every method a layer's norm is that
        of the mean difference at the site; "optimised" is 0 at layers that were not trained.

    Raises:
        InputError: an unknown method or site, too few scenarios, hooks that are active on the
            model, or a method without the readout or the layers that it needs.

    >>> vectors = ic.extract(model, train)
    >>> vectors["X"].direction.shape  # layer, d_model
    torch.Size([4, 32])
    >>> ic.extract(model, train, site="answer_mean")["X"].provenance["site"]
    'answer_mean'
    >>> moving = ic.extract(model, train, method="gradient", readout="continuation")
    >>> moving["X"].direction.norm(dim=-1).allclose(vectors["X"].direction.norm(dim=-1))
    True
    """
    check_method(method)
    site = as_site(site)
    if not len(scenarios):
        raise InputError("no scenario to extract from; give one scenario or more")
    mover = _mover(model, method, site, readout, positions, layers, training, seed)
    vectors = {}
    for axis in scenarios.axes:
        of_axis = scenarios.filter(axis=axis)
        provenance = _provenance(model, of_axis, site)
        batches = _batches(model, of_axis, site, activations)
        if mover is None:
            rows, resid_norm = _direction(batches, method, seed)
        else:
            mean, resid_norm = _direction(batches, "mean_diff", seed)
            rows = mover.direction(of_axis, axis, mean, provenance)
        if method in ("random", "optimised"):
            provenance["seed"] = seed
        vectors[axis] = SteeringVectors(axis, method, rows, resid_norm, provenance)
    return vectors


def check_method(method: str) -> None:
    """Raise InputError for an unknown method of `extract`."""
    check_known("method", method, METHODS)


@dataclass(frozen=True)
class _Mover:
    """A method that moves a readout, with its settings."""

    model: LanguageModel
    form: ReadoutFormat
    hook_point: str
    positions: Positions
    layers: Mapping[str, Sequence[int]] | None
    training: Training
    seed: int

    def direction(
        self,
        scenarios: ScenarioSet,
        axis: str,
        mean: Float[Tensor, "layer d_model"],
        provenance: Provenance,
    ) -> Float[Tensor, "layer d_model"]:
        """The direction with the norm of `mean`; what it comes from goes into `provenance`."""
        provenance["readout"] = self.form.readout
        provenance["positions"] = self.positions
        if self.layers is None:
            gradients = readout_gradients(
                self.model,
                scenarios,
                self.form,
                positions=self.positions,
                hook_point=self.hook_point,
            )
            return with_norm(gradients.gradient.double().mean(0), mean)
        if self.hook_point != "hook_resid_post":
            raise InputError(
                f"{self.hook_point}: vectors are trained at hook_resid_post; use a site there"
            )
        if axis not in self.layers:
            raise InputError(f"layers has none for axis {axis}; give layers={{{axis!r}: [...]}}")
        optimised = optimise(
            self.model,
            scenarios,
            self.form,
            self.layers[axis],
            mean,
            positions=self.positions,
            training=self.training,
            seed=self.seed,
        )
        provenance["training"] = asdict(self.training)
        provenance["layers"] = sorted(set(self.layers[axis]))
        provenance["validation"] = optimised.validation
        provenance["steps"] = optimised.steps
        return optimised.direction


def _mover(
    model: LanguageModel,
    method: str,
    site: Site,
    readout: Readout | ReadoutFormat | None,
    positions: Positions,
    layers: Mapping[str, Sequence[int]] | None,
    training: Training,
    seed: int,
) -> _Mover | None:
    """The settings of a method that moves a readout; None for the other methods."""
    if method not in READOUT_METHODS:
        return None
    if readout is None:
        raise InputError(
            f"method {method!r} moves a readout; name it: readout='continuation' or 'letters'"
        )
    if method == "gradient":
        layers = None
    elif layers is None:
        raise InputError(
            "method 'optimised' trains the vectors of several layers together; name them by axis: "
            "layers={axis: [...]}"
        )
    else:
        check_by_axis(layers=layers)
    return _Mover(model, as_format(readout), site.hook_point, positions, layers, training, seed)


def _batches(
    model: LanguageModel, scenarios: ScenarioSet, site: Site, activations: Activations | None
) -> Iterable[Activations]:
    """The activations of some scenarios, out of those that were read or batch by batch."""
    if activations is None:
        return contrastive_activations(model, scenarios, site=site)
    return [activations.select([scenario.id for scenario in scenarios])]


def _direction(
    stream: Iterable[Activations], method: str, seed: int
) -> tuple[Float[Tensor, "layer d_model"], Float[Tensor, " layer"]]:
    """The direction and the mean norm of the activations, from one pass over the batches."""
    mean_difference = RunningMean()
    mean_norm = RunningMean()
    batches: list[Activations] = []
    for batch in stream:
        for resid in (batch.positive, batch.negative):
            mean_norm.add(resid.double().norm(dim=-1))
        # "mean_diff" keeps no batch, so that a large set of texts needs no more memory.
        if method == "mean_diff":
            mean_difference.add(differences(batch))
        else:
            batches.append(batch)
    if method == "mean_diff":
        return mean_difference.value(), mean_norm.value()
    return direction(batches, method, seed), mean_norm.value()


def _provenance(model: LanguageModel, scenarios: ScenarioSet, site: Site) -> Provenance:
    about = {
        **model.describe(),
        "site": site.name,
        "hook_point": site.hook_point,
        "scenarios": scenarios.digest,
        "n_scenarios": len(scenarios),
        "texts": scenarios.fingerprints,
        "transformer_lens": version("transformer-lens"),
    }
    # A cast, since `describe` returns an untyped dictionary; a test compares the keys.
    return cast(Provenance, about)
