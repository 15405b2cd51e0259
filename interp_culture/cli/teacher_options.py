"""The options of `generate`, in the groups in which its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp_culture.cli import options as o

TASK = "Scenarios to write"
TEACHER = "Teacher"
RULES = "Rules for a valid candidate"

Item = Annotated[
    str,
    typer.Option(
        "--item", help="The item of the dilemmas, as named in axes.yaml.", rich_help_panel=TASK
    ),
]
Domain = Annotated[
    str, typer.Option("--domain", help="The domain of the dilemmas.", rich_help_panel=TASK)
]
Endpoint = Annotated[
    str,
    typer.Option(
        "--endpoint",
        help="Base URL of an OpenAI-compatible endpoint. The key is read from OPENAI_API_KEY.",
        rich_help_panel=TEACHER,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", help="The teacher model, by its name at the endpoint.", rich_help_panel=TEACHER
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="File of the set, .jsonl. The pool of candidates and a manifest are written "
        "next to it.",
        rich_help_panel=o.OUTPUT,
    ),
]
Number = Annotated[
    int,
    typer.Option("--n", help="Number of valid candidates in the pool.", rich_help_panel=TASK),
]
Selected = Annotated[
    int,
    typer.Option(
        "--select",
        help="Number of candidates, the most varied ones, that make the set.",
        rich_help_panel=TASK,
    ),
]
Catalogue = Annotated[
    Path | None,
    typer.Option(
        "--scenarios",
        help="A folder with an axes.yaml, or the name of a shipped set.",
        show_default="culture",
        rich_help_panel=TASK,
    ),
]
About = Annotated[
    str,
    typer.Option(
        "--about",
        help="The meaning of the item, in your words, for the teacher.",
        show_default=False,
        rich_help_panel=TASK,
    ),
]
First = Annotated[
    int,
    typer.Option(
        "--first",
        help="Number in the first id. Give more than 1 to extend a set.",
        rich_help_panel=TASK,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", help="Seed of the cues and of the teacher's sampling.", rich_help_panel=TASK
    ),
]
PerRequest = Annotated[
    int,
    typer.Option(
        "--per-request", help="Number of candidates per request.", rich_help_panel=TEACHER
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", help="Sampling temperature of the teacher.", rich_help_panel=TEACHER
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for an answer.", rich_help_panel=TEACHER)
]
MaxRetries = Annotated[
    int,
    typer.Option(
        "--max-retries",
        help="Retries of a request after 429, 5xx or a lost connection.",
        rich_help_panel=TEACHER,
    ),
]
PriceIn = Annotated[
    float | None,
    typer.Option(
        "--price-in",
        help="Price of a million tokens sent.",
        show_default=False,
        rich_help_panel=TEACHER,
    ),
]
PriceOut = Annotated[
    float | None,
    typer.Option(
        "--price-out",
        help="Price of a million tokens received.",
        show_default=False,
        rich_help_panel=TEACHER,
    ),
]
MaxLengthDifference = Annotated[
    int,
    typer.Option(
        "--max-length-difference",
        help="Largest difference between the lengths of two options, in words.",
        rich_help_panel=RULES,
    ),
]
MaxLikeness = Annotated[
    float,
    typer.Option(
        "--max-likeness",
        help="Largest TF-IDF cosine between two situations.",
        rich_help_panel=RULES,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print the next prompt and send nothing.", rich_help_panel=TEACHER
    ),
]
