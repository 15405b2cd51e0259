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

from interp_culture import plots, report_plots
from interp_culture.analysis import About, Analysis, Section, Tables, installed
from interp_culture.errors import InputError
from interp_culture.store import replacing
from interp_culture.survey import TARGETS, countries


def write_report(folder: str | Path) -> Path:
    """Render `report.html` from the tables and the summary that a study left in `folder`."""
    folder = Path(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        tables = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no finished study there ({error}); run `interp-culture study --out {folder}`"
        ) from error
    return _render(
        "report.html.j2",
        folder / "report.html",
        summary=summary,
        manifest=manifest,
        findings=findings(summary),
        sections=_drawn(sections(summary, tables)),
        analyses=[(a, _drawn(a.sections(own, summary))) for a, own in _finished(folder, manifest["key"], tables)],
        distances=_distance_rows(summary),
        n_countries=len(countries()),
        matrix=[row for row in summary["matrix"] if row["readout"] == summary["lead"] and row["value"] == "shift"],
        validity=summary["validity"].values(),
    )


def write_page(analysis: Analysis, tables: Tables, about: About, folder: str | Path) -> Path:
    """Render one analysis alone to `NAME.html` in `folder`."""
    sections = _drawn(analysis.sections(tables, about))
    path = Path(folder) / f"{analysis.name}.html"
    return _render("page.html.j2", path, analysis=analysis, about=about, sections=sections)


