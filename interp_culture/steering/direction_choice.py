"""The choice of a direction: the method and site that move a readout furthest for their cost.

It uses training scenarios alone. The vectors of each half are judged by the gradients of the other
half, so that a direction that is fitted to its own scenarios gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.neutral import neutral_beginnings
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, means_by_axis
from interp_culture.steering.activations import Activations
from interp_culture.steering.directions import direction, mean_diff, with_norm
from interp_culture.steering.edits import steer
from interp_culture.steering.fluency import mean_kl
from interp_culture.steering.layer_choice import largest
from interp_culture.steering.layer_cost import layer_costs
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import Provenance, SteeringVectors, norm_matched

TEXTS_OF_LAYERS = 2
COLUMNS = ["method", "site", "steered", "layers", "effect", "low", "high", "kl", "per_root_kl"]


@dataclass(frozen=True)
class Candidate:
    """A way to make directions: a method, and the site whose activations it reads.

    The method "gradient" reads no activations; its site is "last" by convention.
    """

    method: str = "mean_diff"
    site: str = "last"

    @property
    def on_contrasts(self) -> str:
        """The method that makes the direction of `TrainingReadings.contrasts`."""
        # The mean over scenarios of positive minus negative is the mean gradient there.
        return "mean_diff" if self.method == "gradient" else self.method

    @property
    def words(self) -> str:
        """The direction in words.

        >>> Candidate("mean_diff", "answer_mean").words
        'the mean difference (mean_diff) at the site answer_mean'
        """
        if self.method == "gradient":
            return "the gradient of the readout"
        noun = "the mean difference (mean_diff)" if self.method == "mean_diff" else self.method
        return f"{noun} at the site {self.site}"

    def __str__(self) -> str:
        return self.method if self.method == "gradient" else f"{self.method} at {self.site}"


# Paper, equations 3 and 4.
PAPER = Candidate()
CANDIDATES = (PAPER, Candidate("mean_diff", "answer_mean"), Candidate("gradient"))


@dataclass(frozen=True)
class TrainingReadings:
    """What directions are made of: the training scenarios, read once.

    Attributes:
        scenarios: of all axes.
        activations: by site; "last" is always there, since it gives the norm.
        gradients: of the readout; None if no method needs them.
    """

    scenarios: ScenarioSet
    activations: Mapping[str, Activations]
    gradients: ReadoutGradients | None = None

    def of_axis(self, axis: str, layers: Sequence[int]) -> TrainingReadings:
        """Those of one axis at some layers, for methods that take seconds a layer."""
        scenarios = self.scenarios.filter(axis=axis)
        ids = [scenario.id for scenario in scenarios]
        activations = {
            site: of_site.select(ids).at_layers(layers)
            for site, of_site in self.activations.items()
        }
        gradients = self.gradients
        if gradients is not None:
            gradients = gradients.select(ids).at_layers(layers)
        return TrainingReadings(scenarios, activations, gradients)

    def contrasts(self, candidate: Candidate) -> Activations:
        """The activations whose differences a candidate's directions are made of."""
        if candidate.method != "gradient":
            return self.activations[candidate.site]
        if self.gradients is None:
            raise InputError("method 'gradient' needs the readout's gradients; give gradients")
        return self.gradients.as_activations

    def direction(
        self, candidate: Candidate, scenarios: ScenarioSet, seed: int = 42
    ) -> Float[Tensor, "layer d_model"]:
        """The direction of some training scenarios of one axis.

        Its norm is that of the axis' mean difference at the site "last", over all training
        scenarios. So alpha 1 is the paper's step, whatever the candidate.
        """
        ids = [scenario.id for scenario in scenarios]
        contrasts = self.contrasts(candidate).select(ids)
        rows = direction(contrasts, candidate.on_contrasts, seed)
        return with_norm(rows, self._norm_like(scenarios))

    def _norm_like(self, scenarios: ScenarioSet) -> Float[Tensor, "layer d_model"]:
        (axis,) = scenarios.axes
        ids = [scenario.id for scenario in self.scenarios.filter(axis=axis)]
        return mean_diff([self.activations["last"].select(ids)])

    def vectors(
        self,
        candidate: Candidate,
        like: Mapping[str, SteeringVectors],
        scenarios: ScenarioSet | None = None,
        seed: int = 42,
        layers: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, SteeringVectors]:
        """The vectors of every axis.

        Args:
            like: the vectors of the paper, whose norms and provenance these get.
            scenarios: those of the training scenarios that are used; all by default.
            layers: those that are computed, by axis; the vectors are 0 at the others. All by
                default.
        """
        vectors = {}
        used = self.scenarios if scenarios is None else scenarios
        for axis, paper in like.items():
            of_axis = used.filter(axis=axis)
            if layers is None:
                rows = self.direction(candidate, of_axis, seed)
            else:
                at = list(layers[axis])
                rows = torch.zeros_like(paper.direction, dtype=torch.float64)
                rows[at] = self.of_axis(axis, at).direction(candidate, of_axis, seed).double()
            matched = norm_matched(paper, rows, candidate.method)
            provenance: Provenance = {**matched.provenance, "site": candidate.site}
            if candidate.method == "gradient" and self.gradients is not None:
                provenance["readout"] = self.gradients.readout
            vectors[axis] = replace(matched, provenance=provenance)
        return vectors


