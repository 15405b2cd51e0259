"""Verbs on the survey: facts, persona, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli.common import Device, Dtype, FactsFolder, Model, app, say, show, tell_gaps

MAX_OFF = 0.5


@app.command(epilog="Example: interp-culture facts --countries IND,Denmark")
def facts(
    countries: Annotated[
        str | None,
        typer.Option(help="Names or iso3 codes, comma-separated; all with known means by default."),
    ] = None,
    facts: FactsFolder = None,
) -> None:
    """Print what is known: item means and map coordinates, the projection's accuracy, the coupling over countries."""
    from interp_culture.survey import culture_map
    from interp_culture.survey.wvs import fact_table, find_country, load_facts

    chosen = [find_country(c) for c in countries.split(",")] if countries else None
    known = load_facts(facts)
    for note in known.notes:
        say(note)
    show(fact_table(known, chosen))
    a, h = culture_map.projection_accuracy(), culture_map.human_coupling()
    typer.echo(
        f"\nProjection against the published map, {a['n']:.0f} countries of the same survey: rms error "
        f"{a['rms_x']:.2f} (x), {a['rms_y']:.2f} (y); r {a['r_x']:.3f}, {a['r_y']:.3f}.\n"
        f"Axes over {len(culture_map.countries())} countries: r {h['r']:.3f} [{h['r_low']:.3f}, {h['r_high']:.3f}]; "
        f"y per x {h['y_per_x']:.3f}, x per y {h['x_per_y']:.3f}."
    )


@app.command(epilog="Example: interp-culture persona advanced:Vietnam")
def persona(
    which: Annotated[
        str, typer.Argument(help="basic:India, advanced:IND, respondent:3 or respondent:3:India.")
    ],
    facts: FactsFolder = None,
) -> None:
    """Print a persona as the model is told it, and what is not known for it."""
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.wvs import load_facts

    known = load_facts(facts)
    for note in known.notes:
        say(note)
    found = parse_persona(which, known)
    typer.echo(found.text)
    tell_gaps(which, found)


@app.command(
    epilog="Example: interp-culture ask --persona none --persona basic:India --persona advanced:India"
)
def ask(
    persona: Annotated[
        list[str],
        typer.Option(help="none, or a persona as in `persona`; may be given several times."),
    ] = ["none"],  # noqa: B006
    facts: FactsFolder = None,
    model: Model = "smollm2",
    max_new_tokens: Annotated[int, typer.Option(help="Length of the written answers.")] = 32,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="A folder for the tables.")] = Path("results/ask"),
) -> None:
    """Ask the ten survey questions outright: distribution over the answers, refusals, place on the map."""
    from interp_culture.artifacts import make_folder
    from interp_culture.engine.loading import load_model
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.questionnaire import ask_personas
    from interp_culture.survey.wvs import load_facts

    known = load_facts(facts)
    chosen = {text: None if text == "none" else parse_persona(text, known) for text in persona}
    for text, found in chosen.items():
        if found:
            tell_gaps(text, found)
    make_folder(out)
    loaded = load_model(model, device=device, dtype=dtype)
    tables = ask_personas(loaded, chosen, out, max_new_tokens, say)
    typer.echo(f"Tables: {out} ({', '.join(tables)})")
    asked = {name: table[table.persona.isin(chosen)] for name, table in tables.items()}
    show(
        asked["items"]
        .pivot(index="item", columns="persona", values="mean")[list(chosen)]
        .reset_index()
    )
    show(asked["places"].drop(columns="system"))
    unread = asked["places"].query("off_answers > @MAX_OFF").persona.tolist()
    if unread:
        say(
            f"{', '.join(unread)}: more than half of the probability is on no allowed answer, so that means and place "
            "say little (column off_answers)"
        )
