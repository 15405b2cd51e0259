"""A study's tables and summary, rendered as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from interp_culture.artifacts import read_json, read_table, replacing
from interp_culture.errors import InputError
from interp_culture.reporting.effect_findings import Finding, headline, primary_matrix
from interp_culture.reporting.findings import basis, findings
from interp_culture.reporting.glossary import READING_NOTE, TERMS, anchor, mark_terms, term_link
from interp_culture.reporting.study_sections import sections
from interp_culture.study.analysis import About, Analysis, Section, Tables, installed
from interp_culture.study.summary import (
    DistanceRow,
    Manifest,
    Summary,
    read_manifest,
    read_summary,
)
from interp_culture.survey.wvs import countries

# The study's tables that sections are drawn from; those of the map only if the items are the map's.
ON_MAP = ("places", "distances")
SHOWN = ("response", "matrix", "null", "domains", "sweep", "validity", *ON_MAP)


def write_report(folder: str | Path) -> Path:
    """Render `report.html` from the tables and the summary of a finished study.

    Args:
        folder: the folder that the study wrote (`StudyConfig.out`).

    Returns:
        The path of the report.

    Raises:
        InputError: no finished study is in the folder, or its files are of different studies.

    >>> write_report("results/quick")  # doctest: +SKIP
    PosixPath('results/quick/report.html')
    """
    folder = Path(folder)
    try:
        summary = read_summary(folder)
        manifest = read_manifest(folder)
    except (InputError, KeyError) as error:
        raise InputError(
            f"{folder}: no finished study there ({error}); "
            f"run `interp-culture study --out {folder}`"
        ) from error
    tables = _study_tables(folder, summary, manifest)
    analyses = [
        (analysis, _drawn(analysis.sections(own_tables, summary)))
        for analysis, own_tables in _finished_analyses(folder, manifest["key"])
    ]
    return _render(
        "report.html.j2",
        folder / "report.html",
        summary=summary,
        manifest=manifest,
        headline=headline(summary),
        basis=basis(summary),
        reading_note=mark_terms([READING_NOTE])[0],
        findings=_marked_findings(findings(summary)),
        sections=_drawn(sections(summary, tables)),
        analyses=analyses,
        distances=_distance_rows(summary["distances"]),
        n_countries=len(countries()),
        matrix=primary_matrix(summary),
        validity=summary["validity"].values(),
        glossary=[(anchor(term), term, text) for term, text in TERMS.items()],
        term=term_link,
    )


def write_page(analysis: Analysis, tables: Tables, about: About, folder: str | Path) -> Path:
    """Render one analysis alone to `NAME.html` in `folder`, and return its path.

    >>> question = "Is tea a question of culture?"
    >>> tea = ic.study.Analysis("tea", question, lambda study: {}, lambda tables, about: [])
    >>> write_page(tea, {}, {"model": {"model": "smollm2"}}, folder=".").name
    'tea.html'
    """
    return _render(
        "page.html.j2",
        Path(folder) / f"{analysis.name}.html",
        analysis=analysis,
        about=about,
        sections=_drawn(analysis.sections(tables, about), linked=False),
    )


def _render(template: str, path: Path, **content: Any) -> Path:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("interp_culture.reporting"),
        autoescape=True,
        # A field that a template misspells raises, instead of leaving an empty cell.
        undefined=jinja2.StrictUndefined,
    )
    # plotly.js goes into the page, so that a report opens offline and can be sent as one file.
    html = environment.get_template(template).render(plotly_js=get_plotlyjs(), **content)
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _marked_findings(answers: Sequence[Finding]) -> list[tuple[Markup, Markup]]:
    """Answer and evidence of each finding as HTML, the first use of each term linked."""
    texts = [text for finding in answers for text in (finding.answer, finding.evidence)]
    marked = mark_terms(texts)
    return list(zip(marked[::2], marked[1::2], strict=True))


def _drawn(
    shown: Sequence[Section], linked: bool = True
) -> list[tuple[Section, Sequence[str], str]]:
    """Each section with its text and figure as HTML. Only a page with a glossary is linked."""
    return [(s, mark_terms(s.text) if linked else s.text, _figure_html(s.figure)) for s in shown]


def _study_tables(folder: Path, summary: Summary, manifest: Manifest) -> dict[str, pd.DataFrame]:
    """The study's tables. Raises InputError for a table that another study wrote."""
    # The manifest is written last: a run that was cut off leaves the keys apart.
    key = manifest.get("key")
    if key is None or summary.get("key") != key:
        raise InputError(
            f"{folder}: summary.json and manifest.json are of different studies; "
            f"{_run_again(folder)}"
        )
    names = [name for name in SHOWN if summary["places"] or name not in ON_MAP]
    return {name: _table(folder, name, key) for name in names}


def _table(folder: Path, name: str, key: str) -> pd.DataFrame:
    table = read_table(folder, name, {"key": key})
    if table is None:
        raise InputError(
            f"{folder}: table {name} is missing, unfinished or of another study than the summary; "
            f"{_run_again(folder)}"
        )
    return table


def _run_again(folder: Path) -> str:
    return (
        f"run the study again with `interp-culture study --out {folder}`; "
        "finished steps are not computed again"
    )


def _finished_analyses(folder: Path, key: str) -> Iterator[tuple[Analysis, Tables]]:
    """Every installed analysis that was finished for the study of this key, with its tables."""
    for analysis in installed().values():
        path = folder / f"{analysis.name}.tables.json"
        if not path.exists():
            continue
        stored = read_json(path)
        # An analysis of an earlier study may still be in the folder.
        if stored.get("study") != key:
            continue
        tables = {
            name: _table(folder, f"{analysis.name}.{name}", stored["key"])
            for name in stored["tables"]
        }
        yield analysis, tables


def _distance_rows(distances: Sequence[DistanceRow]) -> list[tuple[str, dict[str, DistanceRow]]]:
    """A label for each run, and its distances by country."""
    rows: dict[str, dict[str, DistanceRow]] = {}
    for d in distances:
        rows.setdefault(_run_label(d), {})[d["country"]] = d
    return list(rows.items())


def _run_label(d: DistanceRow) -> str:
    unsteered = {"": "plain model", "neutral": "no preference"}
    return unsteered.get(d["steered"], f"{d['steered']} {d['alpha']:+g}")


def _figure_html(figure: go.Figure) -> str:
    return plotly.io.to_html(
        figure,
        full_html=False,
        # The page has it once; each figure would add it again, several megabytes.
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )
