"""Does the model answer differently when asked outright than when it has to decide? (paper, figure 2 and section 4.1)

python -m analyses.paradigms --preset quick
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import interp_culture as ic
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.study.analysis import About, Analysis, Section, Tables
from interp_culture.survey import culture_map
from interp_culture.survey.reply_parsing import changed_answers
from interp_culture.survey.wvs import TARGETS, countries

KEYS = ["persona", "kind", "iso3"]
FEW = ("basic:India", "basic:Denmark")  # in a brief study
SHARES = ["refused", "no_answer", "neutral", "off_answers", "changed"]


def measure(study: ic.Study) -> Tables:
    """No persona, a basic and an advanced one of every target country: persona, kind, iso3 ("" without) in all tables.

    readouts: the columns of `probe`, a row for each persona and scenario. places: paradigm (direct, scenarios), x, y
    (map units), x_low, x_high, y_low, y_high (95%; NaN of direct, where nothing is drawn). answers: refused, no_answer,
    neutral (`summarise_replies`), off_answers (mean probability on no allowed answer), changed (of the written answers
    given both times, the share other than without a persona). validity: of the scenario readout (`Validity`).
    """
    decided = readouts(study)
    asked = ic.survey.ask_personas(
        study.model, personas(study.config.brief), study.folder / "direct", on_step=study.on_step
    )
    changed = changed_answers(asked["replies"], "none").rename("changed").reset_index()
    direct = (
        decided[KEYS]
        .drop_duplicates()
        .merge(asked["places"].drop(columns="iso3"))
        .merge(changed, how="left")
    )
    by_persona = decided.groupby(KEYS, sort=False)[["item", "domain", "p_positive"]]
    scenarios = by_persona.apply(lambda part: pd.Series(culture_map.place(part))).reset_index()
    places = {"direct": direct[[*KEYS, "x", "y"]], "scenarios": scenarios}
    validity = pd.DataFrame([study.validity()[study.lead].row])
    places = pd.concat(places, names=["paradigm"]).reset_index("paradigm")
    return {
        "readouts": decided,
        "places": places,
        "answers": direct[[*KEYS, *SHARES]],
        "validity": validity,
    }


def personas(brief: bool = False) -> dict[str, ic.Persona | None]:
    """`none`, `basic:India` ... `advanced:Denmark`."""
    made = {"basic": ic.basic_persona, "advanced": ic.advanced_persona}
    told = {f"{kind}:{c}": (make, c) for kind, make in made.items() for c in TARGETS.values()}
    return {"none": None} | {
        name: make(c) for name, (make, c) in told.items() if name in FEW or not brief
    }


def readouts(study: ic.Study) -> pd.DataFrame:
    """The held-out scenarios under every persona, each stored as soon as it is read."""
    if not culture_map.covers(set(study.told.items)):
        raise ic.InputError(
            f"the cultural map needs the ten survey items; here are {', '.join(study.told.items)}"
        )
    told = [
        _read(study, name, persona)
        for name, persona in personas(study.config.brief).items()
        if persona
    ]
    return pd.concat(
        [study.plain(study.told).assign(persona="none", kind="none", iso3=""), *told],
        ignore_index=True,
    )


def _read(study: ic.Study, name: str, persona: ic.Persona) -> pd.DataFrame:
    about, stored = (
        (name, persona.kind, persona.iso3),
        f"paradigms.readouts.{name.replace(':', '-')}",
    )
    study.on_step(f"{name}: deciding")
    return study.once(
        stored, lambda: study.read({about: []}, KEYS, study.told, study.format(system=persona))
    )


def sections(tables: Tables, about: About) -> list[Section]:
    places, answers, validity = tables["places"], tables["answers"], tables["validity"].iloc[0]
    points = places.assign(
        label=places.paradigm + ", " + places.kind.replace("none", "no") + " persona"
    )
    named = answers.assign(
        persona=answers.persona.str.replace(":", "<br>"), low=np.nan, high=np.nan
    )
    shares = named.melt(["persona", "low", "high"], SHARES, "share", "effect")
    said = [f"{share.replace('_', ' ')} {_listed(answers, share)}" for share in SHARES]
    passed = "passes its check" if validity.ok else f"fails its check: {validity.failures}"
    return [
        Section(
            _place_title(places),
            [
                _place_text(places),
                f"The scenario readout, {about['lead']}, {passed} (control items, no persona).",
            ],
            plots.points_figure(countries(), points, list(TARGETS), words="iso3"),
            f"Scenarios: {about['n_told']} held out; bars: 95% bootstrap over the scenarios of each item. Direct: the "
            "ten questions, by the probabilities of the allowed answers; nothing is drawn, so there is no interval.",
        ),
        Section(
            _refusal_title(answers),
            [f"By kind of persona: {'; '.join(said)}."],
            plots.interval_figure(
                shares, "persona", colour="share", names={"effect": "share (0 to 1)"}
            ),
            "Greedy answers, read by rule: no interval. off_answers: probability on no allowed answer. changed: unlike "
            "without persona, where both answer. Advanced personas are told their country's answers, where known.",
        ),
    ]


def _place_title(places: pd.DataFrame) -> str:
    of = places.pivot(index="persona", columns="paradigm")
    if of.x_low.scenarios.isna().all():
        return "Too few scenarios of each item were read to hold direct answers against decisions"
    ends = {c: (of[c].direct, of[f"{c}_low"].scenarios, of[f"{c}_high"].scenarios) for c in "xy"}
    apart = {c: (direct < low) | (direct > high) for c, (direct, low, high) in ends.items()}
    if not (apart["x"] | apart["y"]).any():
        return "Asked outright, the model stands within the interval of its decisions, whatever it is told to be"
    counts = " and ".join(f"on {c} in {away.sum()}" for c, away in apart.items())
    return f"Asked outright, the model stands beyond the interval of its decisions {counts} of {len(of)} set-ups"


def _place_text(places: pd.DataFrame) -> str:
    said = []
    for paradigm, own in places.groupby("paradigm"):
        plain, told = own[own.kind == "none"].iloc[0], own[own.kind != "none"]
        moved = np.hypot(told.x - plain.x, told.y - plain.y).mean()
        said.append(
            f"{paradigm} x {plain.x:+.2f}, y {plain.y:+.2f} (a persona moves it by {moved:.2f} on average)"
        )
    x, y = culture_map.no_preference()
    return f"Without a persona, in map units: {'; '.join(said)}; a model without preferences x {x:+.2f}, y {y:+.2f}."


def _refusal_title(answers: pd.DataFrame) -> str:
    refused = _listed(answers, "refused") if answers.refused.any() else "none"
    return f"Asked outright, it refuses {refused} of the ten questions; unanswered stay {_listed(answers, 'no_answer')}"


def _listed(answers: pd.DataFrame, share: str) -> str:
    means = answers.groupby("kind", sort=False)[share].mean().dropna()
    return ", ".join(f"{mean:.0%} ({kind})" for kind, mean in means.items()) or "undefined"


ANALYSIS = Analysis(
    "paradigms", "Does the model say what it would decide?", measure, sections, on_map=True
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
