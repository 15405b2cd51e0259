"""What a choice between lettered options is made of: the value of the options, and the letters they stand at."""

from __future__ import annotations

import pandas as pd

from interp_culture.coupling.null import beside_random, random_reach
from interp_culture.coupling.responses import effects
from interp_culture.coupling.steered import shifts, slopes

RUN, KEYS = ["variant", "reading", "steered"], ["variant", "reading", "steered", "axis"]


def readings(readouts: pd.DataFrame) -> pd.DataFrame:
    """Each reading of the choices in rows of its own, where it stands as logit_diff; one not defined has none.

    Readings: value (positive minus negative pole, mean of both orders of the options; nats), positive first and
    positive second (the same in each order by itself), letter (first label minus second, whatever they stand for, mean
    of both orders; nats), P+, and consistent (1 where both orders prefer the same option).

    Args:
        readouts: what `steered_readouts` returned with order "both", with the column variant.
    """
    value, letter = readouts.logit_diff, readouts.position_bias
    found = {
        "value": value,
        "positive first": value + letter,
        "positive second": value - letter,
        "letter": letter,
    }
    found |= {"P+": readouts.p_positive, "consistent": readouts.consistent.astype(float)}
    rows = [readouts.assign(reading=name, logit_diff=column) for name, column in found.items()]
    return pd.concat(rows, ignore_index=True).dropna(subset="logit_diff")


def reading_slopes(readouts: pd.DataFrame) -> pd.DataFrame:
    """`coupling.slopes` of every variant and reading of `readings`: variant, reading, steered, then as there."""
    return pd.concat(
        [slopes(part, RUN, "logit_shift") for part in _parts(readouts)], ignore_index=True
    )


def reading_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean per unit of the largest alpha, from both its signs.

    Returns: variant, reading, steered, axis (read), effect, low, high (95%, bootstrap by item), n, and null_low,
    null_high, sure of `beside_random`.
    """
    reach = random_reach(_shifted(readouts), KEYS, "logit_shift", per_alpha=True)
    return beside_random(effects(reading_slopes(readouts), RUN, "slope"), reach)


def reading_shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean at every alpha: as `reading_effects`, with alpha and before (the plain mean)."""
    plain = pd.concat(_parts(readouts)).query("method == 'plain'")
    before = (
        plain.groupby(["variant", "reading", "axis"])
        .logit_diff.mean()
        .rename("before")
        .reset_index()
    )
    shifted = _shifted(readouts)
    found = effects(shifted[shifted.method != "random"], [*RUN, "alpha"], "logit_shift")
    return beside_random(found, random_reach(shifted, KEYS, "logit_shift")).merge(before)


def _shifted(readouts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([shifts(part) for part in _parts(readouts)], ignore_index=True)


def _parts(readouts: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in readings(readouts).groupby(["variant", "reading"])]
