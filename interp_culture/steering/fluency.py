"""The effect of steering on the model's language: KL on neutral text, perplexity, calibration."""

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

# Logits computed in one piece: 128 MB in float32. A few tensors of this size exist at a time.
LOGITS_AT_ONCE = 2**25
# Relative tolerance of a calibrated KL. The tolerance in log alpha is a tenth of it, since KL may
# grow as a high power of alpha.
TOLERANCE = 0.02
# The KL that counts as the smallest, since rounding may give 0 or less, which has no logarithm.
LEAST_KL = 1e-9
# The smallest first step of log alpha in the search for a bracket.
LEAST_STEP = 0.2


class BudgetError(InputError):
    """The KL stays below the budget at every strength up to the largest that was tried."""


def kl_on_neutral(
    model: LanguageModel, runs: Mapping[Any, Sequence[Edit]], texts: Sequence[str] | None = None
) -> pd.DataFrame:
    """KL(plain || steered) of the next token, over the whole vocabulary, on text that is read.

    It is `sum_v p(v) (log p(v) - log q(v))`, with p plain and q steered. It is 0 where steering
    changes nothing.

    Args:
        runs: edits by name. The texts count as prompts without options, so that edits with
            positions "answer" or "options" change nothing.
        texts: read without a chat template; by default the shipped neutral texts.

    Returns:
        One row a run and text: run, text (its index), kl (mean over the tokens of the text, nats
        per token) and n_tokens.

    Raises:
        InputError: no text, a text without a token, or edits that do not fit the model.

    >>> edits = ic.steer(vectors["X"], layers=[1, 2], alpha=2.0)
    >>> runs = {"plain": (), "steered": edits}
    >>> table = ic.kl_on_neutral(model, runs, texts=["Water boils at 100 degrees."])
    >>> table.kl.gt(0).tolist()
    [False, True]
    """
    texts = list(load_neutral().values()) if texts is None else texts
    sequences = model.tokenise_texts(texts)
    if not sequences:
        raise InputError("no text to read; give one text or more")
    for index, sequence in enumerate(sequences):
        if not sequence.prompt:
            raise InputError(
                f"text {index} is no token for {model.name}: {texts[index]!r}; leave it out"
            )
    # No shared stem, since its tokens would be counted once instead of once for each text.
    kl = score_stacks(
        model,
        [[sequence] for sequence in sequences],
        as_runs(runs),
        _divergence,
        "reading neutral text",
        share_stem=False,
    )
    rows = [
        (key, index, kl[key][index, 0, 0], len(sequence.prompt))
        for key in runs
        for index, sequence in enumerate(sequences)
    ]
    return pd.DataFrame(rows, columns=["run", "text", "kl", "n_tokens"])


def mean_kl(
    model: LanguageModel, runs: Mapping[Any, Sequence[Edit]], texts: Sequence[str] | None = None
) -> dict[Any, float]:
    """The mean of `kl_on_neutral` over the texts, by run.

    >>> mean_kl(model, {"plain": ()}, texts=["Water boils at 100 degrees."])["plain"] < 1e-6
    True
    """
    means = kl_on_neutral(model, runs, texts).groupby("run", sort=False).kl.mean()
    return dict(zip(runs, means.tolist(), strict=True))


def perplexity(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    runs: Mapping[Any, Sequence[Edit]],
) -> pd.DataFrame:
    """How well the model, under the edits of each run, predicts `texts` as answers to `prompts`.

    For the paper's perplexity, use the texts of `generate` with `max_new_tokens=128`.

    Args:
        texts: one for each prompt, which has no answer itself.
        runs: edits by name; no edits (`()`) is the plain model.

    Returns:
        One row a run and text: run, text (its index), cross_entropy (mean of -log p over the tokens
        of the text, nats), perplexity (its exp) and n_tokens. A text without a token has NaN.

    Raises:
        InputError: unequally many prompts and texts, a prompt with an answer, or edits that do not
            fit the model.

    >>> prompts = [Prompt("Is it late?")]
    >>> perplexity(model, prompts, ["Yes."], {"plain": (), "steered": edits})[["run", "n_tokens"]]
           run  n_tokens
    0    plain         4
    1  steered         4
    """
    sequences = _answered(model, prompts, texts)
    with_tokens = [index for index, sequence in enumerate(sequences) if sequence.answer]
    groups = [[sequences[index]] for index in with_tokens]
    scores = {}
    if groups:
        scores = score_runs(model, groups, as_runs(runs), answer_logprob, "reading answers")
    rows = []
    for key in runs:
        entropies = np.full(len(sequences), np.nan)
        if groups:
            logprobs = scores[key][:, 0, 0]
            n_tokens = scores[key][:, 0, 1]
            entropies[with_tokens] = -logprobs / n_tokens
        for index, sequence in enumerate(sequences):
            entropy = entropies[index]
            rows.append((key, index, entropy, np.exp(entropy), len(sequence.answer)))
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
    """The strength at which steering changes the model's language by a given KL divergence.

    Args:
        layers: steered together.
        budget: mean of `kl_on_neutral` over the texts, nats per token.
        texts: as `kl_on_neutral`.
        sign: 1 to steer toward the positive pole, -1 toward the negative one.
        high: the largest strength to try.

    Returns:
        alpha > 0: steering with `sign * alpha` has the KL `budget`, within 2%.

    Raises:
        BudgetError: no strength up to `high` reaches the budget; it is an InputError.
        InputError: a budget or `high` that is not above 0, or a sign that is neither 1 nor -1.

    >>> texts = ["Water boils at 100 degrees."]
    >>> alpha = ic.steering.calibrate(model, vectors["X"], [1, 2], 0.01, texts=texts)
    >>> edits = ic.steer(vectors["X"], [1, 2], alpha)
    >>> kl = ic.kl_on_neutral(model, {"steered": edits}, texts).kl.mean()
    >>> bool(abs(kl / 0.01 - 1) < 0.02)
    True
    """
    if budget <= 0 or high <= 0:
        raise InputError(f"budget ({budget:g}) and high ({high:g}) must be above 0")
    if sign not in (1, -1):
        raise InputError(f"sign is {sign}; give 1, toward the positive pole, or -1")

    # The search and Brent's method ask again for the ends of the bracket.
    @cache
    def log_excess(log_alpha: float) -> float:
        edits = steer(vectors, layers, sign * exp(log_alpha))
        kl = float(kl_on_neutral(model, {"": edits}, texts)["kl"].mean())
        return log(max(kl, LEAST_KL) / budget)

    # In log alpha and log KL, where KL ~ alpha^2 is a straight line.
    return exp(_solve(log_excess, budget, log(high)))


