"""Errors of the package's numbers on a tiny model, relative to plain Hugging Face passes.

`python tests/architecture_checks.py [NAME ...]` prints which are right, wrong or refused, or crash.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from architecture_reference import Push, Readout, Reference
from conftest import byte_tokenizer
from tiny_models import Entry
from torch import Tensor
from zoo import ZOO, entry

from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.steering.activations import read_activations
from interp_culture.steering.extraction import extract

# The largest accepted error of a number, in standard deviations of all numbers of its kind.
TOLERANCE = 1e-3
READOUTS: tuple[Readout, ...] = ("letters", "continuation")
# The reference reads the letter at once, as the paper does.
FORMS = {readout: ReadoutFormat(readout, prefix="") for readout in READOUTS}
NEW_TOKENS = 5
ASKED = ("hello", "what shall we do today, and with whom", "tell me more of it")
OPTIONS = (("walk home now", "run"), ("call her", "write a letter"), ("go", "stay there"))
CATALOGUE = Catalogue.model_validate(
    {
        "name": "tiny",
        "axes": {"F": {"negative": "cold", "positive": "warm"}},
        "domains": ["d"],
        "items": {"F1": {"axis": "F", "label": "f"}},
    }
)


@dataclass(frozen=True, eq=False)
class Opened:
    """A tiny model as plain Hugging Face, and as the package loads it (None where it refuses)."""

    entry: Entry
    reference: Reference
    model: LanguageModel | None
    refusal: str

    @property
    def loaded(self) -> LanguageModel:
        assert self.model is not None, self.refusal
        return self.model


@cache
def opened(name: str) -> Opened:
    """The architecture's model, built and loaded once per session."""
    about = entry(name)
    plain = about.build()
    reference = Reference(plain, about.layers, byte_tokenizer(), about.rope_length is not None)
    try:
        model = load_model(copy.deepcopy(plain), tokenizer=byte_tokenizer(), device="cpu")
    except InputError as refusal:
        return Opened(about, reference, None, str(refusal))
    return Opened(about, reference, model, "")


def few_controls() -> Any:
    """A context in which the readout's validity check, not tested here, reads three scenarios."""
    return mock.patch("interp_culture.readout.validity.load_controls", dilemmas)


def dilemmas() -> ScenarioSet:
    """Three scenarios of unequal lengths, whose texts share more tokens than a stem needs."""
    return ScenarioSet(
        tuple(_dilemma(f"s{n}", "." * 7 * n, *options) for n, options in enumerate(OPTIONS)),
        CATALOGUE,
    )


