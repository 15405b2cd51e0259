"""Does the model answer differently when asked directly than when it has to decide?

Paper, figure 2 and section 4.1. Run alone: python -m analyses.paradigms --preset quick
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.reporting import figures, points_figure
from interp_culture.study import (
    About,
    Analysis,
    Column,
    Section,
    Tables,
    TableSchema,
    columns,
)
from interp_culture.survey import (
    TARGETS,
    changed_answers,
    countries,
    culture_map,
    target_personas,
)

KEYS = ["persona", "kind", "iso3"]
SHARES = ["refused", "no_answer", "neutral", "off_answers", "changed"]

SCHEMAS = (
    TableSchema(
        "readouts",
        "a persona and held-out scenario",
        "readout.read_runs",
        (*columns.OF_PERSONA, *columns.READ),
    ),
    TableSchema(
        "places",
        "a paradigm and persona",
        "survey.culture_map.place",
        (
            Column("paradigm", "direct or scenarios; direct answers are not sampled: no interval"),
            *columns.OF_PERSONA,
            *columns.PLACE,
        ),
        on_map=True,
    ),
    TableSchema(
        "answers",
        "a persona, asked directly",
        "survey.ask_personas",
        (
            *columns.OF_PERSONA,
            Column("refused", "share of the written answers that refuse", columns.PROBABILITY),
            Column("no_answer", "share without an allowed answer", columns.PROBABILITY),
            Column(
                "neutral",
                "share of neutral ones, where there is such an answer",
                columns.PROBABILITY,
            ),
            Column(
                "off_answers", "mean probability outside the allowed answers", columns.PROBABILITY
            ),
            Column(
                "changed",
                "share of written answers that differ from the one without a persona, where both "
                "exist",
                columns.PROBABILITY,
            ),
        ),
        on_map=True,
    ),
    TableSchema(
        "validity", "the readout of the scenarios", "readout.check_readout", columns.VALIDITY
    ),
)


def measure(study: ic.Study) -> Tables:
    """No persona, and a basic and an advanced persona of every target country.

    Returns:
        the tables of `SCHEMAS`.
    """
    decided = readouts(study)
    asked = ic.survey.ask_personas(
        study.model, personas(study), study.folder / "direct", on_step=study.on_step
    )
    changed = changed_answers(asked["replies"], "none").rename("changed").reset_index()
    # The readouts' iso3 is kept: it is empty, not missing, without a persona.
    direct = decided[KEYS].drop_duplicates().merge(asked["places"].drop(columns="iso3"))
    # Left: "none", the reference, has no share of changed answers.
    direct = direct.merge(changed, how="left")
    positions = {"direct": direct[[*KEYS, "x", "y"]], "scenarios": scenario_positions(decided)}
    return {
        "readouts": decided,
        "places": pd.concat(positions, names=["paradigm"]).reset_index("paradigm"),
        "answers": direct[[*KEYS, *SHARES]],
        "validity": pd.DataFrame([study.validity()[study.primary_readout].row]),
    }


def personas(study: ic.Study) -> dict[str, ic.Persona | None]:
    """`none`, `basic:India` ... `advanced:Denmark`."""
    if study.config.brief:
        return target_personas(kinds=["basic"], countries=["India", "Denmark"])
    return target_personas()


def readouts(study: ic.Study) -> pd.DataFrame:
    """The held-out scenarios under every persona, each persona stored as soon as it is read."""
    if not culture_map.covers(set(study.persona_scenarios.items)):
        raise ic.InputError(
            "the cultural map needs the ten survey items; the scenarios have"
            f" {', '.join(study.persona_scenarios.items)}"
        )
    tables = [study.plain(study.persona_scenarios).assign(persona="none", kind="none", iso3="")]
    for name, persona in personas(study).items():
        if persona:
            tables.append(persona_readouts(study, name, persona))
    return pd.concat(tables, ignore_index=True)


def persona_readouts(study: ic.Study, name: str, persona: ic.Persona) -> pd.DataFrame:
    study.on_step(f"{name}: deciding")
    plain: dict[tuple, list[ic.Edit]] = {(name, persona.kind, persona.iso3): []}
    return study.once(
        # A file name must not contain a colon on Windows.
        f"paradigms.readouts.{name.replace(':', '-')}",
        lambda: study.read(plain, KEYS, study.persona_scenarios, study.format(system=persona)),
    )


def scenario_positions(decided: pd.DataFrame) -> pd.DataFrame:
    """The map position of the decisions under each persona."""
    by_persona = decided.groupby(KEYS, sort=False)[["item", "domain", "p_positive"]]
    return by_persona.apply(lambda part: pd.Series(culture_map.place(part))).reset_index()


def sections(tables: Tables, about: About) -> list[Section]:
    return [
        place_section(tables["places"], tables["validity"].iloc[0], about),
        answer_section(tables["answers"]),
    ]


def place_section(places: pd.DataFrame, validity: pd.Series, about: About) -> Section:
    persona = places.kind.replace("none", "no") + " persona"
    points = places.assign(label=places.paradigm + ", " + persona)
    check = "passes its check" if validity.ok else f"fails its check: {validity.failures}"
    return Section(
        place_title(places),
        [
            place_text(places),
            f"The scenario readout, {about['primary_readout']}, {check} "
            "(control items, no persona).",
        ],
        points_figure(countries(), points, list(TARGETS), words="iso3"),
        f"Scenarios: {about['n_persona']} held out; bars: 95% bootstrap over the scenarios of each"
        " item. Direct: the ten survey questions, by the probabilities of the allowed answers;"
        " nothing is sampled, so there is no interval. Table: paradigms.places.",
    )


def answer_section(answers: pd.DataFrame) -> Section:
    names = answers.persona.str.replace(":", "<br>")
    shares = answers.assign(persona=names, low=np.nan, high=np.nan).melt(
        ["persona", "low", "high"], SHARES, "share", "effect"
    )
    by_kind = [f"{share.replace('_', ' ')} {shares_text(answers, share)}" for share in SHARES]
    return Section(
        refusal_title(answers),
        [f"By kind of persona: {'; '.join(by_kind)}."],
        figures.interval_figure(
            shares, "persona", colour="share", names={"effect": "share (0 to 1)"}
        ),
        "Greedy answers, parsed by rule; no interval. off_answers: probability outside the allowed"
        " answers. changed: different from the answer without a persona, where both exist. An"
        " advanced persona states its country's answers, where they are known. Table:"
        " paradigms.answers.",
    )


def place_title(places: pd.DataFrame) -> str:
    table = places.pivot(index="persona", columns="paradigm")
    if table.x_low.scenarios.isna().all():
        return "Too few scenarios per item were read to compare direct answers with decisions"
    outside = {}
    for c in "xy":
        direct = table[c].direct
        low = table[f"{c}_low"].scenarios
        high = table[f"{c}_high"].scenarios
        outside[c] = (direct < low) | (direct > high)
    if not (outside["x"] | outside["y"]).any():
        return (
            "Asked directly, the model's map position is inside the interval of its decisions, with"
            " and without a persona"
        )
    counts = " and ".join(f"on {c} in {away.sum()}" for c, away in outside.items())
    return (
        "Asked directly, the model's map position is outside the interval of its decisions"
        f" {counts} of {len(table)} set-ups"
    )


def place_text(places: pd.DataFrame) -> str:
    parts = []
    for paradigm, positions in places.groupby("paradigm"):
        plain = positions[positions.kind == "none"].iloc[0]
        with_persona = positions[positions.kind != "none"]
        moved = np.hypot(with_persona.x - plain.x, with_persona.y - plain.y).mean()
        parts.append(
            f"{paradigm} x {plain.x:+.2f}, y {plain.y:+.2f} (a persona moves it by {moved:.2f} on"
            " average)"
        )
    x, y = culture_map.no_preference()
    return (
        f"Without a persona, in map units: {'; '.join(parts)}; a model without preferences would be"
        f" at x {x:+.2f}, y {y:+.2f}."
    )


def refusal_title(answers: pd.DataFrame) -> str:
    refused = shares_text(answers, "refused") if answers.refused.any() else "none"
    return (
        f"Asked directly, the model refuses {refused} of the ten questions and leaves"
        f" {shares_text(answers, 'no_answer')} without an allowed answer"
    )


def shares_text(answers: pd.DataFrame, share: str) -> str:
    means = answers.groupby("kind", sort=False)[share].mean().dropna()
    return ", ".join(f"{mean:.0%} ({kind})" for kind, mean in means.items()) or "undefined"


ANALYSIS = Analysis(
    "paradigms",
    "Does the model answer directly as it decides?",
    measure,
    sections,
    on_map=True,
    readouts=readouts,
    schemas=SCHEMAS,
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
