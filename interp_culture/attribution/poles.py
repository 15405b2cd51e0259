"""Activation patching between the two poles of one axis, read on another axis."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import expit
from tqdm.auto import tqdm

from interp_culture.engine.donors import (
    Donation,
    Ending,
    patched_for_real,
    patched_to_first_order,
)
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.nodes import Node, NodeKind, points_of_kinds
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.probing import logit_diff_score
from interp_culture.readout.prompts import contrastive_texts
from interp_culture.readout.validity import resolve_format, warn_of
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.stats import Estimate, item_weights, mean_samples

Patching = Literal["exact", "gradient"]
KINDS: tuple[NodeKind, ...] = ("resid", "attn", "mlp", "head")
# Between the context and the dilemma, as between the parts of a prompt.
SEPARATOR = "\n\n"
COLUMNS = ["context", "axis", "component", "layer", "kind", "head", "change", "low", "high"]
COLUMNS += ["restored", "effect", "effect_low", "effect_high", "n", "skipped"]


def patched_poles(
    model: LanguageModel,
    scenarios: ScenarioSet,
    *,
    axis: str,
    read: str,
    kinds: Collection[NodeKind] = KINDS,
    readout: Readout | ReadoutFormat = "letters",
    method: Patching = "exact",
    n: int = 20,
    seed: int = 42,
) -> pd.DataFrame:
    """Where a decision on one axis enters the choice on another one.

    A dilemma of the axis `read` is put after a context: a dilemma of `axis` that was decided for
    its positive or for its negative pole (the contrastive text). Both runs end in the same tokens,
    from the beginning of the dilemma on. The effect of the context is `P+(after the positive one) -
    P+(after the negative one)`. A patch puts a component's activations of the positive run, at all
    of these tokens, into the negative run. What it changes is how much of the effect the component
    brings to the dilemma, or, for the stream after a block, all components up to there. Components
    of one path count the same effect several times, so that changes do not add up.

    Args:
        scenarios: of both axes.
        axis: of the contexts.
        read: of the dilemmas; it may be the same.
        kinds: of components: "resid" (the residual stream after a block), "attn", "mlp", "head".
        readout: a name or a `ReadoutFormat`.
        method: "exact" runs the model once a component; "gradient" estimates all of them from one
            forward and one backward pass (attribution patching). A gradient describes small
            changes: trust it for heads and MLPs more than for the stream.
        n: how many dilemmas are drawn, each with a context of its own; at most all.
        seed: of this draw and of the bootstrap.

    Returns:
        context (`axis`), axis (`read`), component, layer, kind, head (-1 for the others), change
        (mean change of P+ by the patch), low and high (95%, bootstrap by item of the dilemmas; NaN
        for fewer than 6), restored (change / effect; NaN where the interval of the effect includes
        0), effect, effect_low and effect_high (of the whole context), n (pairs), skipped (pairs
        left out, since their contexts change the tokens of the dilemma).

    Raises:
        InputError: an unknown axis, kind or method, an axis without scenarios, n below 1, a bare
            pair of texts as a dilemma, a format with thoughts, a dilemma that cannot be located
            among the tokens, or no pair left.

    >>> table = patched_poles(
    ...     model, test, axis="X", read="Y", readout="continuation", kinds=["resid", "mlp"], n=2
    ... )
    >>> table.component.tolist()[-2:]
    ['L3.resid', 'L3.mlp']
    >>> end = table[table.component == "L3.resid"].iloc[0]  # all that reaches the end
    >>> bool(abs(end.change - end.effect) < 1e-6)
    True
    """
    _check(kinds, method, n)
    form = as_format(readout)
    warn_of(model, form)
    points = points_of_kinds(model, kinds)
    patch = patched_for_real if method == "exact" else patched_to_first_order
    pairs = _drawn(scenarios, axis, read, n, seed)
    positive, negative = (_contextual(model, pairs, pole, form) for pole in (0, 1))
    donations, items = [], []
    for place, scenario in enumerate(tqdm(pairs.dilemmas, "patching", unit="pair", delay=1)):
        donor, receiver = positive.endings[place], negative.endings[place]
        if donor.endings != receiver.endings:
            continue
        weights = negative.weights[place]
        donations.append(patch(model, donor, receiver, points, negative.score, weights))
        items.append(scenario.item)
    if not donations:
        raise InputError(
            f"the contexts of {axis} change the tokens of all {len(positive.endings)} dilemmas of "
            f"{read}; use another readout or a tokenizer that keeps words apart"
        )
    rows = _rows(donations, np.array(items), method, seed)
    skipped = len(positive.endings) - len(donations)
    return rows.assign(context=axis, axis=read, n=len(donations), skipped=skipped)[COLUMNS]


def _check(kinds: Collection[NodeKind], method: Patching, n: int) -> None:
    check_known("method", method, get_args(Patching))
    for kind in kinds:
        check_known("kind", kind, KINDS)
    if not kinds:
        raise InputError(f"no kind of component to patch; give some of {', '.join(KINDS)}")
    if n < 1:
        raise InputError(f"cannot draw {n} pairs: give 1 or more")


@dataclass(frozen=True)
class _Pairs:
    """Dilemmas, and the scenario that is the context of each."""

    dilemmas: ScenarioSet
    contexts: tuple[Scenario, ...]


def _drawn(scenarios: ScenarioSet, axis: str, read: str, n: int, seed: int) -> _Pairs:
    """Random dilemmas, each with a random other scenario as its context."""
    dilemmas, contexts = scenarios.filter(axis=read), scenarios.filter(axis=axis)
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(dilemmas))[:n]
    chosen = dilemmas.with_ids(dilemmas.scenarios[place].id for place in drawn)
    before = []
    for dilemma in chosen:
        others = [context for context in contexts if context.id != dilemma.id]
        if not others:
            raise InputError(f"no other scenario of axis {axis} that can be a context; give more")
        before.append(others[rng.integers(len(others))])
    if not before:
        raise InputError(f"no scenario of axis {read} to read; give some")
    if bare := [dilemma.id for dilemma in chosen if dilemma.is_bare_pair]:
        raise InputError(f"scenario {bare[0]}: a bare pair of texts has no question to be read")
    return _Pairs(chosen, tuple(before))


@dataclass(frozen=True)
class _Contextual:
    """The prompts of dilemmas after one pole's contexts, and what reads them."""

    endings: list[Ending]
    score: Any
    weights: Float[np.ndarray, "pair member value"]


