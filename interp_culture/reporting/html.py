"""A study's folder -> one self-contained HTML file: findings in words, interactive figures, how it was run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from interp_culture.artifacts import read_table, replacing
from interp_culture.errors import InputError
from interp_culture.reporting.findings import findings, sections
from interp_culture.study.analysis import About, Analysis, Section, Tables, installed
from interp_culture.study.summary import read_summary
from interp_culture.survey.wvs import countries

# The study's tables from which sections are drawn; those of the map where the items are the map's.
ON_MAP = ("places", "distances")
SHOWN = ("response", "matrix", "null", "domains", "sweep", "validity", *ON_MAP)


def write_report(folder: str | Path) -> Path:
    """Render `report.html` from the tables and the summary that a study left in `folder`."""
    folder = Path(folder)
    try:
        summary = read_summary(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: no finished study there ({error}); run `interp-culture study --out {folder}`"
        ) from error
    tables = _tables(folder, summary, manifest)
    return _render(
        "report.html.j2",
        folder / "report.html",
        summary=summary,
        manifest=manifest,
        findings=findings(summary),
        sections=_drawn(sections(summary, tables)),
        analyses=[
            (a, _drawn(a.sections(own, summary))) for a, own in _finished(folder, manifest["key"])
        ],
        distances=_distance_rows(summary),
        n_countries=len(countries()),
        matrix=[
            row
            for row in summary["matrix"]
            if row["readout"] == summary["lead"] and row["value"] == "shift"
        ],
        validity=summary["validity"].values(),
    )


def write_page(analysis: Analysis, tables: Tables, about: About, folder: str | Path) -> Path:
    """Render one analysis alone to `NAME.html` in `folder`."""
    sections = _drawn(analysis.sections(tables, about))
    path = Path(folder) / f"{analysis.name}.html"
    return _render("page.html.j2", path, analysis=analysis, about=about, sections=sections)


def _render(template: str, path: Path, **content: Any) -> Path:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("interp_culture.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(template).render(plotly_js=get_plotlyjs(), **content)
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _drawn(sections: list[Section]) -> list[tuple[Section, str]]:
    return [(section, _html(section.figure)) for section in sections]


def _tables(
    folder: Path, summary: dict[str, Any], manifest: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """The study's own tables that sections are drawn from. Raises InputError for what is of another study."""
    key = manifest.get("key")
    if key is None or summary.get("key") != key:
        raise InputError(
            f"{folder}: summary.json and manifest.json are of different studies; {_again(folder)}"
        )
    names = [name for name in SHOWN if summary["places"] or name not in ON_MAP]
    return {name: _table(folder, name, key) for name in names}


def _table(folder: Path, name: str, key: str) -> pd.DataFrame:
    table = read_table(folder, name, {"key": key})
    if table is None:
        raise InputError(
            f"{folder}: table {name} is missing, unfinished or of another study than the summary; {_again(folder)}"
        )
    return table


def _again(folder: Path) -> str:
    return f"run the study again with `interp-culture study --out {folder}`; what is finished is not computed again"


def _finished(folder: Path, key: str) -> Iterator[tuple[Analysis, Tables]]:
    """Every installed analysis that was finished in the folder, for the study that lies there, with its tables."""
    for analysis in installed().values():
        path = folder / f"{analysis.name}.tables.json"
        stored: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )
        if stored.get("study") == key:
            yield (
                analysis,
                {
                    name: _table(folder, f"{analysis.name}.{name}", stored["key"])
                    for name in stored["tables"]
                },
            )


def _distance_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run, a column a target country."""
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for d in summary["distances"]:
        label = {"": "plain model", "neutral": "no preference"}.get(
            d["steered"], f"{d['steered']} {d['alpha']:+g}"
        )
        rows.setdefault((d["steered"], d["alpha"]), {"label": label})[d["country"]] = d
    return list(rows.values())


def _html(figure: go.Figure) -> str:
    return plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )
