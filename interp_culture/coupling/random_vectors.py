"""Effects of random vectors to first order, from one backward pass, and how well they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.formats import Readout, ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.sensitivity import sensitivity
from interp_culture.readout.tables import with_keys
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.edits import steer
from interp_culture.steering.readout_gradients import ReadoutGradients
from interp_culture.steering.vectors import SteeringVectors, random_like

# Random vectors whose effects are predicted: their spread is then known to 5%.
PREDICTED = 200
# Random vectors for each axis that are measured to check the prediction: ten for two axes.
CHECKED = 5
# Prediction and measurement agree where the regression through 0 and the correlation of the
# measured effects with the predicted ones are within these. A slope off by a fifth would make the
# band wrong by a fifth, about as much as the band of 20 measured vectors is uncertain.
SLOPES = (0.8, 1.25)
LEAST_CORRELATION = 0.9
# The largest share of the part that does not depend on the sign, root mean square. D does not have
# this part; for effects at one sign the band is widened by it (`one_sided`).
LARGEST_EVEN = 1.0


def predicted_random(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    alpha: float,
    n: int = PREDICTED,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
    gradients: ReadoutGradients | None = None,
) -> pd.DataFrame:
    """The rows of `steered_readouts` for random vectors, to first order in alpha.

    One forward and one backward pass give the gradient of every scenario's logit difference at the
    steered layers; the effect of any vector is its dot product with it. The change of P+ is
    linearised as well, so that the effect at -alpha is minus the one at alpha: what all vectors do
    whatever their sign is not in it. That cancels in D (`response_matrix`) too.

    Args:
        vectors, layers: by axis, as for `steered_readouts`.
        alpha: the strength.
        n: random vectors for each axis.
        seed: of the random vectors; the first ones are those that `steered_readouts` measures.
        gradients: what `readout_gradients` returned for these scenarios, or for more of them;
            computed by default, at the steered layers alone.

    Returns:
        steered, method ("random"), draw, alpha, id, axis, item, domain, logit_diff, p_positive.

    >>> few = test.sample(1, by="item")
    >>> rows = predicted_random(
    ...     model, few, vectors, layers, alpha=1.0, n=3, readout="continuation"
    ... )
    >>> rows.groupby("steered").draw.nunique().to_dict()
    {'X': 3, 'Y': 3}
    """
    if gradients is None:
        streams = sorted({layer + 1 for axis in vectors for layer in layers[axis]})
        plain = sensitivity(model, scenarios, streams, readout=readout)
    else:
        plain = gradients.select([s.id for s in scenarios]).as_sensitivity
    frame = scenarios.frame()
    tables = []
    for axis, of_axis in vectors.items():
        change = np.zeros((n, len(scenarios)))
        for draw, random in enumerate(random_like(of_axis, n, seed)):
            for layer in layers[axis]:
                direction = random.direction[layer].double().numpy()
                change[draw] += alpha * plain.gradient[layer + 1] @ direction
        drawn = pd.concat([frame] * n, ignore_index=True).assign(
            steered=axis,
            method="random",
            draw=np.repeat(np.arange(n), len(frame)),
            alpha=alpha,
            logit_diff=(plain.logit_diff + change).reshape(-1),
            p_positive=(plain.p_positive + plain.slope * change).reshape(-1),
        )
        tables.append(drawn)
    return pd.concat(tables, ignore_index=True)


def null_check(
    model: LanguageModel,
    scenarios: ScenarioSet,
    vectors: Mapping[str, SteeringVectors],
    layers: Mapping[str, Sequence[int]],
    *,
    alpha: float,
    n: int = CHECKED,
    readout: Readout | ReadoutFormat = "letters",
    seed: int = 42,
    predicted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Measure some random vectors at both signs of alpha, beside their predicted effects.

    Args:
        scenarios: a few will do, since both effects are means over the same ones.
        predicted: what `predicted_random` returned for these scenarios, or for more of them, with
            the same vectors and seed; computed by default.

    Returns:
        steered, axis (read), draw, predicted (change of mean P+ at alpha, by `predicted_random`),
        measured (half the difference of the effects at +alpha and -alpha) and even (their mean: the
        part that does not depend on the sign, which is in effects at one sign and not in D).

    >>> few = test.sample(1, by="item")
    >>> run = {"alpha": 0.1, "n": 3, "readout": "continuation"}
    >>> check = null_check(model, few, vectors, layers, **run)
    >>> list(check), len(check)
    (['steered', 'axis', 'draw', 'predicted', 'measured', 'even'], 12)
    """
    runs: dict[tuple[str, int, float], Sequence[Edit]] = {("", -1, 0.0): ()}
    for axis, of_axis in vectors.items():
        for draw, random in enumerate(random_like(of_axis, n, seed)):
            for strength in (alpha, -alpha):
                runs[axis, draw, strength] = steer(random, layers[axis], strength)
    table = with_keys(
        read_runs(model, scenarios, runs, readout=readout), ["steered", "draw", "alpha"]
    )
    measured = table.groupby(["steered", "axis", "draw", "alpha"]).p_positive.mean().unstack()
    plain = table[table.draw < 0].groupby("axis").p_positive.mean()
    both = measured[[alpha, -alpha]].dropna()
    up, down = both[alpha], both[-alpha]
    before = plain.reindex(both.index.get_level_values("axis")).to_numpy()
    if predicted is None:
        predicted = predicted_random(
            model, scenarios, vectors, layers, alpha=alpha, n=n, readout=readout, seed=seed
        )
    of_these = predicted.id.isin([scenario.id for scenario in scenarios])
    after = (
        predicted[of_these]
        .groupby(["steered", "axis", "draw"])
        .p_positive.mean()
        .reindex(both.index)
    )
    columns = {
        "predicted": after - before,
        "measured": (up - down) / 2,
        "even": (up + down) / 2 - before,
    }
    return pd.DataFrame(columns).reset_index()


@dataclass(frozen=True)
class NullAgreement:
    """How well first-order effects of random vectors agree with measured ones.

    Attributes:
        slope: of the measured effects on the predicted ones, through 0.
        correlation: of the two, around 0.
        even: root mean square of the part that does not depend on alpha's sign, as a share of that
            of the measured effects.
        n: effects that were compared.
    """

    slope: float
    correlation: float
    even: float
    n: int

    @classmethod
    def of(cls, check: pd.DataFrame) -> NullAgreement:
        """The agreement in a table of `null_check`, over all its rows."""
        predicted = check.predicted.to_numpy()
        measured = check.measured.to_numpy()
        product = float(predicted @ measured)
        sizes = _size(predicted) * _size(measured)
        return cls(
            slope=product / max(float(predicted @ predicted), 1e-300),
            correlation=product / max(sizes, 1e-300),
            even=_size(check.even.to_numpy()) / max(_size(measured), 1e-300),
            n=len(check),
        )

    @property
    def holds(self) -> bool:
        """Whether predicted effects may stand for measured ones."""
        low, high = SLOPES
        is_as_large = low <= self.slope <= high
        is_odd = self.even <= LARGEST_EVEN
        return is_as_large and is_odd and self.correlation >= LEAST_CORRELATION

    def __str__(self) -> str:
        verdict = "agree" if self.holds else "do not agree"
        return (
            f"predicted and measured effects of random vectors {verdict}: slope {self.slope:.2f}, "
            f"correlation {self.correlation:.2f} over {self.n} effects; the part that is the same "
            f"for both signs is {self.even:.0%} as large as the part that changes sign"
        )


def _size(values: Float[np.ndarray, " effect"]) -> float:
    return float(np.sqrt(values @ values))