def _divergence(
    model: LanguageModel, plain: Trace, steered: Float[Tensor, "run row pos d_model"]
) -> Float[Tensor, "run path 1"]:
    """The mean KL over the tokens of each path, from the final residual streams."""
    paths = plain.batch.paths
    lengths = torch.tensor([len(path.positions) for path in paths])
    path_of_token = torch.repeat_interleave(torch.arange(len(paths)), lengths)
    rows = torch.tensor([path.row for path in paths])[path_of_token]
    positions = torch.from_numpy(np.concatenate([path.positions for path in paths]))
    device = steered.device
    sums = torch.zeros(len(steered), len(paths), dtype=torch.float64, device=device)
    # The logits of all tokens over the whole vocabulary would not fit in memory.
    tokens_at_once = max(1, LOGITS_AT_ONCE // model.text_config.vocab_size)
    for piece in torch.arange(len(rows)).split(tokens_at_once):
        tokens = (rows[piece], positions[piece])
        path = path_of_token[piece].to(device)
        log_p = model.logits(plain.final[tokens]).log_softmax(-1)
        p = log_p.exp()
        for run, final in enumerate(steered):
            log_q = model.logits(final[tokens]).log_softmax(-1)
            sums[run].index_add_(0, path, (p * (log_p - log_q)).sum(-1).double())
    return (sums / lengths.to(device))[..., None]


def _answered(
    model: LanguageModel, prompts: Sequence[Prompt], texts: Sequence[str]
) -> list[TokenSequence]:
    """The tokens of each prompt with its text as the answer."""
    if len(prompts) != len(texts):
        raise InputError(
            f"{len(prompts)} prompts and {len(texts)} texts; give the text written to each prompt"
        )
    if any(prompt.answer for prompt in prompts):
        raise InputError(
            "a prompt has an answer already; give prompts without one and the answers as texts"
        )
    # Without a template the model writes the space that `tokenise_all` puts before an answer.
    space = "" if model.tokenizer.chat_template else " "
    answered = [
        replace(prompt, answer=text.removeprefix(space))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    return model.tokenise_all(answered)


def _solve(log_excess: Callable[[float], float], budget: float, log_high: float) -> float:
    """The log of alpha at which the log of KL over budget is 0.

    The search goes from alpha 1 up or down to a bracket; within it Brent's method finds the root.
    """
    from scipy.optimize import brentq

    low = high = min(0.0, log_high)
    # For small strengths KL ~ alpha^2, so that half the log excess is about the distance.
    step = max(abs(log_excess(low)) / 2, LEAST_STEP)
    while log_excess(high) < 0:
        if high >= log_high:
            reached = budget * exp(log_excess(log_high))
            raise BudgetError(
                f"no strength up to {exp(log_high):g} reaches the budget, a KL of {budget:g} nats "
                f"per token: {exp(log_high):g} gives {reached:.3g}; choose another budget, other "
                "layers or a larger `high`"
            )
        low = high
        high = min(log_high, high + step)
        step *= 2
    while log_excess(low) > 0:
        high = low
        low -= step
        step *= 2
    # The first strength met the budget exactly, and Brent's method needs a bracket.
    if low == high:
        return low
    return brentq(log_excess, low, high, xtol=TOLERANCE / 10)
