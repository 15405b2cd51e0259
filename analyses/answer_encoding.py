"""Does steering move the value or the letter? Labels, order and wording of the answer.

Paper, equations 1 and 2. Run alone: python -m analyses.answer_encoding --preset quick
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.coupling import (
    reading_effects,
    reading_shifts,
    reading_slopes,
    scenario_agreement,
)
from interp_culture.reporting import figures
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)

# Other labels and wordings: an effect on the value survives them, one on a letter need not.
ENCODINGS = {
    "A/B": ic.ReadoutFormat("letters"),
    "1/2": ic.ReadoutFormat("letters", labels="1/2"),
    "X/Y": ic.ReadoutFormat("letters", labels="X/Y"),
    "A/B question": ic.ReadoutFormat("letters", template="question"),
    "A/B bare": ic.ReadoutFormat("letters", template="bare"),
    "continuation": ic.ReadoutFormat("continuation"),
}
BRIEF_ENCODINGS = ("A/B", "continuation")
# Few are enough: `random_reach` estimates their spread and uses Student's t.
N_RANDOM = 5
N_RANDOM_BRIEF = 2
# Random vectors are most of the work, so they are read on few scenarios.
NULL_PER_ITEM = 3

VARIANT = Column("variant", "name of the encoding")
LABELS = Column("labels", "names of the two options in a letters readout")
GROUP = (
    VARIANT,
    Column("reading", "value, positive first, positive second, letter, P+ or consistent"),
    columns.STEERED,
)
UNIT = "nats; continuation: nats per token; P+ and consistent: 0 to 1"
SCHEMAS = (
    TableSchema(
        "readouts",
        "an encoding, run and held-out scenario",
        "coupling.steered_readouts",
        (
            *(VARIANT, columns.READOUT, LABELS),
            Column("template", "wording of the question"),
            columns.PREFIX,
            *(columns.STEERED, columns.METHOD, columns.DRAW, columns.ALPHA),
            *columns.READ,
        ),
    ),
    TableSchema(
        "effects",
        "an encoding, reading, steered axis and axis read",
        "coupling.reading_effects",
        (
            *GROUP,
            *columns.effect("change per unit of alpha, from both signs", UNIT),
            *columns.BESIDE_RANDOM,
        ),
    ),
    TableSchema(
        "letter",
        "an encoding, reading, steered axis, alpha and axis read",
        "coupling.reading_shifts",
        (
            *(*GROUP, columns.ALPHA),
            *columns.effect("change at this alpha", UNIT),
            *columns.BESIDE_RANDOM,
            Column("before", "mean without steering", UNIT),
        ),
    ),
    TableSchema(
        "agreement",
        "two encodings and a steered axis",
        "coupling.scenario_agreement",
        (
            *(Column("a", "an encoding"), Column("b", "another one"), columns.STEERED),
            Column("effect", "Pearson's r of their effects over scenarios", "-1 to 1"),
            *columns.INTERVAL,
            columns.N,
        ),
    ),
    TableSchema(
        "validity",
        "a readout and labels, checked on the control items",
        "readout.check_readout",
        (LABELS, *columns.VALIDITY),
    ),
)


def measure(study: ic.Study) -> Tables:
    """Plain and steered choices under every encoding, split into value and letter.

    Returns:
        the tables of `SCHEMAS`.
    """
    names = BRIEF_ENCODINGS if study.config.brief else ENCODINGS
    encodings = {name: with_prefix_of(study, ENCODINGS[name]) for name in names}
    readouts = pd.concat(
        [encoding_readouts(study, name, form) for name, form in encodings.items()],
        ignore_index=True,
    )
    slopes = reading_slopes(readouts)
    validity = study.once(
        "answer_encoding.checks", lambda: checks(study.model, list(encodings.values()))
    )
    return {
        "readouts": readouts,
        "effects": reading_effects(readouts),
        "letter": reading_shifts(readouts),
        "agreement": scenario_agreement(slopes[slopes.reading == "value"], "variant"),
        "validity": validity,
    }


def with_prefix_of(study: ic.Study, form: ic.ReadoutFormat) -> ic.ReadoutFormat:
    """The format with the study's answer prefix and thoughts.

    Where the study has no prefix, each pair of labels has its own.
    """
    form = replace(form, think=study.config.think)
    return replace(form, prefix=study.config.prefix) if form.readout == "letters" else form


def encoding_readouts(study: ic.Study, variant: str, form: ic.ReadoutFormat) -> pd.DataFrame:
    """The scenarios of each axis under the vectors of that axis, answered in one encoding."""
    seed = study.config.seed
    alpha = max(study.config.alphas)

    def read_axis(vectors: ic.SteeringVectors) -> pd.DataFrame:
        # The question is about the steered axis itself, so the other is not read.
        scenarios = study.sample.filter(axis=vectors.axis)
        return ic.steered_readouts(
            study.model,
            scenarios,
            {vectors.axis: vectors},
            study.layers,
            alphas=[alpha, -alpha],
            n_random=N_RANDOM_BRIEF if study.config.brief else N_RANDOM,
            null_scenarios=scenarios.sample(NULL_PER_ITEM, seed, by="item"),
            readout=form,
            seed=seed,
        )

    name = "answer_encoding.readouts_" + variant.replace("/", "").replace(" ", "_")
    table = study.once(
        name,
        lambda: pd.concat(map(read_axis, study.vectors().values())).assign(
            prefix=ic.resolve_format(study.model, form).prefix
        ),
    )
    return table.assign(
        variant=variant, readout=form.readout, labels=form.labels, template=form.template
    )


def checks(model: ic.LanguageModel, forms: list[ic.ReadoutFormat]) -> pd.DataFrame:
    """One check per pair of readout and labels."""
    # The check always uses the default template, so other templates would repeat a row.
    distinct: dict[tuple[str, str], ic.ReadoutFormat] = {}
    for form in forms:
        distinct.setdefault((form.readout, form.labels), form)
    rows = [
        {"labels": form.labels, **ic.check_readout(model, form).row} for form in distinct.values()
    ]
    return pd.DataFrame(rows)


def sections(tables: Tables, about: About) -> list[Section]:
    effects = on_target(tables["effects"])
    changes = on_target(tables["letter"])
    values = effects[effects.reading.isin(["value", "positive first", "positive second"])]
    values = values.assign(label=values.variant + ", " + values.reading)
    # The words of the options have no letter that could move.
    with_letters = changes.variant != "continuation"
    moves = changes[changes.reading.isin(["value", "letter"]) & with_letters]
    labels = [f"{row.variant}, {row.alpha:+g}, {row.reading}" for row in moves.itertuples()]
    moves = moves.assign(label=labels)
    caption = how(about)
    return [
        Section(
            value_title(values[values.reading == "value"]),
            [validity_text(tables["validity"]), agreement_text(tables["agreement"])],
            figures.forest_figure(
                values, "logit difference per unit alpha (nats; continuation: per token)"
            ),
            f"Logit of the positive minus the negative pole. {caption} Table:"
            " answer_encoding.effects.",
        ),
        Section(
            letter_title(moves),
            [order_text(changes[changes.reading == "consistent"])],
            figures.forest_figure(
                moves.sort_values("label"), "change of the logit difference (nats)"
            ),
            f"Letter: logit of the first minus the second label, whatever they mean. {caption}"
            " Table: answer_encoding.letter.",
        ),
    ]


def on_target(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the steered axis itself, with the columns that the figures need."""
    target = table[table.axis == table.steered]
    return target.assign(kind=target.reading, panel=target.axis + " steered, read")


