"""Answers that the model samples under steering, and how well the plain model predicts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.engine.generation import generate_runs
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import Estimate, means_by_axis
from interp_culture.steering.fluency import perplexity


def situation_prompts(scenarios: ScenarioSet, n: int) -> list[Prompt]:
    """Open questions ("... What would you do?") about n situations, spread evenly over the set.

    Fewer than n where there are fewer scenarios.

    >>> [prompt.user.endswith("What would you do?") for prompt in situation_prompts(test, 2)]
    [True, True]
    """
    step = max(1, len(scenarios) // n)
    spread = list(scenarios)[::step][:n]
    return [Prompt(f"{scenario.situation} What would you do?") for scenario in spread]


def sample_answers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    runs: Mapping[Any, Sequence[Edit]],
    max_new_tokens: int = 128,
    *,
    temperature: float = 0.7,
    seed: int = 42,
) -> pd.DataFrame:
    """One sampled answer per run and prompt, scored by the plain and by the writing model.

    The defaults for length and temperature are the paper's (section 4.5).

    Args:
        runs: edits by key; no edits (`()`) is the plain model.

    Returns:
        run, prompt, text, entropy_plain and entropy_steered: the cross-entropy of the text for the
        plain model and under the run's own edits, nats per token; NaN for an empty answer.

    >>> prompts = situation_prompts(test, 2)
    >>> answers = sample_answers(model, prompts, {"plain": (), "steered": edits}, max_new_tokens=4)
    >>> answers.run.tolist()
    ['plain', 'plain', 'steered', 'steered']
    """
    written = generate_runs(
        model, prompts, runs, max_new_tokens, temperature=temperature, seed=seed
    )
    tables = []
    for key, texts in written.items():
        readers = {"entropy_plain": (), "entropy_steered": runs[key]}
        scored = perplexity(model, prompts, texts, readers)
        entropies = scored.pivot(index="text", columns="run", values="cross_entropy")
        asked = [prompt.user for prompt in prompts]
        answers = pd.DataFrame({"run": [key] * len(texts), "prompt": asked, "text": texts})
        tables.append(answers.join(entropies))
    return pd.concat(tables, ignore_index=True)


def answer_perplexities(answers: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Perplexity of sampled answers per group, with intervals (95%, bootstrap over prompts).

    Args:
        answers: what `sample_answers` returned, with the columns `by` and method; the rows whose
            method is "plain" are the plain model's own answers.
        by: the columns of a group.

    Returns:
        One row per group, which is the index. perplexity_plain and perplexity_steered: exp of the
        mean cross-entropy. rise: entropy_plain minus that of the plain model's own answers to the
        same prompts, nats per token. Each with its interval (`NAME_low`, `NAME_high`).

    >>> prompts = situation_prompts(test, 6)
    >>> answers = sample_answers(model, prompts, {"plain": (), "steered": edits}, max_new_tokens=4)
    >>> by_run = answer_perplexities(answers.assign(method=answers.run), by=["run"])
    >>> by_run.index.tolist(), float(by_run.rise["plain"])
    (['plain', 'steered'], 0.0)
    """
    is_plain = answers.method == "plain"
    plain = answers[is_plain].groupby("prompt").entropy_plain.mean()
    compared = answers.assign(rise=answers.entropy_plain - answers.prompt.map(plain))
    columns = ("entropy_plain", "entropy_steered", "rise")
    means = pd.concat([mean_intervals(compared, name, "prompt", by) for name in columns], axis=1)
    # After the mean, not before: a perplexity is the exponential of a mean cross-entropy.
    exponentials = np.exp(means.filter(like="entropy"))
    return means.assign(**exponentials).rename(
        columns=lambda name: name.replace("entropy", "perplexity")
    )


def mean_intervals(
    table: pd.DataFrame, value: str, unit: str, by: Sequence[str], seed: int = 42
) -> pd.DataFrame:
    """The mean of a column per group, with its interval (95%, bootstrap over units).

    Args:
        value: the column; rows in which it is NaN are left out.
        unit: the column that names what is drawn with replacement, for example the prompt.
        by: the columns of a group.

    Returns:
        `value`, `value_low` and `value_high` per group, which is the index. The interval is NaN for
        groups of fewer than six rows.

    >>> table = pd.DataFrame({"run": "a", "prompt": range(6), "rise": 0.5})
    >>> mean_intervals(table, "rise", unit="prompt", by=["run"])
         rise  rise_low  rise_high
    run
    a     0.5       0.5        0.5
    """
    rows = []
    for keys, group in table.dropna(subset=[value]).groupby(list(by), sort=True):
        one_stratum = np.full(len(group), "")
        means = means_by_axis(group[value].to_numpy(), one_stratum, group[unit].to_numpy(), seed)
        estimate = Estimate.of(means[""][0], means[""][1:])
        rows.append((*keys, estimate.value, estimate.low, estimate.high))
    columns = [*by, value, f"{value}_low", f"{value}_high"]
    return pd.DataFrame(rows, columns=columns).set_index(list(by))
