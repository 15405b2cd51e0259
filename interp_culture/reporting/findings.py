"""All findings of a study in words, each with the answer first and the evidence after it."""

from __future__ import annotations

from interp_culture.reporting.effect_findings import (
    Finding,
    coupling_finding,
    cross_responses,
    planted_finding,
    steering_finding,
)
from interp_culture.study.summary import DistanceRow, Summary, ValidityRecord

# What a study's layers have most of, by the ranking of its configuration.
MOST_BY = {
    "effect": "furthest in the direction of steering, for a fair cost,",
    "differential": "most",
}


def findings(summary: Summary) -> list[Finding]:
    """The findings of a study: coupling, steering, position on the map, scores, layers, readout.

    The readout comes first if it fails its check, because the other findings then say little.
    """
    answers = [coupling_finding(summary, row) for row in cross_responses(summary)]
    planted = planted_finding(summary)
    if planted is not None:
        answers.append(planted)
    answers += [steering_finding(summary, axis) for axis in summary["layers"]]
    if summary["distances"]:
        answers.append(map_finding(summary))
    answers += [scores_finding(summary), layers_finding(summary)]
    readout = readout_finding(summary)
    # A readout that fails puts every other finding in doubt, so the reader has to know it first.
    if summary["validity"][summary["primary_readout"]]["ok"]:
        return [*answers, readout]
    return [readout, *answers]


def basis(summary: Summary) -> str:
    """The number of scenarios and random vectors behind every effect."""
    return (
        f"Effects are measured on {summary['n_test']} held-out scenarios (all axes together), "
        "which were not used to compute vectors or to choose layers. "
        f"{null_words(summary)}."
    )


def null_words(summary: Summary) -> str:
    """How many random vectors there are, and how their effects were computed."""
    null = summary["null"]
    how = "predicted to first order" if null["is_predicted"] else "measured"
    text = (
        f"The effects of random vectors ({null['n']} per axis) are {how} on {summary['n_null']} of "
        "these scenarios"
    )
    return text if null["check"] is None else f"{text}; {null['check']}"


def map_finding(summary: Summary) -> Finding:
    """The target country that is nearest to the plain model on the map."""
    by_distance = distances_of_plain_model(summary)
    distances = ", ".join(f"{d['country']} {d['distance']:.2f}" for d in by_distance)
    place = next(p for p in summary["places"] if p["steered"] == "")
    return Finding(
        f"{map_title(summary)}.",
        f"The plain model is at ({place['x']:+.2f}, {place['y']:+.2f}); distances in map units: "
        f"{distances}.",
    )


def map_title(summary: Summary) -> str:
    """The nearest target country, as a title."""
    nearest = distances_of_plain_model(summary)[0]
    return (
        f"Of the four target countries, {nearest['country']} is nearest to the plain model on the "
        f"cultural map: {nearest['distance']:.2f} map units"
    )


def distances_of_plain_model(summary: Summary) -> list[DistanceRow]:
    """The distances of the plain model to the target countries, the nearest first."""
    plain = [d for d in summary["distances"] if d["steered"] == "" and d["alpha"] == 0]
    return sorted(plain, key=lambda d: d["distance"])


def scores_finding(summary: Summary) -> Finding:
    """The mean P+ of each axis without steering."""
    scores = [f"{axis} {score:.3f}" for axis, score in summary["scores"].items()]
    poles = [f"{a}: 0 is {p['negative']}, 1 is {p['positive']}" for a, p in summary["axes"].items()]
    return Finding(
        f"Without steering, {summary['model']['model']} scores {', '.join(scores)}.",
        f"Mean P+ over {summary['n_test']} held-out scenarios ({'; '.join(poles)}).",
    )


def layers_finding(summary: Summary) -> Finding:
    """The steered layers, and the largest effect of a single layer."""
    best = [
        f"{axis} at layer {layer['layer']:.0f} ({layer['differential']:.3f})"
        for axis, layer in summary["best_layer"].items()
    ]
    return Finding(
        f"{layers_title(summary)}, of {summary['model']['n_layers']}.",
        "Counted without its sign, as in the paper, the change by one layer steered alone is "
        f"largest for {', '.join(best)}, on training scenarios.",
    )


def layers_title(summary: Summary) -> str:
    """The steered layers and why these, as a title."""
    layers = "; ".join(
        f"{axis} at layers {', '.join(map(str, chosen))}"
        for axis, chosen in summary["layers"].items()
    )
    if summary["config"]["layers"]:
        return f"We steer the configured layers: {layers}"
    top_k = summary["config"]["top_k"]
    most = MOST_BY[summary["config"]["layers_by"]]
    return f"We steer the {top_k} layers that move P+ {most} when steered alone: {layers}"


def readout_finding(summary: Summary) -> Finding:
    """The primary readout with its check, and why other readouts fail theirs."""
    primary = summary["validity"][summary["primary_readout"]]
    name = primary["readout"]
    # "too": the other readout failed as well, or it would be the primary one.
    answer = (
        f"We read choices with the {name} readout, which passes its validity check."
        if primary["ok"]
        else f"The numbers below say little: the {name} readout, with which we read choices, fails "
        "its validity check too."
    )
    evidence = (
        f"It finds the right answer on {primary['accuracy']:.0%} of {primary['n']} control "
        f"items (95% interval {primary['accuracy_low']:.0%} to {primary['accuracy_high']:.0%})."
    )
    if primary["cautions"]:
        evidence += f" Caution: {'; '.join(primary['cautions'])}; the mean of both cancels this."
    for check in summary["validity"].values():
        if check["readout"] != name:
            evidence += _other_readout(check)
    return Finding(answer, evidence)


def _other_readout(check: ValidityRecord) -> str:
    """Why a readout is not the primary one; empty if it could have been."""
    if not check["ok"]:
        return f" The {check['readout']} readout fails: {'; '.join(check['failures'])}."
    if check["cautions"]:
        cautions = "; ".join(check["cautions"])
        return f" The {check['readout']} readout passes with a caution: {cautions}."
    return ""
