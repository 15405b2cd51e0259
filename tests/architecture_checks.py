"""The package's numbers on a tiny model beside those of plain Hugging Face passes, as one error each.

`python tests/architecture_checks.py [NAME ...]` prints a table of what is right, wrong, refused or crashes.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from architecture_reference import Push, Readout, Reference
from conftest import byte_tokenizer
from zoo import ZOO, Entry, entry

from interp_culture.activations import read_activations
from interp_culture.errors import InputError
from interp_culture.generation import generate
from interp_culture.interventions import Edit
from interp_culture.loading import load_model
from interp_culture.model import LanguageModel
from interp_culture.prompts import Prompt
from interp_culture.readout import predicted_runs, read_runs
from interp_culture.scenarios import Catalogue, Scenario, ScenarioSet
from interp_culture.vectors import extract

# The largest error of a number, in standard deviations of what it is compared with.
TOLERANCE = 1e-3
READOUTS: tuple[Readout, ...] = ("letters", "continuation")
NEW_TOKENS = 8
ASKED = ("hello", "what shall we do today, and with whom", "tell me more of it")
OPTIONS = (("walk home now", "run"), ("call her", "write a letter"), ("go", "stay there"))


def dilemmas() -> ScenarioSet:
    """Three scenarios of unequal lengths, all of whose texts begin alike, for more tokens than a stem needs."""
    about = {
        "name": "tiny",
        "axes": {"F": {"negative": "cold", "positive": "warm"}},
        "domains": ["d"],
        "items": {"F1": {"axis": "F", "label": "f"}},
    }
    scenarios = tuple(
        dilemma(f"s{n}", f"It is late, and this is case {n}" + "." * 7 * n, *options)
        for n, options in enumerate(OPTIONS)
    )
    return ScenarioSet(scenarios, Catalogue.model_validate(about))


def dilemma(name: str, situation: str, positive: str, negative: str) -> Scenario:
    return Scenario(
        id=name,
        axis="F",
        item="F1",
        domain="d",
        situation=situation,
        positive=positive,
        negative=negative,
    )


def few_controls() -> Any:
    """A context in which the readout's own check, which is not tested here, reads three items."""
    return mock.patch("interp_culture.readout.load_controls", dilemmas)


@dataclass(frozen=True, eq=False)
class Opened:
    """A tiny model as the package loaded it, and as plain Hugging Face; no model where it was refused."""

    entry: Entry
    model: LanguageModel | None
    refusal: str
    reference: Reference
    width: int


@cache
def opened(name: str) -> Opened:
    """Each model is built and loaded once a session."""
    about = entry(name)
    plain = about.build()
    growing = about.rope_length is not None
    reference = Reference(plain, about.layers, byte_tokenizer(), growing)
    width = plain.config.get_text_config().hidden_size
    try:
        model = load_model(copy.deepcopy(plain), tokenizer=byte_tokenizer(), device="cpu")
    except InputError as error:
        return Opened(about, None, str(error), reference, width)
    return Opened(about, model, "", reference, width)


