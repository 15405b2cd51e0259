"""What steering does to the model's language: divergence on neutral text, perplexity, the strength for a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.forward import Trace
from interp_culture.engine.interventions import Edit, as_runs
from interp_culture.engine.logprobs import answer_logprob, score_runs, score_stacks
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError
from interp_culture.scenarios.neutral import load_neutral
from interp_culture.steering.edits import steer
from interp_culture.steering.vectors import SteeringVectors

LOGITS_AT_ONCE = 2**25  # 128 MB in float32; there are a few such tensors at a time
TOLERANCE = 0.02  # of a calibrated KL; a tenth of it in log alpha


class BudgetError(InputError):
    """No strength up to the largest one that is tried costs the budget."""


LEAST_KL, BRACKET = 1e-9, 0.2  # rounding may give 0 or less; least step of log alpha


def kl_on_neutral(
    model: LanguageModel, runs: Mapping[Any, Sequence[Edit]], texts: Sequence[str] | None = None
) -> pd.DataFrame:
    """KL(plain || steered) of the next token, over the whole vocabulary, on text that the model reads.

    `sum_v p(v) (log p(v) - log q(v))`, p plain and q steered; 0 where steering changes nothing.

    Args:
        runs: edits by name. The texts are prompts without options: edits of "answer" or "options" touch nothing.
        texts: plain texts, read without a chat template; the shipped neutral ones by default.

    Returns:
        One row a run and text: run, text (its index), kl (mean over all of its tokens, nats per token), n_tokens.
    """
    texts = list(load_neutral().values()) if texts is None else texts
    sequences = model.tokenise_texts(texts)
    if not sequences:
        raise InputError("no text to read")
    for index, sequence in enumerate(sequences):
        if not sequence.prompt:
            raise InputError(f"text {index} is no token for {model.name}: {texts[index]!r}")
    # The tokens of a shared stem would be read from once, not once a text.
    found = score_stacks(
        model,
        [[s] for s in sequences],
        as_runs(runs),
        _divergence,
        "reading neutral text",
        share_stem=False,
    )
    rows = [
        (key, index, found[key][index, 0, 0], len(sequence.prompt))
        for key in runs
        for index, sequence in enumerate(sequences)
    ]
    return pd.DataFrame(rows, columns=["run", "text", "kl", "n_tokens"])


def perplexity(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    runs: Mapping[Any, Sequence[Edit]],
) -> pd.DataFrame:
    """How well the model, under each run's edits, predicts `texts`, written in answer to `prompts`.

    The paper's is that of the first 128 generated tokens: texts from `generate` with `max_new_tokens=128`. An empty
    run (`()`) is the plain model's view of them.

    Returns:
        One row a run and text: run, text (its index), cross_entropy (mean of -log p over the text's tokens, nats),
        perplexity (its exp), n_tokens. A text without a token has NaN.
    """
    sequences = _answered(model, prompts, texts)
    written = [index for index, sequence in enumerate(sequences) if sequence.answer]
    groups = [[sequences[index]] for index in written]
    found = (
        score_runs(model, groups, as_runs(runs), answer_logprob, "reading answers")
        if groups
        else {}
    )
    rows = []
    for key in runs:
        entropies = np.full(len(sequences), np.nan)
        if groups:
            entropies[written] = -found[key][:, 0, 0] / found[key][:, 0, 1]
        of_text = enumerate(zip(sequences, entropies, strict=True))
        rows += [
            (key, index, entropy, np.exp(entropy), len(s.answer)) for index, (s, entropy) in of_text
        ]
    return pd.DataFrame(rows, columns=["run", "text", "cross_entropy", "perplexity", "n_tokens"])


def calibrate(
    model: LanguageModel,
    vectors: SteeringVectors,
    layers: Sequence[int],
    budget: float,
    *,
    texts: Sequence[str] | None = None,
    sign: int = 1,
    high: float = 64.0,
) -> float:
    """The strength alpha > 0 at which steering with `sign * alpha` costs `budget` nats per token, within 2%.

    The cost is the mean of `kl_on_neutral` over the texts; strengths are tried from 1 on, up or down. Raises
    BudgetError, an InputError, for a budget that is not reached up to `high`.
    """
    if budget <= 0 or high <= 0:
        raise InputError(f"budget ({budget:g}) and high ({high:g}) must be above 0")
    if sign not in (1, -1):
        raise InputError(f"sign is {sign}: give 1, toward the positive pole, or -1")

    @cache
    def excess(log_alpha: float) -> float:
        edits = steer(vectors, layers, sign * exp(log_alpha))
        found = float(kl_on_neutral(model, {"": edits}, texts)["kl"].mean())
        return log(max(found, LEAST_KL) / budget)

    return exp(_solve(excess, budget, log(high)))


def _divergence(
    model: LanguageModel, kept: Trace, finals: Float[Tensor, "run row pos d_model"]
) -> Float[Tensor, "run path 1"]:
    """The mean over each path's tokens; whole rows of logits exist for a few of them at a time."""
    paths = kept.batch.paths
    lengths = torch.tensor([len(p.positions) for p in paths])
    of_token = torch.repeat_interleave(torch.arange(len(paths)), lengths)
    rows = torch.tensor([p.row for p in paths])[of_token]
    positions = torch.from_numpy(np.concatenate([p.positions for p in paths]))
    sums = torch.zeros(len(finals), len(paths), dtype=torch.float64, device=finals.device)
    for piece in torch.arange(len(rows)).split(
        max(1, LOGITS_AT_ONCE // model.text_config.vocab_size)
    ):
        at, path = (rows[piece], positions[piece]), of_token[piece].to(finals.device)
        plain = model.logits(kept.final[at]).log_softmax(-1)
        p = plain.exp()
        for run, final in enumerate(finals):
            steered = model.logits(final[at]).log_softmax(-1)
            sums[run].index_add_(0, path, (p * (plain - steered)).sum(-1).double())
    return (sums / lengths.to(finals.device))[..., None]


def _answered(
    model: LanguageModel, prompts: Sequence[Prompt], texts: Sequence[str]
) -> list[TokenSequence]:
    if len(prompts) != len(texts):
        raise InputError(
            f"{len(prompts)} prompts and {len(texts)} texts: give the text written to each prompt"
        )
    if any(prompt.answer for prompt in prompts):
        raise InputError(
            "a prompt has an answer already; give prompts without one and the answers as texts"
        )
    # Without a template the model writes the space that `tokenise_all` puts before an answer.
    space = "" if model.tokenizer.chat_template else " "
    pairs = zip(prompts, texts, strict=True)
    return model.tokenise_all(
        [replace(prompt, answer=text.removeprefix(space)) for prompt, text in pairs]
    )


def _solve(excess: Callable[[float], float], budget: float, top: float) -> float:
    """The log of alpha at which the log of cost over budget is 0: from alpha 1 to a bracket, then Brent's method."""
    from scipy.optimize import brentq

    low = high = min(0.0, top)
    step = max(abs(excess(low)) / 2, BRACKET)  # for small strengths KL ~ alpha^2
    while excess(high) < 0:
        if high >= top:
            raise BudgetError(
                f"no strength up to {exp(top):g} gives the budget, a KL of {budget:g} nats per token: "
                f"{exp(top):g} gives {budget * exp(excess(top)):.3g}; choose another budget, other layers or a larger "
                "`high`"
            )
        low, high, step = high, min(top, high + step), 2 * step
    while excess(low) > 0:
        low, high, step = low - step, low, 2 * step
    return brentq(excess, low, high, xtol=TOLERANCE / 10) if low < high else low
