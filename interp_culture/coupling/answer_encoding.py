"""A choice between lettered options, split into the value of the options and their letters."""

from __future__ import annotations

import pandas as pd

from interp_culture.coupling.null import beside_random, random_reach
from interp_culture.coupling.responses import effects
from interp_culture.coupling.steered import shifts, slopes
from interp_culture.errors import InputError

# What a letters readout in both orders gives, and no other one.
OF_BOTH_ORDERS = ("position_bias", "consistent")
RUN = ["variant", "reading", "steered"]
GROUP = [*RUN, "axis"]


def readings(readouts: pd.DataFrame) -> pd.DataFrame:
    """Each reading of the choices in rows of its own, with its value in the column logit_diff.

    The readings are
    - value: positive minus negative pole, mean of both orders of the options (nats);
    - positive first, positive second: the same in one order alone (nats);
    - letter: first minus second label, whatever they stand for, mean of both orders (nats);
    - P+;
    - consistent: 1 where both orders prefer the same option, else 0.

    Args:
        readouts: what `steered_readouts` returned with order "both", with the column variant.

    Returns:
        The columns of `readouts`, and reading. Rows without a value are left out: options in words
        have no letters.

    Raises:
        InputError: no column variant, or readouts without a letters readout in both orders.

    >>> in_words = readouts.assign(variant="words", position_bias=float("nan"), consistent=True)
    >>> readings(in_words).reading.unique().tolist()
    ['value', 'P+', 'consistent']
    """
    _check_columns(readouts)
    value = readouts.logit_diff
    letter = readouts.position_bias
    columns = {
        "value": value,
        # In one order the letter adds to the value, in the other it counts against it.
        "positive first": value + letter,
        "positive second": value - letter,
        "letter": letter,
        "P+": readouts.p_positive,
        "consistent": readouts.consistent.astype(float),
    }
    # All in the column logit_diff, since `shifts` and `slopes` take changes of this column.
    rows = [readouts.assign(reading=name, logit_diff=column) for name, column in columns.items()]
    return pd.concat(rows, ignore_index=True).dropna(subset="logit_diff")


def reading_slopes(readouts: pd.DataFrame) -> pd.DataFrame:
    """`coupling.slopes` of every variant and reading.

    Args:
        readouts: as for `readings`.

    Returns:
        variant, reading, steered, and the columns of `coupling.slopes`.

    >>> lettered = readouts.assign(variant="lines", position_bias=0.1, consistent=True)
    >>> reading_slopes(lettered).columns.tolist()
    ['variant', 'reading', 'steered', 'id', 'axis', 'item', 'domain', 'slope']
    """
    tables = [slopes(part, RUN, "logit_shift") for part in _parts(readouts)]
    return pd.concat(tables, ignore_index=True)


def reading_effects(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean per unit of alpha, from both signs of the largest alpha.

    Args:
        readouts: as for `readings`.

    Returns:
        variant, reading, steered, axis (read), effect, low, high (95%, bootstrap by item), n, and
        null_low, null_high, sure of `beside_random`.

    >>> lettered = readouts.assign(variant="lines", position_bias=0.1, consistent=True)
    >>> table = reading_effects(lettered)
    >>> table.loc[table.reading == "letter", "effect"].tolist()  # the letters' part never changes
    [0.0, 0.0, 0.0, 0.0]
    """
    reach = random_reach(_shifted(readouts), GROUP, "logit_shift", per_alpha=True)
    return beside_random(effects(reading_slopes(readouts), RUN, "slope"), reach)


def reading_shifts(readouts: pd.DataFrame) -> pd.DataFrame:
    """Change of each reading's mean at every alpha.

    Args:
        readouts: as for `readings`.

    Returns:
        The columns of `reading_effects`, alpha, and before (the mean without steering).

    >>> lettered = readouts.assign(variant="lines", position_bias=0.1, consistent=True)
    >>> len(reading_shifts(lettered))  # 6 readings, 2 alphas, 2 steered axes, 2 axes read
    48
    """
    rows = pd.concat(_parts(readouts))
    plain = rows[rows.method == "plain"]
    means = plain.groupby(["variant", "reading", "axis"]).logit_diff.mean()
    before = means.rename("before").reset_index()
    shifted = _shifted(readouts)
    steered = shifted[shifted.method != "random"]
    changes = effects(steered, [*RUN, "alpha"], "logit_shift")
    return beside_random(changes, random_reach(shifted, GROUP, "logit_shift")).merge(before)


def _check_columns(readouts: pd.DataFrame) -> None:
    if "variant" not in readouts:
        raise InputError(
            "the readouts have no column variant; name how they were asked: "
            "readouts.assign(variant='A/B')"
        )
    missing = [name for name in OF_BOTH_ORDERS if name not in readouts]
    if missing:
        raise InputError(
            f"the readouts have no {' and no '.join(missing)}: the letter of an answer is known "
            "only from readout='letters' with order='both'; read the scenarios so too"
        )


def _shifted(readouts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([shifts(part) for part in _parts(readouts)], ignore_index=True)


def _parts(readouts: pd.DataFrame) -> list[pd.DataFrame]:
    # One by one, since `shifts` looks up plain rows by id, which must occur once.
    return [part for _, part in readings(readouts).groupby(["variant", "reading"])]
