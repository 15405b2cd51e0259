"""Sections, findings and templates as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from interp_culture.artifacts.files import replacing
from interp_culture.reporting.content_policy import with_policy
from interp_culture.reporting.effect_findings import Finding, Question
from interp_culture.reporting.glossary import mark_terms
from interp_culture.study.analysis import Section


def render(template: str, path: Path, **content: Any) -> Path:
    """Write a page from a template and what it shows; returns the path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("interp_culture.reporting"),
        autoescape=True,
        # A field that a template misspells raises, instead of leaving an empty cell.
        undefined=jinja2.StrictUndefined,
    )
    # plotly.js goes into the page, so that a report opens offline and can be sent as one file.
    html = environment.get_template(template).render(plotly_js=get_plotlyjs(), **content)
    with replacing(path) as part:
        part.write_text(with_policy(html), encoding="utf-8")
    return path


def marked_findings(answers: Sequence[Finding]) -> list[tuple[Markup, Markup]]:
    """Answer and evidence of each finding as HTML, the first use of each term linked."""
    texts = [text for finding in answers for text in (finding.answer, finding.evidence)]
    marked = mark_terms(texts)
    return list(zip(marked[::2], marked[1::2], strict=True))


def marked_questions(asked: Sequence[Question]) -> list[tuple[str, Markup, Markup]]:
    """Question, answer and evidence as HTML, the first use of each term linked."""
    marked = marked_findings([question.finding for question in asked])
    texts = [question.text for question in asked]
    return [(text, *finding) for text, finding in zip(texts, marked, strict=True)]


def drawn(
    shown: Sequence[Section], linked: bool = True
) -> list[tuple[Section, Sequence[str], str]]:
    """Each section with its text and figure as HTML. Only a page with a glossary is linked."""
    return [(s, mark_terms(s.text) if linked else s.text, figure_html(s.figure)) for s in shown]


def figure_html(figure: go.Figure) -> str:
    return plotly.io.to_html(
        figure,
        full_html=False,
        # The page has it once; each figure would add it again, several megabytes.
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )
