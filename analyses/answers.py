"""What the model writes under steering, and how well that is predicted: for `cost` and `pca_vs_mean_diff`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import interp_culture as ic

TEMPERATURE = 0.7
N_PROMPTS = 8, 3  # the second in a brief study
NAMES = ["steered", "method", "alpha"]
Runs = dict[tuple[str, str, float], list[ic.Edit]]
PLAIN: Runs = {("", "plain", 0.0): []}


def written(study: ic.Study, runs: Runs, n_tokens: int) -> pd.DataFrame:
    """What each run writes in answer to situations, at the paper's temperature.

    Args:
        n_tokens: at most; a brief study takes an eighth.

    Returns:
        steered, method, alpha, prompt, text, entropy_plain and entropy_steered (cross-entropy of the text for the
        plain model and for the one that wrote it, nats per token; NaN where nothing was written).
    """
    n_prompts, n_tokens = (
        N_PROMPTS[study.config.brief],
        n_tokens // 8 if study.config.brief else n_tokens,
    )
    some = list(study.some)[:: max(1, len(study.some) // n_prompts)][:n_prompts]
    prompts = [ic.Prompt(f"{s.situation} What would you do?") for s in some]
    wrote = ic.engine.generate_runs(
        study.model, prompts, runs, n_tokens, temperature=TEMPERATURE, seed=study.config.seed
    )
    parts = []
    for key, texts in wrote.items():
        scored = ic.steering.perplexity(
            study.model, prompts, texts, {"entropy_plain": (), "entropy_steered": runs[key]}
        )
        told = {"run": [key] * len(texts), "prompt": [p.user for p in prompts], "text": texts}
        parts.append(
            pd.DataFrame(told).join(
                scored.pivot(index="text", columns="run", values="cross_entropy")
            )
        )
    return ic.readout.with_keys(pd.concat(parts, ignore_index=True), NAMES)


def perplexities(texts: pd.DataFrame, by: Sequence[str] = NAMES) -> pd.DataFrame:
    """What `written` gave, by group (the index), each with its bootstrap interval over prompts (`_low`, `_high`):

    perplexity_plain and perplexity_steered (exp of the mean cross-entropy), and rise (of entropy_plain over that of the
    plain model's own answers to the same prompts, nats per token).
    """
    before = texts[texts.method == "plain"].set_index("prompt").entropy_plain
    raised = texts.assign(rise=texts.entropy_plain - texts.prompt.map(before))
    values = ("entropy_plain", "entropy_steered", "rise")
    found = pd.concat([averages(raised, value, "prompt", by) for value in values], axis=1)
    entropies = found.filter(like="entropy")
    return found.assign(**np.exp(entropies)).rename(
        columns=lambda name: name.replace("entropy", "perplexity")
    )


def averages(table: pd.DataFrame, value: str, unit: str, by: Sequence[str] = NAMES) -> pd.DataFrame:
    """The mean of `value` in every group (the index) with its interval, a bootstrap over what `unit` names."""
    known = table.dropna(subset=[value])
    found = ic.coupling.effects(known.assign(axis="", item=known[unit]), by, value).set_index(
        list(by)
    )
    return found[["effect", "low", "high"]].set_axis(
        [value, f"{value}_low", f"{value}_high"], axis=1
    )
