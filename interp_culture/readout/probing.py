"""Reading a model's choice between two poles: letter logits or the likelihood of the options' words.

Both readouts give a logit difference, positive minus negative pole, and `p_positive = sigmoid(logit_diff)`
(paper, equation 2). Neither is taken at its word: `check_readout` measures whether it can tell right from
wrong on control items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.engine.gradients import predict_runs
from interp_culture.engine.interventions import Edit, as_edits, as_runs
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import System, system_text
from interp_culture.readout.choices import choice_table, choice_weights, with_choice
from interp_culture.readout.formats import Form, Readout, raw_values, token_groups
from interp_culture.readout.prompts import Labels, Order, Template
from interp_culture.readout.validity import check_readout, warn_of
from interp_culture.scenarios.scenario import ScenarioSet


def probe(
    model: LanguageModel,
    scenarios: ScenarioSet,
    *,
    edits: Edit | Sequence[Edit] = (),
    readout: Readout = "letters",
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """The model's choice on each scenario, plain or under `edits`.

    Args:
        readout: "letters" compares the logits of the options' letters after Eq. 1's prompt; "continuation" the
            mean log-probability per token of the options' words as the answer.
        order: "both" shows the options in both orders and averages the logit difference; "random" is the
            paper's (one order per scenario, drawn with `seed`). Letters only.
        edits: what `steer` gives, or one Edit.
        system: a persona or a text, put before the situation as the system message.
        labels: what the options are called; "1/2" and "X/Y" are the control for "A/B". Letters only.

    Returns:
        One row a scenario: id, axis, item, domain, logit_diff (positive minus negative; nats, of
        "continuation" nats per token), p_positive; for letters also letter_mass, position_bias (A minus B,
        logits) and consistent; for continuation logprob_positive and logprob_negative (nats per token).
        Warns with ReadoutWarning where the readout fails its check on this model.
    """
    # Unknown words are errors before the check takes its time.
    Form(readout, order, system_text(system), seed, labels)
    warn_of(model, readout, labels, again=True)
    runs = {"": as_edits(edits)}
    table = read_runs(
        model,
        scenarios,
        runs,
        readout=readout,
        order=order,
        system=system,
        seed=seed,
        labels=labels,
    )
    return table.drop(columns="run")


def read_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
    template: Template = "paper",
) -> pd.DataFrame:
    """The readout under many sets of edits: each batch is traced once, and each run resumes from its first layer.

    `template` words the letters' prompt (one of LETTER_TEMPLATES); how the letters are spelled is chosen with the
    default one. Returns the table of `probe` with the run's key in the column `run`, runs in the order given.
    Warns with ReadoutWarning, once for a model, where the readout fails its check: before the work.
    """
    form = Form(readout, order, system_text(system), seed, labels, template)
    runs = as_runs(runs)
    warn_of(model, readout, labels)
    raw = raw_values(model, scenarios, form, runs)
    letters = check_readout(model, readout, labels).letters
    return _by_run(
        {key: choice_table(scenarios, values, form, letters) for key, values in raw.items()}
    )


def predicted_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout,
    order: Order = "both",
    system: System = None,
    seed: int = 42,
    labels: Labels = "A/B",
) -> pd.DataFrame:
    """`read_runs` to first order in the edits: one backward pass stands for all runs. Only the choice is given."""
    form = Form(readout, order, system_text(system), seed, labels)
    warn_of(model, readout, labels)
    groups, score = token_groups(model, scenarios, form)
    n_tokens = np.array([[len(s.answer) for s in members] for members in groups], dtype=float)
    weights = choice_weights(
        scenarios, form, check_readout(model, readout, labels).letters, n_tokens
    )
    predicted = predict_runs(
        model, groups, as_runs(runs), score, weights, f"gradients of {readout}"
    )
    frame = scenarios.frame()
    return _by_run({key: with_choice(frame, diff) for key, diff in predicted.items()})


def _by_run(tables: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """One table, with the run's key (a tuple too) in the column `run`."""
    return pd.concat(
        [table.assign(run=[key] * len(table)) for key, table in tables.items()], ignore_index=True
    )
