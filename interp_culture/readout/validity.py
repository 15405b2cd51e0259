"""Check a readout on control items, and choose what the answer of a letters readout begins with."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pandas as pd

from interp_culture.engine.foreign_hooks import without_hooks
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.choices import Values, choice_table, choose_letters
from interp_culture.readout.formats import Readout, ReadoutFormat, as_format
from interp_culture.readout.prompts import PREFIXES
from interp_culture.readout.values import has_letters, raw_values, values_by_prefix
from interp_culture.readout.verdict import MIN_MASS, Validity, judge
from interp_culture.scenarios.files import load_controls
from interp_culture.scenarios.scenario import ScenarioSet

# Items 1, 3, 5, ... of the control set choose the prefix, and items 2, 4, 6, ... judge it. The two
# kinds of items, facts and common sense, are equally many in both halves.
CHOICE_HALF = slice(0, None, 2)
HELD_OUT_HALF = slice(1, None, 2)


class ReadoutWarning(UserWarning):
    """The readout failed its validity check on this model, or passed it with a caution."""


def check_readout(model: LanguageModel, readout: Readout | ReadoutFormat) -> Validity:
    """Measure a readout's validity on the shipped control items, once a model.

    The model is read plain, without a system message, in both orders and the default template: of a
    format only the readout, the labels, the answer prefix and the thoughts count. Hooks that
    somebody has put on the model are taken off meanwhile, since validity is a property of the model
    itself.

    Letters without a given prefix are read with each of `PREFIXES`. Every second control item
    chooses: of the prefixes with enough probability on the letters (`MIN_MASS`), the one with the
    largest sum of accuracy and order consistency. Where none has enough, the one with the most is
    taken. Ties go to the first. The verdict is measured on the other items, and fails too if the
    accuracy on all items together is no better than chance.

    With `order="random"` what is a caution with both orders is a failure: a preference for a letter
    cancels only in the mean of both.

    >>> validity = ic.check_readout(model, "continuation")
    >>> validity.n, validity.ok  # a model with random weights fails the check
    (52, False)
    >>> ic.check_readout(model, "letters").n_choice  # the other 26 chose the prefix
    26
    """
    form = as_format(readout)
    key = _as_checked(form)
    measured = model.readout_checks.validity
    if key not in measured:
        measured[key] = _measure(model, key)
    is_one_order = form.readout == "letters" and form.order == "random"
    return measured[key].in_one_order() if is_one_order else measured[key]


def resolve_format(model: LanguageModel, readout: Readout | ReadoutFormat) -> ReadoutFormat:
    """The format with the answer prefix that it has on this model: as given, or chosen by rule.

    The choice is that of `check_readout`. It is made once per model, on the plain model, so that
    plain and steered readouts share it.

    >>> resolve_format(model, "letters").prefix in PREFIXES
    True
    >>> resolve_format(model, ic.ReadoutFormat("letters", prefix="I choose")).prefix
    'I choose'
    """
    form = as_format(readout)
    if form.prefix is not None:
        return form
    return replace(form, prefix=check_readout(model, form).prefix)


def compare_prefixes(
    model: LanguageModel, readout: Readout | ReadoutFormat = "letters"
) -> pd.DataFrame:
    """The validity of letters with each of `PREFIXES`, on all control items.

    Returns:
        One row a prefix: the fields of `Validity`, `ok`, and chosen: whether it is the one that
        `resolve_format` takes. Prefixes after which the labels are not single tokens are left out.

    Raises:
        InputError: a continuation, which has no prefix.

    >>> table = compare_prefixes(model)
    >>> table.n.unique().tolist(), int(table.chosen.sum())
    ([52], 1)
    """
    form = as_format(readout)
    if form.readout != "letters":
        raise InputError("a continuation has no answer prefix to compare; give readout='letters'")
    by_rule = replace(form, prefix=None)
    chosen = resolve_format(model, by_rule).prefix
    controls = load_controls()
    rows = []
    for key, values in _values_by_prefix(model, controls, _as_checked(by_rule)).items():
        validity = _judged(controls, values, key, choose_letters(values, key.labels))
        if form.order == "random":
            validity = validity.in_one_order()
        rows.append({**validity.row, "chosen": key.prefix == chosen})
    return pd.DataFrame(rows)


def warn_of(model: LanguageModel, form: ReadoutFormat, *, again: bool = False) -> None:
    """Warn with ReadoutWarning of a readout's failures and cautions, once a model.

    With `again` a failure is a warning each time.
    """
    validity = check_readout(model, form)
    warned = model.readout_checks.warned
    key = (_as_checked(form), form.order)
    may_repeat = again and not validity.ok
    if not (validity.failures or validity.cautions) or (key in warned and not may_repeat):
        return
    warned.add(key)
    warnings.warn(
        _warning(model.name, validity),
        ReadoutWarning,
        # The line that called `probe`, `layer_sweep` or the like.
        stacklevel=3,
    )


def _warning(name: str, validity: Validity) -> str:
    after = f" (answer prefix {validity.prefix!r})" if validity.prefix else ""
    if validity.ok:
        return (
            f"readout {validity.readout!r}{after} passes on {name} with a caution: "
            f"{'; '.join(validity.cautions)}. The mean of both orders cancels this bias; a single "
            "order would not."
        )
    other = "continuation" if validity.readout == "letters" else "letters"
    return (
        f"readout {validity.readout!r} fails on {name}: {'; '.join(validity.failures)}{after}. "
        f"Consider readout={other!r}."
    )


def _as_checked(form: ReadoutFormat) -> ReadoutFormat:
    """The format in which the control items are read for `form`."""
    return ReadoutFormat(form.readout, labels=form.labels, prefix=form.prefix, think=form.think)


def _measure(model: LanguageModel, form: ReadoutFormat) -> Validity:
    controls = load_controls()
    if form.prefix is None:
        return _choose(controls, _values_by_prefix(model, controls, form))
    with without_hooks(model.bridge):
        values = raw_values(model, controls, form, {"": ()})[""]
    letters = choose_letters(values, form.labels) if form.readout == "letters" else None
    return _judged(controls, values, form, letters)


def _values_by_prefix(
    model: LanguageModel, controls: ScenarioSet, form: ReadoutFormat
) -> dict[ReadoutFormat, Values]:
    """The control items read with every usable candidate of the prefix, once a model."""
    known = model.readout_checks.prefixes
    if form not in known:
        candidates = [replace(form, prefix=prefix) for prefix in PREFIXES]
        usable = [f for f in candidates if not f.prefix or has_letters(model, controls, f)]
        with without_hooks(model.bridge):
            known[form] = dict(zip(usable, values_by_prefix(model, controls, usable), strict=True))
    return known[form]


def _choose(controls: ScenarioSet, by_form: dict[ReadoutFormat, Values]) -> Validity:
    """The verdict, on the one half of the items, on the prefix that is best on the other half."""
    choosing = _half(controls, CHOICE_HALF)
    chosen, letters = _best(
        choosing, {form: values[CHOICE_HALF] for form, values in by_form.items()}
    )
    values = by_form[chosen]
    held_out = choice_table(_half(controls, HELD_OUT_HALF), values[HELD_OUT_HALF], chosen, letters)
    return judge(
        held_out, chosen, letters, choice_table(choosing, values[CHOICE_HALF], chosen, letters)
    )


def _best(controls: ScenarioSet, by_form: dict[ReadoutFormat, Values]) -> tuple[ReadoutFormat, str]:
    """The best format by the rule of `check_readout`, and the spelling of its letters."""
    spellings = {form: choose_letters(values, form.labels) for form, values in by_form.items()}
    verdicts = {
        form: _judged(controls, values, form, spellings[form]) for form, values in by_form.items()
    }
    enough = [form for form, verdict in verdicts.items() if _mass(verdict) >= MIN_MASS]
    # `max` takes the first of equals.
    if enough:
        best = max(enough, key=lambda form: _merit(verdicts[form]))
    else:
        best = max(verdicts, key=lambda form: _mass(verdicts[form]))
    return best, spellings[best]


def _merit(verdict: Validity) -> float:
    return verdict.accuracy + (verdict.consistency or 0.0)


def _mass(verdict: Validity) -> float:
    return verdict.mass or 0.0


def _half(controls: ScenarioSet, half: slice) -> ScenarioSet:
    return ScenarioSet(controls.scenarios[half], controls.catalogue)


def _judged(
    controls: ScenarioSet, values: Values, form: ReadoutFormat, letters: str | None
) -> Validity:
    return judge(choice_table(controls, values, form, letters), form, letters)
