"""What a study found, in words: the findings that the report opens with, and its own sections with their figures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from interp_culture.reporting import figures as plots
from interp_culture.reporting import study_figures as report_plots
from interp_culture.stats import LEAST_N, excludes_zero, interval_words
from interp_culture.study.analysis import Section
from interp_culture.survey.wvs import TARGETS, countries


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
    response = tables["response"].query(
        "readout == @lead and value == 'shift' and abs(alpha) == @top"
    )
    matrix = tables["matrix"].query("readout == @lead and value == 'shift' and steered != axis")
    null = tables["null"]
    pole = {a: f"{x['negative']} → {x['positive']}" for a, x in summary["axes"].items()}
    axes_text = "; ".join(f"{a}: {text}" for a, text in pole.items())
    by_item = (
        tables["sweep"].groupby(["steered", "layer", "item"]).differential.mean().reset_index()
    )
    n_null = f"{summary['config']['n_random']} random vectors of the same norm (on {summary['n_null']} scenarios)"
    out = []
    if "places" in tables:
        out.append(
            Section(
                _map_title(summary),
                [_neutral_text(summary)],
                report_plots.map_figure(countries(), tables["places"], list(TARGETS)),
                "Item scores of the held-out scenarios, rescaled to each question's range and projected with the "
                "weights of the integrated surveys. Bars: 95% bootstrap over scenarios. Arrows run from the most "
                "negative to the most positive alpha.",
            )
        )
    out += [
        Section(
            _layers_title(summary),
            [_layers_finding(summary)],
            plots.layer_figure(by_item, summary["layers"], summary["items"]),
            f"Each layer steered alone on training scenarios (alpha {_signed(summary['config']['sweep_alphas'])}), "
            f"mean |ΔP+| of the scenarios of the steered axis. White frames: the intervention's layers. "
            f"{_measured_text(tables['sweep'])}{axes_text}.",
        ),
        Section(
            _steering_title(summary),
            [_steering_finding(summary, axis) for axis in summary["layers"]],
            plots.response_figure(response, null),
            f"Held-out scenarios, all intervention layers together, alpha {top:g} (up) and {-top:g} (down). Bars: 95% "
            f"bootstrap clustered by item. Grey: {n_null}, same layers, alpha {top:g}.",
        ),
        Section(
            _ratio_title(summary),
            [_ratio_finding(summary, row) for row in _ratios(summary)],
            report_plots.ratio_figure(matrix, null[null.axis != null.steered], human),
            "Entanglement ratio min(1, |Δ other| / |Δ steered|) from the response per unit alpha; bars: 95% bootstrap. "
            "Grey: the same ratio for random vectors. Orange: slope of one axis on the other over 115 countries.",
        ),
        Section(
            f"{tables['domains'].sure.sum()} of {len(tables['domains'])} shifts by domain lie beyond random vectors",
            [_domain_text(tables["domains"])],
            plots.forest_figure(_domain_rows(tables["domains"]), "change of mean P+"),
            f"Alpha {top:g}, held-out scenarios of each domain; bars: 95% bootstrap clustered by item. Grey: {n_null}, "
            "those of the domain. Hollow: the interval holds 0, or random vectors reach as far, or none was read.",
        ),
        Section(
            _validity_title(summary),
            [_validity_text(v) for v in summary["validity"].values()],
            report_plots.validity_figure(tables["validity"]),
            "Control items have an answer that is right by plain fact or common sense. Bars: 95% Wilson interval.",
        ),
    ]
    return out


def _validity_title(summary: dict[str, Any]) -> str:
    verdicts = [f"{r} {'passes' if v['ok'] else 'fails'}" for r, v in summary["validity"].items()]
    return f"Check of the readouts: {', '.join(verdicts)}"


def _validity_finding(summary: dict[str, Any]) -> str:
    lead = summary["lead"]
    v = summary["validity"][lead]
    others = [r for r, x in summary["validity"].items() if not x["ok"]]
    verdict = (
        "passes its check" if v["ok"] else "fails its check too, so the numbers below say little"
    )
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
    lists = "; ".join(
        f"{axis} {', '.join(map(str, sorted(layers)))}" for axis, layers in measured.items()
    )
    return f"Measured layers: {lists or 'none'}; the others are predicted from gradients, to first order. "


def _layers_title(summary: dict[str, Any]) -> str:
    parts = [
        f"{axis} at layers {', '.join(map(str, layers))}"
        for axis, layers in summary["layers"].items()
    ]
    if summary["config"]["layers"]:
        return f"Steered are the configured layers: {'; '.join(parts)}"
    return f"The largest steering differentials: {'; '.join(parts)}"


def _layers_finding(summary: dict[str, Any]) -> str:
    parts = []
    for axis, layers in summary["layers"].items():
        best = summary["best_layer"][axis]
        parts.append(
            f"{axis}: layers {', '.join(map(str, layers))} of {summary['model']['n_layers']} "
            f"(layer {best['layer']:.0f} moves P+ by {best['differential']:.3f})"
        )
    if summary["config"]["layers"]:
        return f"Steered are the configured layers — {'; '.join(parts)}."
    return f"The {summary['config']['top_k']} largest steering differentials lie at — {'; '.join(parts)}."


def _steering_finding(summary: dict[str, Any], axis: str) -> str:
    top = max(summary["config"]["alphas"])
    up, down = _at_top(summary, axis, axis)
    text = (
        f"Steering {axis} by alpha {top:+g} moves its own score by {_interval(up, 'effect')}, by {-top:+g} by "
        f"{_interval(down, 'effect')}; random vectors of the same norm give "
        f"{up['null_low']:+.3f} to {up['null_high']:+.3f}. "
    )
    beyond, sure = _followed(summary, axis)
    if not _has_interval(up):
        return text + f"Fewer than {LEAST_N} scenarios of the axis were read: nothing is claimed."
    if not beyond:
        return (
            text
            + "Neither sign moves it the intended way beyond the random vectors: no effect is shown."
        )
    which = "Both signs move" if len(beyond) == 2 else f"Only alpha {beyond[0]['alpha']:+g} moves"
    text += f"{which} it the intended way beyond the random vectors"
    if len(sure) == len(beyond):
        return text + ", with an interval without 0."
    if sure:
        return text + f", with an interval without 0 at alpha {sure[0]['alpha']:+g} only."
    return text + ", but the interval over items holds 0: not every item goes along."


def _steering_title(summary: dict[str, Any]) -> str:
    counts = [
        f"{axis} at {len(_followed(summary, axis)[1])} of 2 signs" for axis in summary["layers"]
    ]
    return (
        f"Steering moves its own axis as intended, beyond 0 and random vectors: {', '.join(counts)}"
    )


def _followed(
    summary: dict[str, Any], axis: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """At the largest alpha, where the axis follows beyond random vectors; those of it whose interval leaves out 0."""
    beyond = [
        r
        for r in _at_top(summary, axis, axis)
        if r["outside_null"] and r["effect"] * r["alpha"] > 0
    ]
    return beyond, [r for r in beyond if excludes_zero(r["low"], r["high"])]


def _at_top(summary: dict[str, Any], steered: str, axis: str) -> list[dict[str, Any]]:
    """The responses at the largest alpha, of both signs, the positive one first."""
    top = max(summary["config"]["alphas"])
    own = [
        r
        for r in summary["response"]
        if (r["steered"], r["axis"], abs(r["alpha"])) == (steered, axis, top)
    ]
    return sorted(own, key=lambda r: -r["alpha"])


def _ratios(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        row
        for row in summary["matrix"]
        if row["readout"] == summary["lead"]
        and row["value"] == "shift"
        and row["steered"] != row["axis"]
    ]


def _ratio_finding(summary: dict[str, Any], row: dict[str, Any]) -> str:
    steered, axis = row["steered"], row["axis"]
    text = (
        f"Steering {steered} drags {axis} along by {_interval(row, 'D')} per unit alpha: entanglement ratio "
        f"{_ratio(row)}. Random vectors of the same norm give a "
        f"median ratio of {summary['null_ratio'][f'{steered} {axis}']:.2f}"
    )
    human = _human_ratios(summary).get(steered)
    text += f", human societies {human:.2f}." if human is not None else "."
    if not _has_interval(row):
        return text + f" Fewer than {LEAST_N} scenarios of {axis} were read: nothing is claimed."
    if beyond := _moved_alone(summary, row):
        at = " and ".join(beyond)
        return (
            f"{text} Steering {steered} moves {axis} (at alpha {at} beyond random vectors) although {steered} itself "
            f"did not move beyond its interval: an effect on {axis}, but no coupling to {steered}, and no ratio."
        )
    if not row["defined"]:
        return (
            text
            + f" {steered} itself did not move beyond its interval, so the ratio divides noise."
        )
    if row["low"] <= 0 <= row["high"]:
        return (
            text
            + f" The interval of the drag holds 0: no coupling of {axis} to {steered} is shown."
        )
    if beyond := _coupled(summary, row):
        text += f" The interval of the drag excludes 0, and at alpha {' and '.join(beyond)} it is beyond what random"
        return f"{text} vectors do: {axis} is coupled to {steered}."
    return (
        text
        + " The interval of the drag excludes 0, but random vectors drag as far: no coupling beyond is shown."
    )


def _coupled(summary: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The signs of the largest alpha at which a drag that excludes 0 lies beyond random vectors."""
    return _beyond_both(summary, row) if row["defined"] else []