def how(about: About) -> str:
    config = about["config"]
    n_random = N_RANDOM_BRIEF if config["brief"] else N_RANDOM
    return (
        f"Alpha ±{max(config['alphas']):g} at the intervention's layers, on the steered axis' own"
        f" scenarios out of {about['n_sample']} held-out ones. Bars: 95% bootstrap by item. Grey:"
        f" 95% band of {n_random} random vectors of the same norm."
    )


def value_title(values: pd.DataFrame) -> str:
    n = values.variant.nunique()
    intended = values[values.sure & (values.effect > 0)]
    parts = []
    for axis in sorted(set(values.axis)):
        encodings = list(intended[intended.axis == axis].variant)
        names = f" ({'; '.join(encodings)})" if encodings else ""
        parts.append(f"{axis} under {len(encodings)} of {n} encodings{names}")
    return f"Steering moves the value toward its pole, beyond random vectors: {', '.join(parts)}"


def validity_text(validity: pd.DataFrame) -> str:
    letters = validity[validity.readout == "letters"]
    failed = [f"{row.labels} ({row.failures})" for row in letters.itertuples() if not row.ok]
    if not failed:
        return "All letter encodings pass their check on control items."
    return (
        "Letter encodings that fail their check, so that their numbers say little about values: "
        f"{'; '.join(failed)}."
    )


def agreement_text(agreement: pd.DataFrame) -> str:
    with_words = agreement.b == "continuation"
    groups = {
        "between letter encodings": agreement[~with_words],
        "between letters and continuation": agreement[with_words],
    }
    means = [f"{group.effect.mean():+.2f} {name}" for name, group in groups.items() if len(group)]
    return (
        f"Correlation over scenarios of the effects under two encodings, mean: {', '.join(means)}."
    )


def letter_title(moves: pd.DataFrame) -> str:
    cases = moves.pivot(index=["variant", "axis", "alpha"], columns="reading", values="effect")
    sizes = cases.abs()
    larger = (sizes.letter > sizes.value).sum()
    beyond = moves[moves.reading == "letter"].sure.sum()
    return (
        f"Steering moves the letter more than the value in {larger} of {len(sizes)} cases (mean "
        f"{sizes.letter.mean():.2f} against {sizes.value.mean():.2f} nats); it moves the letter"
        f" beyond random vectors in {beyond}"
    )


def order_text(consistent: pd.DataFrame) -> str:
    plain = consistent.before.mean()
    steered = (consistent.before + consistent.effect).mean()
    return (
        f"Both orders of the options prefer the same option in {plain:.0%} of the scenarios without"
        f" steering and in {steered:.0%} with steering."
    )


ANALYSIS = Analysis(
    "answer_encoding",
    "Does steering move the value or the letter?",
    measure,
    sections,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
