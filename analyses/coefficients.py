"""What does strength buy, and what does it cost? Shifts, divergence, perplexity by coefficient (paper 4.5, figure 6).

python -m analyses.coefficients --preset quick
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd

import interp_culture as ic
from analyses import cost
from analyses.answers import NAMES, PLAIN, Runs
from interp_culture.cli.analysis import run_alone
from interp_culture.reporting import figures as plots
from interp_culture.steering.fluency import BudgetError
from interp_culture.study.analysis import About, Analysis, Section, Tables, interval_text

STEPS = (
    (0.5, 1, 2, 4, 8),
    (2, 4),
)  # times half the study's largest alpha; the second in a brief study
BUDGET = 0.1  # nats per token


def measure(study: ic.Study) -> Tables:
    """Every axis' vectors at five strengths and both signs; what they cost beside a random vector at each strength.

    effects: steered, alpha, axis, effect (change of mean P+), low, high, n. ratios: steered, alpha, axis, ratio, low,
    high, defined (Eq. 5). null: `ic.coupling.response` of the study's own runs, which has 20 or more random vectors. calibrated:
    steered, alpha > 0 at which the KL is `budget` (nats per token), axis, effect, low, high, n. texts, cost: `cost`.
    """
    table = readouts(study)
    at_budget = study.once("coefficients.calibrated_readouts", lambda: _at_budget(study))
    return {
        "readouts": table,
        "effects": ic.coupling.effects(ic.coupling.shifts(table), ["steered", "alpha"]),
        "ratios": _ratios(table),
        "null": ic.coupling.response(study.steered(study.lead)),
        "calibrated": ic.coupling.effects(
            ic.coupling.shifts(at_budget), ["steered", "alpha"]
        ).assign(budget=BUDGET),
        **cost.measure(study, steered_runs(study)),
    }


def readouts(study: ic.Study) -> pd.DataFrame:
    """`study.some` plain and under each axis' vectors at every strength: steered, method, alpha, columns of `probe`."""
    own = {key: edits for key, edits in steered_runs(study).items() if key[1] != "random"}
    return study.once("coefficients.readouts", lambda: study.read(own, NAMES))


def steered_runs(study: ic.Study) -> Runs:
    """The plain model, each axis' vectors, and random ones of their norm toward no pole."""
    runs, steps = dict(PLAIN), STEPS[study.config.brief]
    for axis, v in study.vectors().items():
        for step, random in zip(
            steps, ic.random_like(v, len(steps), study.config.seed), strict=True
        ):
            alpha = step * max(study.config.alphas) / 2
            runs |= {
                (axis, v.method, signed): ic.steer(v, study.layers[axis], signed)
                for signed in (alpha, -alpha)
            }
            runs[axis, "random", alpha] = ic.steer(random, study.layers[axis], alpha)
    return runs


def _at_budget(study: ic.Study) -> pd.DataFrame:
    """Readouts at the strength of the budget; an axis that reaches it at no strength is left out."""
    runs = dict(PLAIN)
    for axis, v in study.vectors().items():
        with suppress(BudgetError):
            alpha = ic.steering.calibrate(
                study.model, v, study.layers[axis], BUDGET, texts=cost.neutral_texts(study)
            )
            runs[axis, v.method, alpha] = ic.steer(v, study.layers[axis], alpha)
    return study.read(runs, NAMES)


def _ratios(readouts: pd.DataFrame) -> pd.DataFrame:
    plain, rows = readouts[readouts.method == "plain"], []
    for (steered, alpha), after in readouts[readouts.method != "plain"].groupby(
        ["steered", "alpha"]
    ):
        found = ic.entanglement(plain, after, steered)
        rows += [
            (steered, alpha, axis, r.value, r.low, r.high, found.defined)
            for axis, r in found.ratio.items()
        ]
    return pd.DataFrame(
        rows, columns=["steered", "alpha", "axis", "ratio", "low", "high", "defined"]
    )


def sections(tables: Tables, about: About) -> list[Section]:
    names, top = (
        {"effect": "change of mean P+ (0 to 1)", "axis": "read"},
        max(about["config"]["alphas"]),
    )
    moved = Section(
        _moved_title(tables["effects"], tables["null"], top),
        [
            _ratio_text(tables["ratios"]),
            *_calibrated_text(tables["calibrated"], set(tables["effects"].steered)),
        ],
        plots.interval_figure(
            tables["effects"], "alpha", colour="axis", facet="steered", names=names, lines=True
        ),
        f"{about['config']['method']} vectors at the intervention's layers, {about['n_some']} held-out scenarios. "
        f"Bars: 95% bootstrap by item. In the title, at alpha {top:g}: all {about['n_test']}, the random vectors on "
        f"{about['n_null']}.",
    )
    return [moved, *cost.sections(tables, about)]


def _moved_title(effects: pd.DataFrame, null: pd.DataFrame, top: float) -> str:
    told = []
    for r in null[(null.axis == null.steered) & (null.alpha == top)].itertuples():
        own = effects[(effects.steered == r.steered) & (effects.axis == r.axis)]
        moved = set(own[np.where(own.alpha > 0, own.low > 0, own.high < 0)].alpha)
        both = [
            f"first at |alpha| {alpha:g}"
            for alpha in sorted(moved)
            if alpha > 0 and -alpha in moved
        ]
        first = (both or ["at no strength"])[0]
        beside = "beyond" if r.outside_null else "not shown beyond" if np.isnan(r.low) else "within"
        told.append(
            f"{r.axis} follows both signs {first}; at {top:g} {interval_text(r)}, {beside} random vectors"
        )
    return ". ".join(told)


def _ratio_text(ratios: pd.DataFrame) -> str:
    told = []
    for (steered, axis), own in ratios[ratios.alpha > 0].groupby(["steered", "axis"]):
        values = [
            interval_text(r, "ratio", 2) if r.defined else "not defined" for r in own.itertuples()
        ]
        told.append(f"{axis} when {steered} is steered, {', '.join(values)}")
    strengths = ", ".join(f"{alpha:g}" for alpha in sorted(set(ratios.alpha[ratios.alpha > 0])))
    return f"Entanglement ratio (Eq. 5) at alpha {strengths}: {'; '.join(told)}."


def _calibrated_text(calibrated: pd.DataFrame, axes: set[str]) -> list[str]:
    lost = sorted(axes - set(calibrated.steered))
    told = (
        [f"No strength tried costs {BUDGET:g} nats per token when steering {', '.join(lost)}."]
        if lost
        else []
    )
    for (steered, alpha, budget), own in calibrated.groupby(["steered", "alpha", "budget"]):
        moved = " and ".join(f"{r.axis} by {interval_text(r)}" for r in own.itertuples())
        told.append(
            f"At alpha {alpha:.2f}, which costs {budget:g} nats per token, steering {steered} moves {moved}."
        )
    return told


ANALYSIS = Analysis(
    "coefficients", "What does strength buy, and what does it cost?", measure, sections
)

if __name__ == "__main__":
    run_alone(ANALYSIS)
