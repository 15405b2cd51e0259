"""What a choice between lettered options is made of: the value of the options, and the letters they stand at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp_culture.coupling import effects, shifts, slopes

RUN, KEYS = ["variant", "reading", "steered"], ["variant", "reading", "steered", "axis"]
RANDOM = ["null_low", "null_high"]


def readings(readouts: pd.DataFrame) -> pd.DataFrame:
    """Each reading of the choices in rows of its own, where it stands as logit_diff; one not defined has none.

    Readings: value (positive minus negative pole, mean of both orders of the options; nats), positive first and
    positive second (the same in each order by itself), letter (first label minus second, whatever they stand for, mean
    of both orders; nats), P+, and consistent (1 where both orders prefer the same option).

    Args:
        readouts: what `steered_readouts` returned with order "both", with the column variant.
    """
    value, letter = readouts.logit_diff, readouts.position_bias
    found = {"value": value, "positive first": value + letter, "positive second": value - letter, "letter": letter}
    found |= {"P+": readouts.p_positive, "consistent": readouts.consistent.astype(float)}
    rows = [readouts.assign(reading=name, logit_diff=column) for name, column in found.items()]
    return pd.concat(rows, ignore_index=True).dropna(subset="logit_diff")


def reading_slopes(readouts: pd.DataFrame) -> pd.DataFrame:
    """`coupling.slopes` of every variant and reading of `readings`: variant, reading, steered, then as there."""
    return pd.concat([slopes(part, RUN, "logit_shift") for part in _parts(readouts)], ignore_index=True)


def reading_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean per unit of the largest alpha, from both its signs.

    Returns: variant, reading, steered, axis (read), effect, low, high (95%, bootstrap by item), n, null_low, null_high
    (as `random_reach`) and sure: the interval leaves out 0, and the effect lies beyond random vectors.
    """
    reach, top = random_reach(readouts), readouts.alpha.abs().max()
    return _sure(effects(reading_slopes(readouts), RUN, "slope").merge(reach.assign(**(reach[RANDOM] / top))))


def reading_shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean at every alpha: as `reading_effects`, with alpha and before (the plain mean)."""
    parts = _parts(readouts)
    plain = pd.concat(parts).query("method == 'plain'").groupby(["variant", "reading", "axis"]).logit_diff.mean()
    shifted = pd.concat([shifts(part) for part in parts]).query("method != 'random'")
    found = effects(shifted, [*RUN, "alpha"], "logit_shift").merge(random_reach(readouts))
    return _sure(found.merge(plain.rename("before").reset_index()))


def random_reach(readouts: pd.DataFrame) -> pd.DataFrame:
    """Within what 95% of random vectors move each reading's mean: variant, reading, steered, axis, null_low, null_high.

    Their root mean square times Student's t for as many degrees of freedom as there are vectors, so that few will do:
    a random direction is as likely as its opposite, so that 0 is known to be the centre.
    """
    from scipy.stats import t

    shifted = pd.concat([shifts(part) for part in _parts(readouts)]).query("method == 'random'")
    of = shifted.groupby([*KEYS, "draw"]).logit_shift.mean().pow(2).groupby(KEYS)
    reach = t.ppf(0.975, of.size()) * np.sqrt(of.mean())
    return pd.DataFrame({"null_low": -reach, "null_high": reach}).reset_index()


def _parts(readouts: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in readings(readouts).groupby(["variant", "reading"])]


def _sure(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(sure=(table.low * table.high > 0) & (table.effect.abs() > table.null_high))
