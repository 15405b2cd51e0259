"""Extraction: the steering vectors of every axis, from a model and its training scenarios."""

from __future__ import annotations

from importlib.metadata import version
from typing import cast

from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, contrastive_activations
from interp_culture.steering.directions import (
    RunningMean,
    check_method,
    differences,
    direction,
)
from interp_culture.steering.sites import Site, as_site
from interp_culture.steering.vectors import Provenance, SteeringVectors


def extract(
    model: LanguageModel,
    scenarios: ScenarioSet,
    method: str = "mean_diff",
    seed: int = 42,
    *,
    site: str | Site = "last",
) -> dict[str, SteeringVectors]:
    """The vectors of every axis, each from the scenarios of that axis only.

    Every text is read once. To compute many methods from one reading, use `read_activations` and
    then `direction`.

    Args:
        method: one of `directions.METHODS`.
        seed: of the draw; only "random" uses it.
        site: where the activations are read: "last", "answer_mean", "answer_last", "letter" or
            "prompt_persona" (see `sites.as_site`), or a `Site`. The norms of two sites differ;
            compare their directions with `norm_matched`.

    Returns:
        The vectors by axis. Each has `direction` [layer, d_model], positive minus negative pole, in
        units of the activations at the site's hook point.

    Raises:
        InputError: an unknown method or site, too few scenarios, or hooks that are active on the
            model.

    >>> vectors = ic.extract(model, train)
    >>> vectors["X"].direction.shape  # layer, d_model
    torch.Size([4, 32])
    >>> ic.extract(model, train, site="answer_mean")["X"].provenance["site"]
    'answer_mean'
    """
    check_method(method)
    site = as_site(site)
    if not len(scenarios):
        raise InputError("no scenario to extract from; give one scenario or more")
    vectors = {}
    for axis in scenarios.axes:
        of_axis = scenarios.filter(axis=axis)
        rows, resid_norm = _read_direction(model, of_axis, method, seed, site)
        provenance = _provenance(model, of_axis, site)
        if method == "random":
            provenance["seed"] = seed
        vectors[axis] = SteeringVectors(axis, method, rows, resid_norm, provenance)
    return vectors


def _read_direction(
    model: LanguageModel, scenarios: ScenarioSet, method: str, seed: int, site: Site
) -> tuple[Float[Tensor, "layer d_model"], Float[Tensor, " layer"]]:
    """The direction and the mean norm of the activations, from one reading."""
    mean_difference = RunningMean()
    mean_norm = RunningMean()
    batches: list[Activations] = []
    for batch in contrastive_activations(model, scenarios, site=site):
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
