"""Does the vector move the value or the letter? Labels, order and wording of the answer (paper, equations 1 and 2).

python -m analyses.answer_encoding --preset quick
"""

from __future__ import annotations

import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.coupling.answer_encoding import reading_effects, reading_shifts, reading_slopes
from interp_culture.coupling.reliability import scenario_agreement
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables

VARIANTS = {
    "A/B": ic.ReadoutFormat("letters"),
    "1/2": ic.ReadoutFormat("letters", labels="1/2"),
    "X/Y": ic.ReadoutFormat("letters", labels="X/Y"),
    "A/B question": ic.ReadoutFormat("letters", template="question"),
    "A/B bare": ic.ReadoutFormat("letters", template="bare"),
    "continuation": ic.ReadoutFormat("continuation"),
}
FEW = ("A/B", "continuation")  # in a brief study
N_RANDOM = 5, 2  # the second in a brief study


def measure(study: ic.Study) -> Tables:
    """Plain and steered choices under every way of answering; what of their change is value, what is letter.

    readouts: variant, readout, labels, template, and the columns of `steered_readouts`. effects: `reading_effects`, per
    unit of alpha. letter: `reading_shifts`, at each alpha. agreement: `scenario_agreement` of the variants' values.
    validity: labels, and the fields of `check_readout`, which knows the default template alone.
    """
    variants = {
        name: form for name, form in VARIANTS.items() if name in FEW or not study.config.brief
    }
    readouts = pd.concat(
        [_read(study, name, form) for name, form in variants.items()], ignore_index=True
    )
    return {
        "readouts": readouts,
        "effects": reading_effects(readouts),
        "letter": reading_shifts(readouts),
        "agreement": scenario_agreement(
            reading_slopes(readouts).query("reading == 'value'"), "variant"
        ),
        "validity": study.once(
            "answer_encoding.checks", lambda: _validity(study.model, [*variants.values()])
        ),
    }


def _read(study: ic.Study, variant: str, form: ic.ReadoutFormat) -> pd.DataFrame:
    """Every axis' own scenarios under its own vectors; the random ones on at most three an item."""
    alpha, seed, n_random = (
        max(study.config.alphas),
        study.config.seed,
        N_RANDOM[study.config.brief],
    )

    def read(v: ic.SteeringVectors) -> pd.DataFrame:
        own = study.some.filter(axis=v.axis)
        return ic.steered_readouts(
            study.model,
            own,
            {v.axis: v},
            study.layers,
            alphas=[alpha, -alpha],
            n_random=n_random,
            null_scenarios=own.sample(3, seed, by="item"),
            readout=form,
            seed=seed,
        )

    name = "answer_encoding.readouts_" + variant.replace("/", "").replace(" ", "_")
    return study.once(name, lambda: pd.concat(map(read, study.vectors().values()))).assign(
        variant=variant, readout=form.readout, labels=form.labels, template=form.template
    )


def _validity(model: ic.LanguageModel, forms: list[ic.ReadoutFormat]) -> pd.DataFrame:
    # The check knows the default template alone, so that templates are no further rows.
    checked: dict[tuple[str, str], ic.ReadoutFormat] = {}
    for form in forms:
        checked.setdefault((form.readout, form.labels), form)
    rows = [
        {"labels": form.labels, **ic.check_readout(model, form).row} for form in checked.values()
    ]
    return pd.DataFrame(rows)


def sections(tables: Tables, about: About) -> list[Section]:
    found = tables["effects"], tables["letter"]
    effects, changes = (
        t[t.axis == t.steered].assign(kind=t.reading, panel=t.axis + " steered, read")
        for t in found
    )
    own = effects[effects.reading.isin(["value", "positive first", "positive second"])]
    own = own.assign(label=own.variant + ", " + own.reading)
    moved = changes[changes.reading.isin(["value", "letter"]) & (changes.variant != "continuation")]
    moved = moved.assign(
        label=[f"{r.variant}, {r.alpha:+g}, {r.reading}" for r in moved.itertuples()]
    )
    consistent = changes[changes.reading == "consistent"]
    plain, steered = consistent.before.mean(), (consistent.before + consistent.effect).mean()
    config = about["config"]
    how = (
        f"Alpha ±{max(config['alphas']):g} at the intervention's layers; of {about['n_some']} held-out scenarios"
        f" those of the axis. Bars: 95% bootstrap by item; grey: {N_RANDOM[config['brief']]} of the same norm."
    )
    return [
        Section(
            _value_title(own[own.reading == "value"]),
            [_validity_text(tables["validity"]), _agreement_text(tables["agreement"])],
            plots.forest_figure(
                own, "logit difference per unit alpha (nats; continuation: per token)"
            ),
            f"Positive minus negative pole. {how}",
        ),
        Section(
            _letter_title(moved),
            [
                f"Both orders prefer the same option in {plain:.0%} of scenarios plain, in {steered:.0%} steered."
            ],
            plots.forest_figure(
                moved.sort_values("label"), "change of the logit difference (nats)"
            ),
            f"Letter: the first label minus the second, whatever they stand for. {how}",
        ),
    ]


def _value_title(value: pd.DataFrame) -> str:
    moved, axes, n = (
        value[value.sure & (value.effect > 0)],
        sorted(set(value.axis)),
        value.variant.nunique(),
    )
    parts = [
        f"{axis} under {'; '.join(moved[moved.axis == axis].variant) or 'none'}" for axis in axes
    ]
    return f"Of {n} encodings, the vector moves its own value as intended, beyond random vectors: {', '.join(parts)}"


def _validity_text(validity: pd.DataFrame) -> str:
    failed = [
        f"{r.labels} ({r.failures})"
        for r in validity.itertuples()
        if r.readout == "letters" and not r.ok
    ]
    return f"Letters whose check fails, so that their numbers say little: {'; '.join(failed) or 'none'}."


def _agreement_text(agreement: pd.DataFrame) -> str:
    words = agreement.b == "continuation"
    groups = {"between letter encodings": agreement[~words], "with continuation": agreement[words]}
    told = [f"{own.effect.mean():+.2f} {where}" for where, own in groups.items() if len(own)]
    return f"Mean correlation of effects over scenarios: {', '.join(told)}."


def _letter_title(moved: pd.DataFrame) -> str:
    size = moved.pivot(index=["variant", "axis", "alpha"], columns="reading", values="effect").abs()
    more, sure = (size.letter > size.value).sum(), moved[moved.reading == "letter"].sure.sum()
    means = f"mean {size.letter.mean():.2f} against {size.value.mean():.2f} nats"
    return f"The letter moves more than the value in {more} of {len(size)} cases ({means}), beyond random in {sure}"


ANALYSIS = Analysis(
    "answer_encoding", "Does the vector move the value or the letter?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
