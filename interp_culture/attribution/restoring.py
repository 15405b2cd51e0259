"""Steering while some components put out what they do in the plain run: a real measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal, get_args

import numpy as np
import pandas as pd

from interp_culture.coupling.steered import RUN_COLUMNS, check_axes
from interp_culture.engine.interventions import Edit
from interp_culture.engine.logprobs import score_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.node_effects import node_means, node_patches
from interp_culture.engine.nodes import Node, node_points
from interp_culture.engine.patches import Patch
from interp_culture.errors import InputError, check_known
from interp_culture.readout.choices import with_choice
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.validity import warn_of
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import check_strength, steer
from interp_culture.steering.vectors import SteeringVectors

PLAIN = ("", "plain", -1, 0.0)
Source = Literal["plain", "mean"]


def restored_readouts(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    components: Mapping[str, Sequence[str]],
    *,
    alpha: float = 1.0,
    readout: Readout | ReadoutFormat = "letters",
    by: Source = "plain",
) -> pd.DataFrame:
    """Read all scenarios under steering, with the outputs of sets of components replaced.

    By "plain", the components of a set put out, at every token, what they do in the plain run of
    the same prompt. So what is missing from the effect is what they carried. By "mean" they put out
    their mean over all tokens of all prompts (mean ablation), with and without steering: what is
    missing is what steering does with the help of what they do, whether or not they carry it.
    Compare a set with random sets of the same size (`random_sets`): any set takes something away.

    Args:
        vectors, layers: by axis, as for `steered_readouts`.
        components: by the name of the set, names such as "L12.H3" and "L12.mlp". An empty set is
            plain steering.
        alpha: strength; both signs are run.
        by: "plain" or "mean", what replaces the outputs.

    Returns:
        The rows of `steered_readouts`, with the column restored (the name of the set). The rows of
        the run without steering are there for each set: by "mean", with the set's means.

    Raises:
        InputError: a component that the model does not have, no set, an unknown source, and as
            `steered_readouts`.

    >>> sets = {"none": [], "mlp": ["L2.mlp", "L3.mlp"]}
    >>> table = restored_readouts(model, test, vectors, layers, sets, readout="continuation")
    >>> matrices = table.groupby("restored")[list(table)].apply(ic.response_matrix)
    >>> matrices.index.get_level_values(0).unique().tolist()
    ['mlp', 'none']
    """
    check_axes(vectors, layers)
    check_strength(alpha)
    if not components:
        raise InputError("no set of components to restore; give one by name, such as {'all': []}")
    check_known("source", by, get_args(Source))
    form = as_format(readout)
    warn_of(model, form)
    groups, score, weights = logit_diff_score(model, scenarios, form)
    by_name = _nodes(model)
    nodes = {
        name: [_node(by_name, member, model.name) for member in members]
        for name, members in components.items()
    }
    means = None
    if by == "mean":
        # In one pass for all sets.
        means = node_means(model, groups, list(chain.from_iterable(nodes.values())))
    runs: dict[tuple, list[Edit | Patch]] = {}
    for name in components:
        patches = node_patches(model, nodes[name], means)
        if means is None:
            # Without steering, what the components do in the plain run changes nothing.
            runs[None, PLAIN] = []
        else:
            runs[name, PLAIN] = [*patches]
        for axis, of_axis in vectors.items():
            for signed in (alpha, -alpha):
                edits = steer(of_axis, layers[axis], signed)
                runs[name, (axis, of_axis.method, -1, signed)] = [*edits, *patches]
    values = score_runs(model, groups, runs, score, "restored components")
    frame = scenarios.frame()
    tables = []
    for (name, run), by_run in values.items():
        table = with_choice(frame, (by_run * weights).sum((1, 2)))
        table = table.assign(**dict(zip(RUN_COLUMNS, run, strict=True)))
        tables += [table.assign(restored=each) for each in (components if name is None else [name])]
    return pd.concat(tables, ignore_index=True)


def random_sets(
    model: LanguageModel, components: Sequence[str], n: int, *, first: int = 0, seed: int = 42
) -> dict[str, list[str]]:
    """Random sets of as many heads and as many MLPs as `components` has, for comparison.

    Args:
        components: names of components; none of them is in a random set.
        n: how many sets.
        first: the first layer from which components are drawn: the one after the first steered one.
        seed: of the draw.

    Raises:
        InputError: a component that the model does not have, or too few others of its kind.

    >>> random_sets(model, ["L2.mlp"], 2, first=1)
    {'random 0': ['L1.mlp'], 'random 1': ['L3.mlp']}
    """
    by_name = _nodes(model)
    chosen = [_node(by_name, name, model.name) for name in components]
    rng = np.random.default_rng(seed)
    sets: dict[str, list[str]] = {}
    for draw in range(n):
        members: list[str] = []
        for kind in sorted({node.kind for node in chosen}):
            others = [
                node.name
                for node in by_name.values()
                if node.kind == kind and node.layer >= first and node not in chosen
            ]
            wanted = sum(node.kind == kind for node in chosen)
            if wanted > len(others):
                raise InputError(
                    f"{wanted} components of the kind {kind!r} are restored, and from layer "
                    f"{first} on there are {len(others)} others; restore fewer"
                )
            members += [str(name) for name in rng.choice(others, wanted, replace=False)]
        sets[f"random {draw}"] = members
    return sets


def _nodes(model: LanguageModel) -> dict[str, Node]:
    return {node.name: node for point in node_points(model) for node in point.nodes}


def _node(by_name: Mapping[str, Node], name: str, model: str) -> Node:
    if name not in by_name:
        known = list(by_name)
        raise InputError(
            f"no component {name!r} in {model}; it has {known[0]} to {known[-1]}, such as "
            f"{', '.join(known[:3])}"
        )
    return by_name[name]
