"""Read a model's choice between two poles, plain or under edits, exactly or to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp_culture.engine.gradients import predict_runs
from interp_culture.engine.interventions import Edit, as_edits, as_runs
from interp_culture.engine.logprobs import Score
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.readout.choices import Values, choice_table, choice_weights, with_choice
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.validity import check_readout, resolve_format, warn_of
from interp_culture.readout.values import raw_values, token_groups
from interp_culture.scenarios.scenario import ScenarioSet


def probe(
    model: LanguageModel,
    scenarios: ScenarioSet,
    *,
    edits: Edit | Sequence[Edit] = (),
    readout: Readout | ReadoutFormat = "letters",
) -> pd.DataFrame:
    """The model's choice on each scenario, plain or under `edits`.

    Warns with ReadoutWarning where the readout fails its check on this model, and once where it
    passes with a caution.

    Args:
        edits: what `steer` gives, or one Edit.
        readout: "letters", "continuation", or a `ReadoutFormat` with its order of the options,
            labels, template, answer prefix, thoughts and system message. The prefix of letters by
            name is chosen by `resolve_format`.

    Returns:
        One row a scenario: id, axis, item, domain, logit_diff (positive minus negative pole; nats,
        for "continuation" nats per token), p_positive (its sigmoid). For letters also letter_mass
        (probability on the two letters), position_bias (first label minus second, logits) and
        consistent (whether both orders prefer the same option). For continuation also
        logprob_positive and logprob_negative (nats per token).

    Raises:
        InputError: no scenario, a bare pair of texts, edits or a prompt that do not fit the model,
            options that the tokenizer cannot tell apart.

    >>> few = test.filter(domain="family")
    >>> table = ic.probe(model, few, readout="continuation")
    >>> list(table)
    ['id', 'axis', 'item', 'domain', 'logit_diff', 'p_positive', 'logprob_positive',
     'logprob_negative']
    """
    form = as_format(readout)  # unknown words are errors before the check takes its time
    warn_of(model, form, again=True)
    table = read_runs(model, scenarios, {"": as_edits(edits)}, readout=form)
    return table.drop(columns="run")


def read_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout | ReadoutFormat,
) -> pd.DataFrame:
    """The choice on each scenario under many sets of edits.

    This is faster than `probe` for each of them: a batch is traced once, and each run resumes from
    its first edited layer. Warns with ReadoutWarning, once a model and before the work, where the
    readout fails its check.

    Args:
        runs: edits by key; an empty list is the plain model.

    Returns:
        The table of `probe` with the run's key in the column `run`, runs in the order given.

    >>> few = test.filter(domain="family")
    >>> table = read_runs(model, few, {"plain": (), "steered": edits}, readout="continuation")
    >>> table.run.value_counts().to_dict()
    {'plain': 10, 'steered': 10}
    """
    form = as_format(readout)
    runs = as_runs(runs)
    warn_of(model, form)
    letters = check_readout(model, form).letters
    form = resolve_format(model, form)
    raw = raw_values(model, scenarios, form, runs)
    tables = {key: choice_table(scenarios, values, form, letters) for key, values in raw.items()}
    return _by_run(tables)


def predicted_runs(
    model: LanguageModel,
    scenarios: ScenarioSet,
    runs: Mapping[Any, Edit | Sequence[Edit]],
    *,
    readout: Readout | ReadoutFormat,
) -> pd.DataFrame:
    """`read_runs` to first order in the edits, from one backward pass for all runs.

    Returns:
        run, id, axis, item, domain, logit_diff and p_positive, as `read_runs`.

    Raises:
        InputError: as for `probe`, and a format with thoughts, which are other ones in each run.

    >>> few = test.filter(domain="family")
    >>> table = predicted_runs(model, few, {"steered": edits}, readout="continuation")
    >>> list(table)
    ['id', 'axis', 'item', 'domain', 'logit_diff', 'p_positive', 'run']
    """
    form = as_format(readout)
    warn_of(model, form)
    groups, score, weights = logit_diff_score(model, scenarios, form)
    title = f"gradients of {form.readout}"
    predicted = predict_runs(model, groups, as_runs(runs), score, weights, title)
    frame = scenarios.frame()
    return _by_run({key: with_choice(frame, diff) for key, diff in predicted.items()})


def logit_diff_score(
    model: LanguageModel, scenarios: ScenarioSet, form: ReadoutFormat
) -> tuple[list[list[TokenSequence]], Score, Values]:
    """A differentiable readout: the token sequences of each scenario, their score, and weights.

    The sum of a scenario's weighted scores is its logit difference, positive minus negative pole.
    """
    letters = check_readout(model, form).letters
    form = resolve_format(model, form)
    groups, score = token_groups(model, scenarios, form)
    n_tokens = np.array([[len(s.answer) for s in members] for members in groups], dtype=float)
    return groups, score, choice_weights(scenarios, form, letters, n_tokens)


def _by_run(tables: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """One table, with the run's key (a tuple too) in the column `run`."""
    # A list, since pandas would take a tuple for a column of values.
    keyed = [table.assign(run=[key] * len(table)) for key, table in tables.items()]
    return pd.concat(keyed, ignore_index=True)