def training_halves(scenarios: ScenarioSet, seed: int = 42) -> tuple[ScenarioSet, ScenarioSet]:
    """Two halves of the scenarios of every item, for vectors and for judging them.

    Raises InputError for an axis with fewer than two scenarios.

    >>> [len(half) for half in training_halves(train)]
    [15, 15]
    """
    shuffled = scenarios.frame().sample(frac=1, random_state=seed)
    by_item = shuffled.sort_values(["axis", "item"], kind="stable").id.tolist()
    halves = scenarios.with_ids(by_item[::2]), scenarios.with_ids(by_item[1::2])
    for half in halves:
        if missing := set(scenarios.axes) - set(half.axes):
            raise InputError(
                f"axis {', '.join(sorted(missing))} has fewer than two training scenarios, so that "
                "no direction can be chosen on them; give more scenarios, or name a method"
            )
    return halves


def cross_fitted_effects(
    readings: TrainingReadings, candidate: Candidate, seed: int = 42
) -> dict[str, Float[np.ndarray, "scenario layer"]]:
    """The effect of steering each axis at each layer on every training scenario, to first order.

    A scenario is judged under the vectors of the half that it is not in.

    Returns:
        By steered axis: change of P+ per unit of alpha, in the order of `readings.scenarios`.

    >>> activations = ic.read_activations(model, train)
    >>> gradients = ic.steering.readout_gradients(model, train, "continuation")
    >>> readings = TrainingReadings(train, {"last": activations}, gradients)
    >>> cross_fitted_effects(readings, Candidate("gradient"))["X"].shape  # scenario, layer
    (30, 4)
    """
    gradients = readings.gradients
    if gradients is None:
        raise InputError("directions are judged by the readout's gradients; give gradients")
    gradients = gradients.select([scenario.id for scenario in readings.scenarios])
    by_scenario = gradients.of_p_positive
    row_of = {scenario_id: row for row, scenario_id in enumerate(gradients.ids)}
    halves = training_halves(readings.scenarios, seed)
    effects = {}
    for axis in readings.scenarios.axes:
        of_axis = np.zeros(by_scenario.shape[:2])
        for fitted, judged in (halves, halves[::-1]):
            vectors = readings.direction(candidate, fitted.filter(axis=axis), seed)
            rows = [row_of[scenario.id] for scenario in judged]
            of_axis[rows] = torch.einsum("sld,ld->sl", by_scenario[rows], vectors.double()).numpy()
        effects[axis] = of_axis
    return effects