def with_a_long_one(tokens: int) -> ScenarioSet:
    """The same, and one scenario that is longer than this many tokens."""
    long = _dilemma("long", ". Long ago" * (tokens // 10 + 1), "walk home", "stay")
    return ScenarioSet((*dilemmas(), long), CATALOGUE)


def _dilemma(name: str, tail: str, positive: str, negative: str) -> Scenario:
    return Scenario(
        id=name,
        axis="F",
        item="F1",
        domain="d",
        situation=f"It is late, and this is case {name}{tail}",
        positive=positive,
        negative=negative,
    )


# -- vectors --------------------------------------------------------------------------------------


@cache
def pushes_of(name: str) -> dict[str, tuple[Push, ...]]:
    """Vectors for an early, a middle and the last layer, and two at once at different tokens.

    Each is as large as the residual stream at its layer.
    """
    spread = expected_ends(name).std(dim=(0, 1, 3))
    layers = (0, (len(spread) - 1) // 2, len(spread) - 1)
    draw = torch.Generator().manual_seed(1)
    vectors = torch.randn(len(layers), opened(name).reference.width, generator=draw)
    vectors = vectors * spread[list(layers), None]
    early, middle, late = (Push(*at) for at in zip(layers, vectors, strict=True))
    prompt = replace(early, positions="prompt")
    answer = replace(late, positions="answer")
    return {"early": (early,), "middle": (middle,), "last": (late,), "two": (prompt, answer)}


def edits_of(pushes: Sequence[Push]) -> list[Edit]:
    return [Edit(p.layer, p.vector, float(p.strength), positions=p.positions) for p in pushes]


def unapplied(pushes: Sequence[Push]) -> list[Push]:
    return [replace(push, strength=0.0) for push in pushes]


# -- expected numbers, and those of the package ---------------------------------------------------


@cache
def expected_ends(name: str) -> Tensor:
    """Residual streams at the last token of raw texts: [scenario, pole, layer, d_model]."""
    return opened(name).reference.ends(dilemmas())


@cache
def expected_choices(name: str, readout: Readout, run: str) -> list[float]:
    """The reference's logit differences under a run of `pushes_of`, or "plain"."""
    pushes = pushes_of(name).get(run, ())
    return [float(opened(name).reference.choice(readout, s, pushes)) for s in dilemmas()]


@cache
def expected_texts(name: str, positions: str) -> list[str]:
    pushes = writing_push(name, positions)
    return [opened(name).reference.written(text, NEW_TOKENS, pushes) for text in ASKED]


def writing_push(name: str, positions: Any) -> tuple[Push, ...]:
    (push,) = pushes_of(name)["middle"]
    return (replace(push, strength=4.0, positions=positions),)


@cache
def steered_choices(name: str, readout: Readout) -> pd.DataFrame:
    """The package's logit differences, [scenario, run]: plain, steered and at strength 0."""
    runs: dict[str, list[Edit]] = {"plain": []}
    for run, pushes in pushes_of(name).items():
        runs[run] = edits_of(pushes)
        runs[f"{run} at 0"] = edits_of(unapplied(pushes))
    return by_run(read_runs(opened(name).loaded, dilemmas(), runs, readout=FORMS[readout]))


def by_run(table: pd.DataFrame) -> pd.DataFrame:
    return table.pivot(index="id", columns="run", values="logit_diff")


# -- checks ---------------------------------------------------------------------------------------


def error(actual: Any, expected: Any) -> float:
    """The largest difference, in standard deviations of the expected numbers."""
    actual = np.asarray(actual, dtype=float)
    expected = np.asarray(expected, dtype=float)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.abs(actual - expected).max() / expected.std())


def plain_error(case: Opened) -> float:
    """Of both readouts without edits, read alone."""
    errors = []
    for readout in READOUTS:
        table = read_runs(case.loaded, dilemmas(), {"plain": ()}, readout=FORMS[readout])
        errors.append(error(table.logit_diff, expected_choices(case.entry.name, readout, "plain")))
    return max(errors)


def steered_error(case: Opened) -> float:
    """Of both readouts under many runs, read in one call."""
    name = case.entry.name
    errors = []
    for readout in READOUTS:
        choices = steered_choices(name, readout)
        for run in ("plain", *pushes_of(name)):
            errors.append(error(choices[run], expected_choices(name, readout, run)))
    return max(errors)


def zero_error(case: Opened) -> float:
    """Of strength 0 against plain, times 100: the tolerance is a hundredth of the usual one."""
    errors = []
    for readout in READOUTS:
        choices = steered_choices(case.entry.name, readout)
        for run in pushes_of(case.entry.name):
            errors.append(100 * error(choices[f"{run} at 0"], choices["plain"]))
    return max(errors)


def residual_error(case: Opened) -> float:
    """Of the streams after every block at the last token of raw texts, and of steering vectors."""
    activations = read_activations(case.loaded, dilemmas())
    vectors = extract(case.loaded, dilemmas())["F"].direction
    expected = expected_ends(case.entry.name)
    means = (expected[:, 0] - expected[:, 1]).mean(0)
    errors = []
    for layer in range(len(means)):
        errors.append(error(activations.positive[:, layer], expected[:, 0, layer]))
        errors.append(error(activations.negative[:, layer], expected[:, 1, layer]))
        errors.append(error(vectors[layer], means[layer]))
    return max(errors)


def gradient_error(case: Opened) -> float:
    """Of first-order effects of the same vectors, against derivatives of the plain model."""
    runs = {run: p for run, p in pushes_of(case.entry.name).items() if len(p) == 1}
    edits = {run: edits_of(pushes) for run, pushes in runs.items()}
    errors = []
    for readout in READOUTS:
        table = predicted_runs(
            case.loaded, dilemmas(), {"plain": (), **edits}, readout=FORMS[readout]
        )
        choices = by_run(table)
        effects = choices[list(runs)].sub(choices["plain"], axis=0)
        pushes = [push for (push,) in runs.values()]
        slopes = [case.reference.slopes(readout, s, pushes) for s in dilemmas()]
        errors.append(error(effects, slopes))
    return max(errors)


def generation_error(case: Opened) -> float:
    """The share of texts that differ from those written token by token, without a cache."""
    wrong: list[bool] = []
    for positions in ("all", "prompt", "answer"):
        wrong += differing_texts(case, positions)
    return float(np.mean(wrong))


def uncached_error(case: Opened) -> float:
    """The same where the checkpoint's settings switch the cache off."""
    settings = case.loaded.bridge.original_model.generation_config
    with mock.patch.object(settings, "use_cache", False):
        return float(np.mean(differing_texts(case, "answer")))


def differing_texts(case: Opened, positions: str) -> list[bool]:
    """For each prompt, whether the package's text differs from the expected one.

    Both are written under a vector at these tokens.
    """
    name = case.entry.name
    prompts = [Prompt(text) for text in ASKED]
    edits = edits_of(writing_push(name, positions))
    texts = generate(case.loaded, prompts, NEW_TOKENS, edits)
    pairs = zip(texts, expected_texts(name, positions), strict=True)
    return [text != expected for text, expected in pairs]


CHECKS: dict[str, Callable[[Opened], float]] = {
    "readouts plain": plain_error,
    "steered": steered_error,
    "strength 0": zero_error,
    "residuals": residual_error,
    "gradients": gradient_error,
    "generation": generation_error,
    "without cache": uncached_error,
}


# -- table of results -----------------------------------------------------------------------------


def outcome(check: Callable[[Opened], float], case: Opened) -> str:
    """The result of a check in words, with its error."""
    try:
        relative_error = check(case)
    except InputError as refused:
        return f"refused ({str(refused)[:60]})"
    except Exception as crash:
        return f"crash ({type(crash).__name__})"
    if relative_error <= TOLERANCE:
        return f"right ({relative_error:.0e})"
    return f"**wrong** ({relative_error:.1e})"


def outcomes(about: Entry) -> list[str]:
    """The result of every check for an architecture; one entry where it cannot be loaded."""
    try:
        case = opened(about.name)
    except Exception as crash:
        return [f"crash at load ({type(crash).__name__}: {str(crash)[:60]})"]
    if case.model is None:
        return [f"refused at load ({case.refusal[:80]})"]
    return [outcome(check, case) for check in CHECKS.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    chosen = parser.parse_args().names or [e.name for e in ZOO]
    print("| architecture | expected | " + " | ".join(CHECKS) + " | s |")
    print("|---" * (len(CHECKS) + 3) + "|")
    for name in chosen:
        started = time.time()
        with few_controls():
            results = outcomes(entry(name))
        results += ["–"] * (len(CHECKS) - len(results))
        cells = [name, entry(name).expect, *results, f"{time.time() - started:.1f}"]
        print(f"| {' | '.join(cells)} |".replace("\n", " "), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