def _moved_alone(summary: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The same where the steered axis itself did not move beyond its interval."""
    return [] if row["defined"] else _beyond_both(summary, row)


def _beyond_both(summary: dict[str, Any], row: dict[str, Any]) -> list[str]:
    if not excludes_zero(row["low"], row["high"]):
        return []
    return [
        f"{r['alpha']:+g}"
        for r in _at_top(summary, row["steered"], row["axis"])
        if r["outside_null"]
    ]


def _ratio_title(summary: dict[str, Any]) -> str:
    shown = [
        f"{row['axis']} to {row['steered']}" for row in _ratios(summary) if _coupled(summary, row)
    ]
    alone = [
        f"Steering {row['steered']} moves {row['axis']} without moving {row['steered']} itself"
        for row in _ratios(summary)
        if _moved_alone(summary, row)
    ]
    coupled = f"Coupled beyond random vectors: {', '.join(shown)}" if shown else ""
    return (
        "; ".join(filter(None, [coupled, *alone])) or "No coupling of one axis to another is shown"
    )


def _domain_rows(domains: pd.DataFrame) -> pd.DataFrame:
    labels, kinds = domains.domain + ", " + domains.axis + " read", domains.axis + " read"
    return domains.assign(label=labels, kind=kinds, panel=domains.steered + " steered").sort_values(
        "label"
    )


def _domain_text(domains: pd.DataFrame) -> str:
    apart = domains[domains.low * domains.high > 0]
    text = f"{len(apart) or 'None'} of {len(domains)} shifts have an interval without 0"
    if apart.empty:
        return f"{text}."
    parts = [
        f"{r.axis} under {r.steered} in {r.domain} {r.effect:+.3f}"
        for r in domains[domains.sure].itertuples()
    ]
    return f"{text}; beyond random vectors of the same norm: {'; '.join(parts) or 'none of them'}."


def _map_title(summary: dict[str, Any]) -> str:
    near = _by_distance(summary)[0]
    return f"Of the four countries the model lies nearest to {near['country']}, {near['distance']:.2f} map units away"


def _by_distance(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain model's distances to the target countries, the nearest first."""
    plain = [d for d in summary["distances"] if d["steered"] == "" and d["alpha"] == 0]
    return sorted(plain, key=lambda d: d["distance"])


def _map_finding(summary: dict[str, Any]) -> str:
    near = ", ".join(f"{d['country']} {d['distance']:.2f}" for d in _by_distance(summary))
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


def _interval(row: dict[str, Any], name: str) -> str:
    return interval_words(row[name], row["low"], row["high"])


def _ratio(row: dict[str, Any]) -> str:
    return interval_words(row["ratio"], row["ratio_low"], row["ratio_high"], digits=2, sign="")


def _has_interval(row: dict[str, Any]) -> bool:
    return row["low"] == row["low"]  # NaN is not equal to itself


def _signed(alphas: list[float]) -> str:
    return ", ".join(f"{a:+g}" for a in alphas)
