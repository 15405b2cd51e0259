"""The findings about effects of steering: coupling between axes, and each axis' own response."""

from __future__ import annotations

from dataclasses import dataclass

from interp_culture.stats import LEAST_N, LEVEL, excludes_zero, interval_words
from interp_culture.study.summary import MatrixRow, PlantedRow, ResponseRow, Summary


@dataclass(frozen=True)
class Finding:
    """One answer and the numbers behind it.

    Attributes:
        answer: one sentence.
        evidence: how sure the answer is.
    """

    answer: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.answer} {self.evidence}"


@dataclass(frozen=True)
class Question:
    """One of the questions on the first screen of a report, with its answer."""

    text: str
    finding: Finding


def headline(summary: Summary) -> str:
    """The answer to the question of the study: which axes are coupled."""
    rows = cross_responses(summary)
    coupled = [row for row in rows if is_coupled(summary, row)]
    alone = [row for row in rows if moves_alone(summary, row)]
    if not (coupled or alone):
        return "We found no coupling of one axis to another"
    parts = []
    if coupled:
        named = [f"{row['axis']} to {row['steered']}" for row in coupled]
        parts.append(f"we found a coupling beyond random vectors: {', '.join(named)}")
    parts += [
        f"steering {row['steered']} moves {row['axis']}, but {row['steered']} itself does not "
        "measurably move"
        for row in alone
    ]
    others = [
        f"{row['axis']} to {row['steered']}"
        for row in rows
        if row["defined"] and row not in coupled
    ]
    if others and not coupled:
        parts.append(f"we found no coupling of {', '.join(others)}")
    text = "; ".join(parts)
    # Not `capitalize`, which makes the names of axes small.
    return text[0].upper() + text[1:]


def cross_responses(summary: Summary) -> list[MatrixRow]:
    """The rows of the response matrix, in P+, whose axis is not the steered one."""
    return [row for row in primary_matrix(summary) if row["steered"] != row["axis"]]


def primary_matrix(summary: Summary) -> list[MatrixRow]:
    """The response matrix of the primary readout, in P+."""
    return [
        row
        for row in summary["matrix"]
        if row["readout"] == summary["primary_readout"] and row["value"] == "shift"
    ]


def coupling_finding(summary: Summary, row: MatrixRow) -> Finding:
    """Whether the read axis of `row` is coupled to its steered axis."""
    steered = row["steered"]
    axis = row["axis"]
    beyond = " and ".join(_alphas_beyond(summary, row))
    interval = f"When we steer {steered}, the 95% interval of the change of {axis}"
    own_interval = f"the 95% interval of {steered}'s own change includes 0"
    if not _has_interval(row):
        answer = f"We claim nothing about a coupling of {axis} to {steered}."
        reason = f"Fewer than {LEAST_N} scenarios of {axis} were read."
    # The ratio divides by the steered axis' own change: if that may be 0, no coupling is claimed.
    elif moves_alone(summary, row):
        answer = f"Steering {steered} moves {axis}, but {steered} itself does not measurably move."
        reason = (
            f"{axis} moves beyond random vectors at alpha {beyond}, while {own_interval}, so the "
            "entanglement ratio is not defined."
        )
    elif not row["defined"]:
        answer = (
            f"We cannot judge a coupling of {axis} to {steered}: {steered} itself does not "
            "measurably move."
        )
        reason = f"Since {own_interval}, the entanglement ratio would divide noise."
    elif not excludes_zero(row["low"], row["high"]):
        answer = f"We found no coupling of {axis} to {steered}."
        reason = f"{interval} includes 0."
    elif beyond:
        answer = f"{axis} is coupled to {steered}."
        reason = f"{interval} excludes 0; at alpha {beyond} the change is beyond random vectors."
    elif row["p_null"] <= LEVEL:
        answer = f"A coupling of {axis} to {steered} is not sure."
        reason = (
            f"{interval} excludes 0 and is beyond random vectors, but not by enough for the "
            f"{len(cross_responses(summary))} pairs that were looked at (q {row['q']:.2g})."
        )
    else:
        answer = f"We found no coupling of {axis} to {steered} beyond random vectors."
        reason = f"{interval} excludes 0, but random vectors change {axis} as far."
    evidence = f"{reason} {_coupling_numbers(summary, row)}"
    # The bound makes a null result one that says something.
    return Finding(answer, f"{evidence} {_bound(row)}" if _has_interval(row) else evidence)