def _render(template: str, path: Path, **content: Any) -> Path:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("interp_culture"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template(template).render(plotly_js=get_plotlyjs(), **content)
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _drawn(sections: list[Section]) -> list[tuple[Section, str]]:
    return [(section, _html(section.figure)) for section in sections]


def _finished(folder: Path, key: str, tables: dict[str, pd.DataFrame]) -> Iterator[tuple[Analysis, Tables]]:
    """Every installed analysis that was finished in the folder, for the study that lies there, with its tables."""
    for analysis in installed().values():
        path = folder / f"{analysis.name}.tables.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"key": None}
        if found["key"] == key:
            yield analysis, {name: tables[f"{analysis.name}.{name}"] for name in found["tables"]}


def findings(summary: dict[str, Any]) -> list[str]:
    """What the numbers say, one sentence or two each, the leading readout first."""
    lines = [_validity_finding(summary), _scores_finding(summary), _layers_finding(summary)]
    lines += [_steering_finding(summary, axis) for axis in summary["layers"]]
    lines += [_ratio_finding(summary, row) for row in _ratios(summary)]
    if summary["distances"]:
        lines.append(_map_finding(summary))
    return lines


def sections(summary: dict[str, Any], tables: dict[str, pd.DataFrame]) -> list[Section]:
    """The report's figures, each with the finding as its title."""
    lead, human = summary["lead"], _human_ratios(summary)  # noqa: F841  (lead is read by query)
    top = max(summary["config"]["alphas"])
    response = tables["response"].query("readout == @lead and value == 'shift' and abs(alpha) == @top")
    matrix = tables["matrix"].query("readout == @lead and value == 'shift' and steered != axis")
    null = tables["null"]
    pole = {a: f"{x['negative']} → {x['positive']}" for a, x in summary["axes"].items()}
    axes_text = "; ".join(f"{a}: {text}" for a, text in pole.items())
    by_item = tables["sweep"].groupby(["steered", "layer", "item"]).differential.mean().reset_index()
    n_null = f"{summary['config']['n_random']} random vectors of the same norm (on {summary['n_null']} scenarios)"
    out = []
    if "places" in tables:
        out.append(
            Section(
                "Where the model stands on the cultural map",
                [_neutral_text(summary)],
                report_plots.map_figure(countries(), tables["places"], list(TARGETS)),
                "Item scores of the held-out scenarios, rescaled to each question's range and projected with the "
                "weights of the integrated surveys. Bars: 95% bootstrap over scenarios. Arrows run from the most "
                "negative to the most positive alpha.",
            )
        )
    out += [
        Section(
            "Which layers carry the axes",
            [_layers_finding(summary)],
            plots.layer_figure(by_item, summary["layers"], summary["items"]),
            f"Each layer steered alone on training scenarios (alpha {_signed(summary['config']['sweep_alphas'])}), "
            f"mean |ΔP+| of the scenarios of the steered axis. White frames: the intervention's layers. "
            f"{_measured_text(tables['sweep'])}{axes_text}.",
        ),
        Section(
            "What steering does, against random vectors",
            [_steering_finding(summary, axis) for axis in summary["layers"]],
            plots.response_figure(response, null),
            f"Held-out scenarios, all intervention layers together, alpha {top:g} (up) and {-top:g} (down). Bars: 95% "
            f"bootstrap clustered by item. Grey: {n_null}, same layers, alpha {top:g}.",
        ),
        Section(
            "How far the one axis drags the other",
            [_ratio_finding(summary, row) for row in _ratios(summary)],
            report_plots.ratio_figure(matrix, null[null.axis != null.steered], human),
            "Entanglement ratio min(1, |Δ other| / |Δ steered|) from the response per unit alpha; bars: 95% bootstrap. "
            "Grey: the same ratio for random vectors. Orange: slope of one axis on the other over 115 countries.",
        ),
        Section(
            "The shifts by domain",
            [_domain_text(tables["domains"])],
            report_plots.domain_figure(tables["domains"]),
            f"Change of the mean P+ at alpha {top:g} by domain; bars: 95% bootstrap clustered by item.",
        ),
        Section(
            "Can the readouts be believed?",
            [_validity_text(v) for v in summary["validity"].values()],
            report_plots.validity_figure(tables["validity"]),
            "Control items have an answer that is right by plain fact or common sense. Bars: 95% Wilson interval.",
        ),
    ]
    return out


def _validity_finding(summary: dict[str, Any]) -> str:
    lead = summary["lead"]
    v = summary["validity"][lead]
    others = [r for r, x in summary["validity"].items() if not x["ok"]]
    verdict = "passes its check" if v["ok"] else "fails its check too, so the numbers below say little"
    text = (
        f"Everything below is read with the {lead} readout, which {verdict}: it finds the right answer on "
        f"{v['accuracy']:.0%} of {v['n']} control items "
        f"(95% interval {v['accuracy_low']:.0%} to {v['accuracy_high']:.0%})."
    )
    for r in others:
        if r != lead:
            text += f" The {r} readout fails: {'; '.join(summary['validity'][r]['failures'])}."
    return text


def _validity_text(v: dict[str, Any]) -> str:
    text = f"{v['readout']}: right on {v['accuracy']:.0%} of {v['n']} control items, spread {v['spread']:.2f}."
    if v["mass"] is not None:
        text += (
            f" Probability on the two letters {v['mass']:.2f}; position bias {v['position_bias']:+.2f} logits toward "
            f"A; both orders agree on {v['consistency']:.0%}; letter tokens read: {v['letters']!r}."
        )
    return text + (" Passes." if v["ok"] else f" Fails: {'; '.join(v['failures'])}.")


def _scores_finding(summary: dict[str, Any]) -> str:
    parts = [
        f"{axis} ({summary['axes'][axis]['negative']} 0 to {summary['axes'][axis]['positive']} 1) {score:.3f}"
        for axis, score in summary["scores"].items()
    ]
    return f"Plain {summary['model']['model']} scores on {summary['n_test']} held-out scenarios: {', '.join(parts)}."


def _measured_text(sweep: pd.DataFrame) -> str:
    """Which layers a sweep measured, where it did not measure all; else nothing."""
    measured = sweep[sweep.method == "exact"].groupby("steered").layer.unique()
    if (sweep.method == "exact").all():
        return ""
    lists = "; ".join(f"{axis} {', '.join(map(str, sorted(layers)))}" for axis, layers in measured.items())
    return f"Measured layers: {lists or 'none'}; the others are predicted from gradients, to first order. "


def _layers_finding(summary: dict[str, Any]) -> str:
    parts = []
    for axis, layers in summary["layers"].items():
        best = summary["best_layer"][axis]
        parts.append(
            f"{axis}: layers {', '.join(map(str, layers))} of {summary['model']['n_layers']} "
            f"(layer {best['layer']:.0f} moves P+ by {best['differential']:.3f})"
        )
    return f"The {summary['config']['top_k']} largest steering differentials lie at — {'; '.join(parts)}."


def _steering_finding(summary: dict[str, Any], axis: str) -> str:
    top = max(summary["config"]["alphas"])
    own = {r["alpha"]: r for r in summary["response"] if r["steered"] == r["axis"] == axis}
    up, down = own[top], own[-top]
    text = (
        f"Steering {axis} by alpha {top:+g} moves its own score by {_interval(up, 'effect')}, by {-top:+g} by "
        f"{_interval(down, 'effect')}; random vectors of the same norm give "
        f"{up['null_low']:+.3f} to {up['null_high']:+.3f}. "
    )
    beyond = [r for r in (up, down) if r["outside_null"] and r["effect"] * r["alpha"] > 0]
    sure = [r for r in beyond if r["low"] * r["high"] > 0]
    if not beyond:
        return text + "Neither sign moves it the intended way beyond the random vectors: no effect is shown."
    which = "Both signs move" if len(beyond) == 2 else f"Only alpha {beyond[0]['alpha']:+g} moves"
    text += f"{which} it the intended way beyond the random vectors"
    if len(sure) == len(beyond):
        return text + ", with an interval without 0."
    if sure:
        return text + f", with an interval without 0 at alpha {sure[0]['alpha']:+g} only."
    return text + ", but the interval over items holds 0: not every item goes along."


def _ratios(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        row
        for row in summary["matrix"]
        if row["readout"] == summary["lead"] and row["value"] == "shift" and row["steered"] != row["axis"]
    ]


def _ratio_finding(summary: dict[str, Any], row: dict[str, Any]) -> str:
    steered, axis = row["steered"], row["axis"]
    text = (
        f"Steering {steered} drags {axis} along by {_interval(row, 'D')} per unit alpha: entanglement ratio "
        f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]. Random vectors of the same norm give a "
        f"median ratio of {summary['null_ratio'][f'{steered} {axis}']:.2f}"
    )
    human = _human_ratios(summary).get(steered)
    text += f", human societies {human:.2f}." if human is not None else "."
    if not row["defined"]:
        return text + f" {steered} itself did not move beyond its interval, so the ratio divides noise."
    if row["low"] <= 0 <= row["high"]:
        return text + f" The interval of the drag holds 0: no coupling of {axis} to {steered} is shown."
    return text + f" The interval of the drag excludes 0: {axis} is coupled to {steered}."