def compare_directions(
    model: LanguageModel,
    readings: TrainingReadings,
    like: Mapping[str, SteeringVectors],
    *,
    candidates: Sequence[Candidate] = CANDIDATES,
    k: int = 4,
    texts: Sequence[str] | None = None,
    seed: int = 42,
) -> pd.DataFrame:
    """What each candidate moves and costs, at its k best layers and one norm.

    Args:
        like: the paper's vectors by axis, whose norms all candidates get.
        k: how many layers are steered: those with the largest cross-fitted effect on the axis that
            are not dear, see `dear_layers`. The costs of the first 2k are measured.
        texts: neutral texts on which costs are measured; by default the shipped ones, and for
            single layers two of their beginnings.
        seed: of the halves and of the bootstrap.

    Returns:
        method, site, steered, layers (in words), effect (change of the axis' mean P+ per unit of
        alpha, by `cross_fitted_effects`, summed over the layers), low, high (95% interval,
        bootstrap by item), kl (nats per token on neutral text at alpha 1) and per_root_kl, which is
        effect / sqrt(kl). KL grows as alpha squared, so that it compares effects at equal KL.

    >>> activations = ic.read_activations(model, train)
    >>> gradients = ic.steering.readout_gradients(model, train, "continuation")
    >>> readings = TrainingReadings(train, {"last": activations}, gradients)
    >>> pair = (Candidate(), Candidate("gradient"))
    >>> table = compare_directions(
    ...     model, readings, vectors, candidates=pair, k=1, texts=["It rains."]
    ... )
    >>> table[["method", "steered"]].to_records(index=False).tolist()
    [('mean_diff', 'X'), ('mean_diff', 'Y'), ('gradient', 'X'), ('gradient', 'Y')]
    """
    # The cost of single layers decides their order alone, so that short texts will do.
    few = neutral_beginnings(TEXTS_OF_LAYERS) if texts is None else texts
    runs: dict[Any, Sequence[Edit]] = {}
    rows = []
    for candidate in candidates:
        vectors = readings.vectors(candidate, like, seed=seed)
        effects = {
            steered: _of_own_axis(readings, of_axis, steered)
            for steered, of_axis in cross_fitted_effects(readings, candidate, seed).items()
        }
        layers = _layers_of(model, vectors, effects, k, few)
        for steered, own in effects.items():
            runs[candidate, steered] = steer(vectors[steered], layers[steered], 1.0)
            row = {"method": candidate.method, "site": candidate.site, "steered": steered}
            row["layers"] = ", ".join(map(str, layers[steered]))
            rows.append(row | _summed_effect(own[layers[steered]], seed))
    table = pd.DataFrame(rows).assign(kl=list(mean_kl(model, runs, texts).values()))
    return table.assign(per_root_kl=table.effect / np.sqrt(table.kl))[COLUMNS]


def best_candidate(comparison: pd.DataFrame) -> Candidate:
    """The candidate with the largest mean of per_root_kl over the axes.

    >>> columns = {"method": ["mean_diff", "gradient"], "site": "last", "per_root_kl": [0.1, 0.3]}
    >>> best_candidate(pd.DataFrame(columns))
    Candidate(method='gradient', site='last')
    """
    means = comparison.groupby(["method", "site"], sort=False).per_root_kl.mean()
    return Candidate(*means.idxmax())


def multiple_of_paper(comparison: pd.DataFrame) -> float | None:
    """The effect per root KL of the best candidate, over that of the paper's direction.

    Both are means over the axes, on training scenarios. None where the paper's is not above 0.

    >>> columns = {"method": ["mean_diff", "gradient"], "site": "last", "per_root_kl": [0.1, 0.3]}
    >>> round(multiple_of_paper(pd.DataFrame(columns)), 3)
    3.0
    """
    means = comparison.groupby(["method", "site"], sort=False).per_root_kl.mean()
    of_paper = float(means[PAPER.method, PAPER.site])
    return float(means.max()) / of_paper if of_paper > 0 else None


def _of_own_axis(
    readings: TrainingReadings, effects: Float[np.ndarray, "scenario layer"], steered: str
) -> pd.DataFrame:
    """The effects on the scenarios of the steered axis: a row each, a column a layer.

    The index names axis and item.
    """
    frame = readings.scenarios.frame()
    table = pd.DataFrame(effects, index=pd.MultiIndex.from_frame(frame[["axis", "item"]]))
    return table[(frame["axis"] == steered).to_numpy()]


def _layers_of(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVectors],
    effects: Mapping[str, pd.DataFrame],
    k: int,
    texts: Sequence[str],
) -> dict[str, list[int]]:
    """The k layers of each axis with the largest effect, but for dear ones."""
    means = {axis: of_axis.mean() for axis, of_axis in effects.items()}
    tried = {axis: of_axis.nlargest(2 * k).index.tolist() for axis, of_axis in means.items()}
    costs = layer_costs(model, vectors, tried, texts).set_index(["steered", "layer"]).kl
    return {axis: largest(of_axis, k, costs[axis]) for axis, of_axis in means.items()}


def _summed_effect(effects: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The effect of all given layers together, with its interval."""
    axes, items = (effects.index.get_level_values(name).to_numpy(str) for name in ("axis", "item"))
    (samples,) = means_by_axis(effects.sum(axis=1).to_numpy(), axes, items, seed).values()
    effect = Estimate.of_samples(samples)
    return {"effect": effect.value, "low": effect.low, "high": effect.high}