def error(found: Any, expected: Any) -> float:
    """The largest difference, in standard deviations of what is expected."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / expected.std())


def pushes_of(case: Opened) -> dict[str, tuple[Push, ...]]:
    """Sets of vectors to add: an early layer, a middle one, the last one, and two at once on other tokens."""
    last = len(case.reference.layers) - 1
    middle = last // 2
    draw = torch.Generator().manual_seed(1)
    vector = {layer: torch.randn(case.width, generator=draw) for layer in (0, middle, last)}
    return {
        "early": (Push(0, vector[0]),),
        "middle": (Push(middle, vector[middle]),),
        "last": (Push(last, vector[last]),),
        "two": (
            Push(0, vector[0], positions="prompt"),
            Push(last, vector[last], positions="answer"),
        ),
    }


def edits_of(pushes: Sequence[Push], strength: float = 1.0) -> list[Edit]:
    return [Edit(p.layer, p.vector, strength, positions=p.positions) for p in pushes]


def plain_error(case: Opened) -> float:
    """Both readouts of the plain model, and at strength 0."""
    pushes = pushes_of(case)["middle"]
    worst = 0.0
    for readout in READOUTS:
        expected = [float(case.reference.choice(readout, s)) for s in dilemmas()]
        runs = {"plain": (), "zero": edits_of(pushes, 0.0)}
        table = read_runs(case.model, dilemmas(), runs, readout=readout)
        for run in runs:
            worst = max(worst, error(table[table.run == run].logit_diff, expected))
    return worst


def steered_error(case: Opened) -> float:
    """Both readouts under several sets of vectors, which are read stacked."""
    runs = pushes_of(case)
    edits = {name: edits_of(pushes) for name, pushes in runs.items()}
    worst = 0.0
    for readout in READOUTS:
        table = read_runs(case.model, dilemmas(), edits, readout=readout)
        for name, pushes in runs.items():
            expected = [float(case.reference.choice(readout, s, pushes)) for s in dilemmas()]
            worst = max(worst, error(table[table.run == name].logit_diff, expected))
    return worst


def residual_error(case: Opened) -> float:
    """Residual streams after every block at the last token of raw texts, and their mean differences."""
    found = read_activations(case.model, dilemmas())
    expected = case.reference.ends(dilemmas())
    vectors = extract(case.model, dilemmas())["F"].direction
    means = (expected[:, 0] - expected[:, 1]).mean(0)
    worst = 0.0
    for layer in range(expected.shape[2]):
        for pole, ours in enumerate((found.positive, found.negative)):
            worst = max(worst, error(ours[:, layer], expected[:, pole, layer]))
        worst = max(worst, error(vectors[layer], means[layer]))
    return worst


def gradient_error(case: Opened) -> float:
    """First-order effects of the same vectors, which should be derivatives of the plain readout."""
    runs = {name: pushes for name, pushes in pushes_of(case).items() if len(pushes) == 1}
    edits = {"plain": (), **{name: edits_of(pushes) for name, pushes in runs.items()}}
    worst = 0.0
    for readout in READOUTS:
        table = predicted_runs(case.model, dilemmas(), edits, readout=readout)
        by_run = table.pivot(index="id", columns="run", values="logit_diff")
        ours = by_run[list(runs)].sub(by_run["plain"], axis=0).to_numpy()
        single = [push for (push,) in runs.values()]
        expected = [case.reference.slopes(readout, s, single) for s in dilemmas()]
        worst = max(worst, error(ours, expected))
    return worst


def generation_error(case: Opened) -> float:
    """The share of texts that are not what is written token by token, without a cache."""
    prompts = [Prompt(text) for text in ASKED]
    (pushed,) = pushes_of(case)["middle"]
    wrong = []
    for positions in ("all", "prompt", "answer"):
        pushes = [Push(pushed.layer, 2 * pushed.vector, positions=positions)]
        found = generate(case.model, prompts, NEW_TOKENS, edits_of(pushes))
        expected = [case.reference.written(text, NEW_TOKENS, pushes) for text in ASKED]
        wrong += [a != b for a, b in zip(found, expected, strict=True)]
    return float(np.mean(wrong))


CHECKS = {
    "readouts plain": plain_error,
    "steered": steered_error,
    "residuals": residual_error,
    "gradients": gradient_error,
    "generation": generation_error,
}


def outcome(check: Any, case: Opened) -> str:
    try:
        found = check(case)
    except InputError as refused:
        return f"refused ({str(refused)[:60]})"
    except Exception as crash:
        return f"crash ({type(crash).__name__})"
    return f"right ({found:.0e})" if found <= TOLERANCE else f"**wrong** ({found:.1e})"


def outcomes(about: Entry) -> list[str]:
    """What becomes of one architecture, a word for each check."""
    try:
        case = opened(about.name)
    except Exception as crash:
        return [f"crash at load ({type(crash).__name__}: {str(crash)[:80]})"] * len(CHECKS)
    if case.model is None:
        return [f"refused at load ({case.refusal[:60]})"] * len(CHECKS)
    return [outcome(check, case) for check in CHECKS.values()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    chosen = parser.parse_args().names or [e.name for e in ZOO]
    print("| architecture | expected | " + " | ".join(CHECKS) + " | s |")
    print("|---" * (len(CHECKS) + 3) + "|")
    for name in chosen:
        started = time.time()
        with few_controls():
            found = outcomes(entry(name))
        cells = [name, entry(name).expect, *found, f"{time.time() - started:.1f}"]
        print(f"| {' | '.join(cells)} |".replace("\n", " "), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