def _domain_text(domains: pd.DataFrame) -> str:
    clear = domains[(domains.low * domains.high > 0)]
    if clear.empty:
        return "No shift in any single domain has an interval without 0."
    parts = [f"{r.axis} under {r.steered} in {r.domain} {r.effect:+.3f}" for r in clear.itertuples()]
    return f"{len(clear)} of {len(domains)} shifts have an interval without 0: {'; '.join(parts)}."


def _map_finding(summary: dict[str, Any]) -> str:
    plain = [d for d in summary["distances"] if d["steered"] == "" and d["alpha"] == 0]
    near = ", ".join(f"{d['country']} {d['distance']:.2f}" for d in sorted(plain, key=lambda d: d["distance"]))
    place = next(p for p in summary["places"] if p["steered"] == "")
    return f"On the map the plain model lies at ({place['x']:+.2f}, {place['y']:+.2f}); distances: {near} map units."


def _neutral_text(summary: dict[str, Any]) -> str:
    neutral = next(p for p in summary["places"] if p["steered"] == "neutral")
    projection = summary["projection"]
    return (
        f"Read the position with care: a model that prefers nothing (every score 0.5) lies at ({neutral['x']:+.2f}, "
        f"{neutral['y']:+.2f}), more secular than any country, because most people answer far from the middle of the "
        "scales. And the map's arithmetic couples the axes by itself: moving only the X items changes y by "
        f"{projection['X']:.2f} of the change in x, moving only the Y items changes x by {projection['Y']:.2f} of the "
        "change in y. The ratios below are therefore taken from scores, not from map coordinates."
    )


def _human_ratios(summary: dict[str, Any]) -> dict[str, float]:
    human = summary["human"]
    return {"X": human["y_per_x"], "Y": human["x_per_y"]} if human else {}


def _distance_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run, a column a target country."""
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for d in summary["distances"]:
        label = {"": "plain model", "neutral": "no preference"}.get(d["steered"], f"{d['steered']} {d['alpha']:+g}")
        rows.setdefault((d["steered"], d["alpha"]), {"label": label})[d["country"]] = d
    return list(rows.values())


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _signed(alphas: list[float]) -> str:
    return ", ".join(f"{a:+g}" for a in alphas)


def _html(figure: go.Figure) -> str:
    return plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, config={"responsive": True, "displayModeBar": False}
    )
