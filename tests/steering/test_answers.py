"""Sampled answers: their prompts, entropies against `perplexity`, means and intervals by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.answers import (
    answer_perplexities,
    mean_intervals,
    sample_answers,
    situation_prompts,
)
from interp_culture.steering.fluency import perplexity


def test_prompts_are_spread_over_the_set(few: ScenarioSet) -> None:
    prompts = situation_prompts(few, 4)
    spread = few.scenarios[::5]
    assert [p.user for p in prompts] == [f"{s.situation} What would you do?" for s in spread]
    assert len(situation_prompts(few, 1000)) == len(few)


def test_each_answer_is_scored_by_the_plain_model_and_by_its_writer(tiny: LanguageModel) -> None:
    prompts = [Prompt("Why?"), Prompt("How are you?")]
    vector = torch.ones(tiny.d_model)
    runs = {"plain": (), "steered": (Edit(1, vector, 1.0),)}
    answers = sample_answers(tiny, prompts, runs, 4)
    assert list(answers.columns) == ["run", "prompt", "text", "entropy_plain", "entropy_steered"]
    by_run = answers.groupby("run")
    plain = by_run.get_group("plain")
    assert np.allclose(plain.entropy_plain, plain.entropy_steered, equal_nan=True)
    steered = by_run.get_group("steered")
    scored = perplexity(tiny, prompts, list(steered.text), {"": runs["steered"]})
    assert np.allclose(steered.entropy_steered, scored.cross_entropy, equal_nan=True)


def by_hand() -> pd.DataFrame:
    """Eight prompts; the steered answers cost the plain model one nat more than its own."""
    rows = [
        (method, f"p{n}", 1.0 + n / 10 + extra, 1.0)
        for method, extra in (("plain", 0.0), ("mean_diff", 1.0))
        for n in range(8)
    ]
    return pd.DataFrame(rows, columns=["method", "prompt", "entropy_plain", "entropy_steered"])


def test_perplexity_is_exp_of_the_mean_and_the_rise_is_paired_by_prompt() -> None:
    table = answer_perplexities(by_hand().assign(steered=""), ["steered", "method"])
    steered = table.loc[("", "mean_diff")]
    assert steered.perplexity_plain == pytest.approx(np.exp(1 + 0.35 + 1))
    assert steered.perplexity_plain_low < steered.perplexity_plain < steered.perplexity_plain_high
    assert [steered.rise, steered.rise_low, steered.rise_high] == pytest.approx([1, 1, 1])
    assert table.loc[("", "plain")].rise == pytest.approx(0)


def test_undefined_values_are_left_out_and_few_have_no_interval() -> None:
    table = by_hand().assign(steered="")
    table.loc[table.index[:3], "entropy_plain"] = np.nan
    means = mean_intervals(table, "entropy_plain", "prompt", ["steered", "method"])
    plain = means.loc[("", "plain")]
    assert plain.entropy_plain == pytest.approx(1.5)
    assert np.isnan(plain.entropy_plain_low)
    assert means.loc[("", "mean_diff")].notna().all()
