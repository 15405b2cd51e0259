"""The report of a comparison as one self-contained HTML file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from interp_culture.artifacts.folders import make_folder
from interp_culture.reporting.comparison_findings import comparison_findings
from interp_culture.reporting.comparison_overview import comparison_questions
from interp_culture.reporting.comparison_sections import comparison_sections, left_out
from interp_culture.reporting.glossary import READING_NOTE, TERMS, anchor, mark_terms, term_link
from interp_culture.reporting.rendering import drawn, marked_findings, marked_questions, render
from interp_culture.study.comparison import Comparison


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Render `compare.html` in a folder, and return its path.

    Args:
        comparison: what `ic.study.compare` returned; `ic.study.save_comparison` writes its tables.

    >>> comparison = ic.study.compare(["results/a", "results/b"])  # doctest: +SKIP
    >>> write_comparison(comparison, "results/compare")  # doctest: +SKIP
    PosixPath('results/compare/compare.html')
    """
    first = next(iter(comparison.summaries.values()))
    return render(
        "comparison.html.j2",
        make_folder(folder) / "compare.html",
        written=datetime.now(UTC).date().isoformat(),
        models=comparison.models,
        questions=marked_questions(comparison_questions(comparison)),
        axes=first["axes"],
        reading_note=mark_terms([READING_NOTE])[0],
        basis=basis(comparison),
        findings=marked_findings(comparison_findings(comparison)),
        left_out=left_out(comparison),
        sections=drawn(comparison_sections(comparison)),
        matrix=comparison.matrix.to_dict("records"),
        differences=comparison.differences.to_dict("records"),
        studies=comparison.studies.to_dict("records"),
        settings=_settings_by_field(comparison.settings),
        notes=notes(comparison),
        glossary=[(anchor(term), term, text) for term, text in TERMS.items()],
        term=term_link,
    )


def basis(comparison: Comparison) -> str:
    """The number of scenarios behind every effect, and the readout."""
    read = {row.model: row.n_test for row in comparison.studies.itertuples()}
    text = (
        f"Effects are measured on {comparison.n_shared} held-out scenarios (all axes together) "
        f"that every model read, by the {comparison.readout} readout."
    )
    if set(read.values()) == {comparison.n_shared}:
        return text
    counts = ", ".join(f"{model} {n}" for model, n in read.items())
    return f"{text} Held-out scenarios of each study: {counts}; those not shared are left out."


def notes(comparison: Comparison) -> list[str]:
    """Cautions about how the studies were run."""
    fields = set(comparison.settings.field)
    cautions = []
    if fields & {"source", "versions"}:
        cautions.append(
            "The studies were computed by different versions of the code or its packages; a "
            "difference between models may come from there. Run them again with one version to "
            "exclude this."
        )
    if "dtype" in fields or comparison.studies.dtype.nunique() > 1:
        cautions.append(
            "The models ran with different number formats, which alone can change scores a little."
        )
    return cautions


def _settings_by_field(settings: pd.DataFrame) -> dict[str, dict[str, str]]:
    """field -> model -> value."""
    return {
        str(field): dict(zip(rows.model, rows.value, strict=True))
        for field, rows in settings.groupby("field", sort=False)
    }