def planted_finding(summary: Summary) -> Finding | None:
    """Whether the positive control was found; None for a study without one."""
    control = summary["config"]["planted"]
    row = planted_row(summary)
    if control is None or row is None:
        return None
    verdict = "is found" if row["found"] else "is not found"
    answer = (
        f"A planted coupling of {row['axis']} to {row['steered']}, of {control['size']:+.3f} per "
        f"unit of alpha, {verdict}."
    )
    growth = interval_words(row["growth"], row["growth_low"], row["growth_high"])
    evidence = (
        f"We wrote a {row['kind']} leak into the model after block {row['block']}, which to first "
        f"order adds {row['predicted']:+.3f} to D. The same steering then "
        f"changes {row['axis']} by D = {interval_words(row['D'], row['low'], row['high'])} per "
        f"unit of alpha (p {row['p_null']:.2g} among random vectors), which is {growth} more than "
        "in the plain model."
    )
    if row["growth_high"] < row["predicted"]:
        evidence += " This growth is less than the one to first order."
    if not row["found"]:
        evidence += " So a coupling of this size could be in the plain model without being found."
    return Finding(answer, evidence)


def planted_row(summary: Summary) -> PlantedRow | None:
    """The response in which the positive control was planted; None for a study without one."""
    control = summary["config"]["planted"]
    if control is None:
        return None
    pair = (control["steered"], control["axis"])
    return next(row for row in summary["planted"] if (row["steered"], row["axis"]) == pair)


def _bound(row: MatrixRow) -> str:
    """The smallest coupling that the study would have found."""
    return (
        f"A coupling of ±{row['detectable']:.3f} per unit of alpha would have been found in 80% of "
        "such studies."
    )


def _coupling_numbers(summary: Summary, row: MatrixRow) -> str:
    effects = at_largest_alpha(summary, row["steered"], row["axis"])
    at_both = " and ".join(f"{r['effect']:+.3f} at alpha {r['alpha']:+g}" for r in effects)
    change = (
        f"P+ of {row['axis']} changes by D = {interval_words(row['D'], row['low'], row['high'])} "
        f"per unit of alpha ({at_both}; random-vector band {_band(effects[0])})."
    )
    return f"{change} {_ratio_words(summary, row)}" if row["defined"] else change


def _ratio_words(summary: Summary, row: MatrixRow) -> str:
    """The entanglement ratio, compared with random vectors and with human societies."""
    ratio = interval_words(row["ratio"], row["ratio_low"], row["ratio_high"], digits=2, sign="")
    null_ratio = summary["null_ratio"][f"{row['steered']} {row['axis']}"]
    text = f"The entanglement ratio is {ratio}; random vectors have a median of {null_ratio:.2f}"
    human = human_ratios(summary).get(row["steered"])
    return f"{text}." if human is None else f"{text}, human societies {human:.2f}."


def is_coupled(summary: Summary, row: MatrixRow) -> bool:
    """Whether the steered axis moves, and the other with it beyond random vectors."""
    return row["defined"] and bool(_alphas_beyond(summary, row))


def moves_alone(summary: Summary, row: MatrixRow) -> bool:
    """Whether the other axis moves beyond random vectors, but the steered axis does not move."""
    return not row["defined"] and bool(_alphas_beyond(summary, row))


