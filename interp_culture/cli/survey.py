"""The verbs on the survey: facts, persona, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o
from interp_culture.cli.common import app, say, tell_gaps
from interp_culture.cli.output import show

# A persona with more probability than this outside the allowed answers has no usable position.
MAX_OFF = 0.5


@app.command(
    rich_help_panel=o.SURVEY, epilog="Example: interp-culture facts --countries IND,Denmark"
)
def facts(
    countries: Annotated[
        str | None,
        typer.Option(
            help="Names or iso3 codes, separated by commas.",
            show_default="all with known means",
        ),
    ] = None,
    facts: o.FactsFolder = None,
) -> None:
    """Print the survey figures: item means, map coordinates and the coupling over countries.

    The last lines give the accuracy of our projection against the published map.
    """
    from interp_culture.survey import culture_map
    from interp_culture.survey.wvs import fact_table, find_country, load_facts

    chosen = [find_country(c) for c in countries.split(",")] if countries else None
    known = load_facts(facts)
    for note in known.notes:
        say(note)
    show("facts", fact_table(known, chosen))
    accuracy = culture_map.projection_accuracy()
    human = culture_map.human_coupling()
    typer.echo(
        f"\nProjection against the published map, {accuracy['n']:.0f} countries of the same "
        f"survey: rms error {accuracy['rms_x']:.2f} (x), {accuracy['rms_y']:.2f} (y); "
        f"r {accuracy['r_x']:.3f}, {accuracy['r_y']:.3f}.\n"
        f"Axes over {len(culture_map.countries())} countries: r {human['r']:.3f} "
        f"[{human['r_low']:.3f}, {human['r_high']:.3f}]; "
        f"y per x {human['y_per_x']:.3f}, x per y {human['x_per_y']:.3f}."
    )


@app.command(rich_help_panel=o.SURVEY, epilog="Example: interp-culture persona advanced:Vietnam")
def persona(
    which: Annotated[
        str, typer.Argument(help="basic:India, advanced:IND, respondent:3 or respondent:3:India.")
    ],
    facts: o.FactsFolder = None,
) -> None:
    """Print a persona as the model reads it, and the survey answers that it lacks."""
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.wvs import load_facts

    known = load_facts(facts)
    for note in known.notes:
        say(note)
    parsed = parse_persona(which, known)
    typer.echo(parsed.text)
    tell_gaps(which, parsed)


Personas = Annotated[
    list[str],
    typer.Option(
        "--persona",
        help="none, or a persona as in `interp-culture persona`. It can be given several times.",
        rich_help_panel=o.READING,
    ),
]


@app.command(
    rich_help_panel=o.SURVEY,
    epilog="Example: interp-culture ask --persona none --persona basic:India "
    "--persona advanced:India",
)
def ask(
    persona: Personas = ["none"],  # noqa: B006  (typer copies the default)
    facts: o.FactsFolder = None,
    max_new_tokens: Annotated[
        int,
        typer.Option(help="Length of the written answers, in tokens.", rich_help_panel=o.READING),
    ] = 32,
    model: o.Model = "smollm2",
    device: o.Device = None,
    dtype: o.Dtype = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the tables.", rich_help_panel=o.OUTPUT)
    ] = Path("results/ask"),
) -> None:
    """Ask the ten survey questions directly.

    Gives the distribution over the answers, the refusals and the position on the map.
    """
    from interp_culture.artifacts.folders import make_folder
    from interp_culture.engine.generation import check_length
    from interp_culture.engine.hardware import choose_threads
    from interp_culture.engine.loading import load_model
    from interp_culture.survey.personas import parse_persona
    from interp_culture.survey.questionnaire import ask_personas
    from interp_culture.survey.wvs import load_facts

    check_length(max_new_tokens)
    known = load_facts(facts)
    # Parsed before the model is loaded, so that a wrong persona shows at once.
    chosen = {text: None if text == "none" else parse_persona(text, known) for text in persona}
    for text, parsed in chosen.items():
        if parsed:
            tell_gaps(text, parsed)
    make_folder(out)
    choose_threads()
    loaded = load_model(model, device=device, dtype=dtype)
    tables = ask_personas(loaded, chosen, out, max_new_tokens, say)
    typer.echo(f"Tables: {out} ({', '.join(tables)})")
    # The folder may also hold personas of earlier runs.
    items = tables["items"][tables["items"].persona.isin(chosen)]
    places = tables["places"][tables["places"].persona.isin(chosen)]
    means = items.pivot(index="item", columns="persona", values="mean")
    # `pivot` sorts the columns; this is the order of the command line.
    show("items", means[list(chosen)].reset_index())
    show("places", places.drop(columns="system"))
    unusable = places[places.off_answers > MAX_OFF].persona.tolist()
    if unusable:
        say(
            f"{', '.join(unusable)}: more than half of the probability is on no allowed answer "
            "(column off_answers), so the means and the position say little"
        )
