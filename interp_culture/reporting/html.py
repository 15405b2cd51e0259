"""A study's tables and summary, rendered as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from interp_culture.reporting.effect_findings import primary_matrix
from interp_culture.reporting.findings import basis, findings
from interp_culture.reporting.glossary import READING_NOTE, TERMS, anchor, mark_terms, term_link
from interp_culture.reporting.overview import (
    overview_caption,
    overview_figures,
    questions,
)
from interp_culture.reporting.rendering import (
    drawn,
    figure_html,
    marked_findings,
    marked_questions,
    render,
)
from interp_culture.reporting.study_sections import sections
from interp_culture.study.analysis import About, Analysis, Tables, installed
from interp_culture.study.finished import FinishedStudy, read_study
from interp_culture.study.summary import DistanceRow
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
    study = read_study(folder)
    summary = study.summary
    manifest = study.manifest
    tables = _study_tables(study)
    analyses = [
        (analysis, drawn(analysis.sections(own_tables, summary)))
        for analysis, own_tables in _finished_analyses(study)
    ]
    return render(
        "report.html.j2",
        study.folder / "report.html",
        summary=summary,
        manifest=manifest,
        questions=marked_questions(questions(summary)),
        overview=[figure_html(f) for f in overview_figures(summary, tables.get("places"))],
        overview_caption=overview_caption(summary),
        basis=basis(summary),
        reading_note=mark_terms([READING_NOTE])[0],
        findings=marked_findings(findings(summary)),
        sections=drawn(sections(summary, tables)),
        why=sorted(
            (shown for shown in analyses if shown[0].part == "why"), key=lambda shown: shown[0].step
        ),
        analyses=[shown for shown in analyses if shown[0].part != "why"],
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
    return render(
        "page.html.j2",
        Path(folder) / f"{analysis.name}.html",
        analysis=analysis,
        about=about,
        sections=drawn(analysis.sections(tables, about), linked=False),
    )


def _study_tables(study: FinishedStudy) -> dict[str, pd.DataFrame]:
    """The tables that sections are drawn from; those of the map only if the study has them."""
    names = [name for name in SHOWN if study.summary["places"] or name not in ON_MAP]
    return {name: study.table(name) for name in names}


def _finished_analyses(study: FinishedStudy) -> Iterator[tuple[Analysis, Tables]]:
    """Every installed analysis that was finished for this study, with its tables."""
    for analysis in installed().values():
        tables = study.analysis_tables(analysis.name)
        if tables is not None:
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