def _alphas_beyond(summary: Summary, row: MatrixRow) -> list[str]:
    """The signs of the largest alpha at which an effect is beyond random vectors.

    Empty where the effect per unit of alpha is not shown, for as many pairs as there are.
    """
    # One sign alone may be off by what a vector does whatever its sign; D cancels that.
    if not row["shown"]:
        return []
    effects = at_largest_alpha(summary, row["steered"], row["axis"])
    return [f"{r['alpha']:+g}" for r in effects if r["outside_null"]]


def steering_finding(summary: Summary, axis: str) -> Finding:
    """Whether steering an axis moves this axis in the intended direction."""
    effects = at_largest_alpha(summary, axis, axis)
    changes = " and ".join(
        f"{interval_words(r['effect'], r['low'], r['high'])} at alpha {r['alpha']:+g}"
        for r in effects
    )
    numbers = f"P+ of {axis} changes by {changes}; random-vector band {_band(effects[0])}."
    if not _has_interval(effects[0]):
        return Finding(
            f"We claim nothing about steering {axis}.",
            f"Fewer than {LEAST_N} scenarios of {axis} were read. {numbers}",
        )
    beyond = effects_as_intended(summary, axis)
    if not beyond:
        return Finding(
            f"We found no intended effect of steering {axis} on {axis} itself.",
            f"At neither sign of alpha does {axis} move in the intended direction beyond random "
            f"vectors. {numbers}",
        )
    alphas = _alphas(beyond)
    intended = f"Steering {axis} moves {axis} in the intended direction"
    reason = f"It moves beyond random vectors at alpha {alphas}"
    # The interval is over items: one strong item can carry a mean beyond random vectors.
    certain = certain_effects(summary, axis)
    if not certain:
        answer = f"{intended} beyond random vectors, but not every item goes along."
        reason += ", but there the 95% interval over items includes 0."
    elif len(certain) < len(beyond):
        answer = f"{intended}, but the 95% interval excludes 0 only at alpha {_alphas(certain)}."
        reason += "."
    else:
        answer = f"{intended} at alpha {alphas}{'' if len(beyond) == 2 else ' only'}."
        reason += ", and the 95% interval excludes 0 there."
    return Finding(answer, f"{reason} {numbers}")


def effects_as_intended(summary: Summary, axis: str) -> list[ResponseRow]:
    """The effects at the largest alpha in the direction of alpha and beyond random vectors."""
    return [
        r
        for r in at_largest_alpha(summary, axis, axis)
        if r["outside_null"] and r["effect"] * r["alpha"] > 0
    ]


def certain_effects(summary: Summary, axis: str) -> list[ResponseRow]:
    """Those of `effects_as_intended` whose interval excludes 0."""
    return [r for r in effects_as_intended(summary, axis) if excludes_zero(r["low"], r["high"])]


def at_largest_alpha(summary: Summary, steered: str, axis: str) -> list[ResponseRow]:
    """The effects at both signs of the largest alpha, the positive sign first."""
    # Only there are random vectors measured.
    top = max(summary["config"]["alphas"])
    effects = [
        r
        for r in summary["response"]
        if (r["steered"], r["axis"], abs(r["alpha"])) == (steered, axis, top)
    ]
    return sorted(effects, key=lambda r: -r["alpha"])


def human_ratios(summary: Summary) -> dict[str, float]:
    """The slope of the other axis on each axis over countries; empty without the cultural map."""
    human = summary["human"]
    # Like the entanglement ratio, a slope is the change of one axis over that of the other.
    return {"X": human["y_per_x"], "Y": human["x_per_y"]} if human else {}


def _band(effect: ResponseRow) -> str:
    return f"{effect['null_low']:+.3f} to {effect['null_high']:+.3f}"


def _alphas(effects: list[ResponseRow]) -> str:
    return " and ".join(f"{r['alpha']:+g}" for r in effects)


def _has_interval(row: MatrixRow | ResponseRow) -> bool:
    return row["low"] == row["low"]  # NaN is not equal to itself