def _contextual(
    model: LanguageModel, pairs: _Pairs, pole: Literal[0, 1], form: ReadoutFormat
) -> _Contextual:
    before = [contrastive_texts(context)[pole] + SEPARATOR for context in pairs.contexts]
    after = [
        scenario.model_copy(update={"situation": text + scenario.situation})
        for text, scenario in zip(before, pairs.dilemmas, strict=True)
    ]
    contextual = replace(pairs.dilemmas, scenarios=tuple(after))
    groups, score, weights = logit_diff_score(model, contextual, form)
    resolved = resolve_format(model, form)
    endings = [
        Ending(tuple(members), _start(model, scenario, len(text), resolved))
        for members, scenario, text in zip(groups, after, before, strict=True)
    ]
    return _Contextual(endings, score, weights)


def _start(model: LanguageModel, scenario: Scenario, at: int, form: ReadoutFormat) -> int:
    """The first token of the dilemma, which begins at a place in the user's text."""
    # All templates begin with the situation. The span of an option is what can be located.
    prompt = form.prompts(scenario)[0]
    spans = model.tokenise(replace(prompt, options=((at, len(prompt.user)),))).options
    if spans is None:
        raise InputError(
            f"scenario {scenario.id}: the dilemma cannot be found among the prompt's tokens (the "
            "tokenizer gives no character offsets, or the chat template changes the text)"
        )
    return spans[0][0]


def _rows(
    donations: Sequence[Donation], items: np.ndarray, method: Patching, seed: int
) -> pd.DataFrame:
    drawn = item_weights(items, seed=seed)
    donors, receivers = (
        np.array([getattr(each, run) for each in donations]) for run in ("donor", "receiver")
    )
    patched = np.stack([each.patched for each in donations])
    before = expit(receivers)
    whole = Estimate.of_samples(mean_samples(drawn, expit(donors) - before))
    if method == "exact":
        changes = expit(patched) - before[:, None]
    else:
        # The change of P+ is to first order too.
        changes = (patched - receivers[:, None]) * (before * (1 - before))[:, None]
    rows = []
    for place, node in enumerate(donations[0].nodes):
        part = Estimate.of_samples(mean_samples(drawn, changes[:, place]))
        rows.append(_row(node, part, whole))
    return pd.DataFrame(rows)


def _row(node: Node, part: Estimate, whole: Estimate) -> dict[str, Any]:
    return {
        "component": node.name,
        "layer": node.layer,
        "kind": node.kind,
        "head": node.head,
        "change": part.value,
        "low": part.low,
        "high": part.high,
        "restored": part.value / whole.value if whole.excludes_zero else np.nan,
        "effect": whole.value,
        "effect_low": whole.low,
        "effect_high": whole.high,
    }
