"""The options that several verbs share, in the groups in which their help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Groups of options in the help of a verb.
MODEL = "Model"
DATA = "Scenarios"
READING = "Reading the answers"
FIGURES = "Survey figures"
STEERING = "Steering"
OUTPUT = "Output"

# Groups of verbs in the help of the program.
WHOLE = "The whole experiment"
STEPS = "Its steps, one by one"
SCENARIOS = "Scenarios"
SURVEY = "The World Values Survey"
MODELS = "Models"
SPEED = "Speed"
UPKEEP = "Files and installation"

MODEL_HELP = "A packaged model (see `models`), a Hub id, a folder or a .gguf file."

Model = Annotated[str, typer.Option("--model", help=MODEL_HELP, rich_help_panel=MODEL)]
# typer does not show a default of None; `show_default` says what None means.
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda or mps.",
        show_default="the fastest available",
        rich_help_panel=MODEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16, float16, or fastest (measured on this machine).",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]

Scenarios = Annotated[
    Path | None,
    typer.Option(
        "--scenarios",
        help="A .jsonl file, an A/B .json file, a folder, or the name of a shipped set; "
        "several with + between them.",
        show_default="culture",
        rich_help_panel=DATA,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse a file with faulty records. Without it, these records are left out.",
        rich_help_panel=DATA,
    ),
]
PerCell = Annotated[
    int | None,
    typer.Option(
        "--per-cell",
        help="Largest number of scenarios per item and domain.",
        show_default="all",
        rich_help_panel=DATA,
    ),
]
# `steer` needs the seed that `extract` had: another one makes other halves, which overlap.
TrainingSeed = Annotated[
    int,
    typer.Option(
        "--seed",
        help="Seed of the split into halves. This verb uses the training half.",
        rich_help_panel=DATA,
    ),
]
HeldOutSeed = Annotated[
    int,
    typer.Option(
        "--seed",
        help="Seed of the split into halves. This verb uses the held-out half.",
        rich_help_panel=DATA,
    ),
]

Reading = Annotated[
    str,
    typer.Option(
        "--readout",
        help="letters (logits of the option letters) or continuation (words of the options).",
        rich_help_panel=READING,
    ),
]
Order = Annotated[
    str,
    typer.Option(
        help="Order of the lettered options: both, or random as in the paper.",
        rich_help_panel=READING,
    ),
]
Labels = Annotated[
    str,
    typer.Option(
        help="Names of the lettered options: A/B, or 1/2 or X/Y as a control.",
        rich_help_panel=READING,
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix",
        help="What the answer begins with, before the letter; '' is the paper's. Letters only.",
        show_default="chosen on control items",
        rich_help_panel=READING,
    ),
]
Think = Annotated[
    int | None,
    typer.Option(
        "--think",
        help="For models that think: 0 reads after an empty think block, N after at most N tokens "
        "of the model's thoughts.",
        min=0,
        show_default="as the chat template does without thinking",
        rich_help_panel=READING,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="A system message before every prompt.",
        show_default=False,
        rich_help_panel=READING,
    ),
]
PersonaName = Annotated[
    str | None,
    typer.Option(
        "--persona",
        help="A persona as system message: basic:India, advanced:IND, respondent:3 or "
        "respondent:3:India.",
        show_default=False,
        rich_help_panel=READING,
    ),
]
FactsFolder = Annotated[
    Path | None,
    typer.Option(
        "--facts",
        help="A folder that `wvs` wrote. Its figures replace the shipped ones.",
        show_default=False,
        rich_help_panel=FIGURES,
    ),
]

Vectors = Annotated[
    Path,
    typer.Option("--vectors", help="A file that `extract` wrote.", rich_help_panel=STEERING),
]
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        help="Layers to steer, counted from 0, separated by commas.",
        rich_help_panel=STEERING,
    ),
]
AxisLayers = Annotated[
    list[str],
    typer.Option(
        "--layers",
        help="AXIS=layers, for example X=12,13. Give it once for each axis.",
        rich_help_panel=STEERING,
    ),
]
HookPoint = Annotated[
    str | None,
    typer.Option(
        "--hook-point",
        help="Where in each block to steer: hook_resid_post (its output), hook_resid_pre, ...",
        show_default="where the vectors were read",
        rich_help_panel=STEERING,
    ),
]
Axis = Annotated[str, typer.Option("--axis", help="The axis to steer.", rich_help_panel=STEERING)]
Alphas = Annotated[
    list[float],
    typer.Option(
        "--alpha",
        help="Strength of steering. It can be given several times.",
        rich_help_panel=STEERING,
    ),
]
