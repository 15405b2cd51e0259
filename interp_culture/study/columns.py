"""Table schemas, and the columns that many tables share, with their meanings and units.

The tables of a study (`schemas`) and those of the analyses are declared with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY = "0 to 1"
CHANGE = "change of P+, -1 to 1"
NATS = "nats; continuation: nats per token"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as in the table; it may hold a `*` for the name of an axis.
        meaning: in words.
        unit: of the values; empty for names, counts and correlations.
        always: whether every such table has it; False if it depends on the readout.

    >>> Column("share", "share of the answers that are refused", PROBABILITY).unit
    '0 to 1'
    """

    name: str
    meaning: str
    unit: str = ""
    always: bool = True


@dataclass(frozen=True)
class TableSchema:
    """One table of a study's folder.

    Attributes:
        name: of the table; that of an analysis' table stands after the analysis' name.
        row: what a row is, in words.
        made_by: the public function behind it, as written after `ic.`.
        columns: every column.
        on_map: whether it exists only if the items are those of the cultural map.

    >>> schema = TableSchema("effects", "an axis", "coupling.effects", (STEERED, *INTERVAL))
    >>> schema.unknown(["steered", "colour"]), schema.missing(["steered", "low"])
    (['colour'], ['high'])
    """

    name: str
    row: str
    made_by: str
    columns: tuple[Column, ...]
    on_map: bool = False

    def unknown(self, columns: Sequence[str]) -> list[str]:
        """The columns of a table that the schema does not have."""
        return [
            name
            for name in columns
            # `fnmatch` would ignore case on Windows.
            if not any(fnmatchcase(name, column.name) for column in self.columns)
        ]

    def missing(self, columns: Sequence[str]) -> list[str]:
        """The names of the schema's columns that a table lacks, although every such table has them.

        A name with a `*` is missing if no column has a name of its form.
        """
        return [
            column.name
            for column in self.columns
            if column.always and not any(fnmatchcase(name, column.name) for name in columns)
        ]


STEERED = Column("steered", "the steered axis; empty for the plain model")
ALPHA = Column("alpha", "strength; its sign is the direction, 0 is the plain model")
AXIS_READ = Column("axis", "the axis that was read")
DRAW = Column("draw", "number of the random vector; -1 for none")
READOUT = Column("readout", "letters or continuation")
PREFIX = Column("prefix", "what the answer begins with, before the letter; empty for none")
VALUE = Column("value", "shift (of P+) or logit_shift (of the logit difference)")
DEFINED = Column("defined", "whether the interval of the steered axis' own change excludes 0")
INTERVAL = (
    Column("low", "lower end of the 95% interval, bootstrap by item; NaN below six scenarios"),
    Column("high", "upper end of the 95% interval"),
)
NULL_BAND = (
    Column("null_low", "lower end of the 95% band of random-vector effects"),
    Column("null_high", "upper end of the 95% band of random-vector effects"),
)
RATIO = (
    Column("ratio", "entanglement ratio (Eq. 5); NaN on the diagonal", PROBABILITY),
    Column("ratio_low", "lower end of its 95% interval", PROBABILITY),
    Column("ratio_high", "upper end of its 95% interval", PROBABILITY),
)
SCENARIO = (
    Column("id", "the scenario"),
    Column("axis", "the axis of the scenario"),
    Column("item", "its item"),
    Column("domain", "its domain"),
)
CHOICE = (
    Column("logit_diff", "positive minus negative pole", NATS),
    Column("p_positive", "P+, the sigmoid of logit_diff", PROBABILITY),
)
OF_LETTERS = (
    Column("letter_mass", "probability on the two letters together", PROBABILITY),
    Column("position_bias", "logit of the first label minus that of the second", "logits"),
    Column("consistent", "whether both orders prefer the same option"),
)
OF_CONTINUATION = (
    Column("logprob_positive", "log-probability of the positive option", "nats per token"),
    Column("logprob_negative", "log-probability of the negative option", "nats per token"),
)
STEERED_RUN = (
    STEERED,
    Column("method", "plain, the vectors' method, or random"),
    DRAW,
    ALPHA,
    *SCENARIO,
    *CHOICE,
)
PLACE = tuple(
    Column(f"{axis}{end}", meaning, "map units")
    for axis in "xy"
    for end, meaning in (
        ("", "coordinate on the map"),
        ("_low", "lower end of its 95% interval"),
        ("_high", "upper end of its 95% interval"),
    )
)
VALIDITY = (
    READOUT,
    Column("n", "number of control items on which it was measured"),
    Column("accuracy", "share of items with the right option preferred", PROBABILITY),
    Column("accuracy_low", "lower end of its 95% Wilson interval", PROBABILITY),
    Column("accuracy_high", "upper end of its 95% Wilson interval", PROBABILITY),
    Column("spread", "standard deviation of the logit difference over items", NATS),
    Column("mass", "mean probability on the two letters", PROBABILITY),
    Column("position_bias", "mean logit of the first label minus the second", "logits"),
    Column("bias_ratio", "mean |position bias| divided by mean |logit difference|"),
    Column("consistency", "share of items on which both orders agree", PROBABILITY),
    Column("letters", "the spelling of the letters that is read"),
    Column("prefix", "what the answer begins with, before the letter"),
    Column("n_choice", "other control items, which chose the prefix; 0 if it was given"),
    Column("think", "tokens of thoughts before the answer; empty for the template's own way"),
    Column("failures", "what failed, in words; empty for a usable readout"),
    Column("cautions", "what a user of the readout has to know, in words"),
    Column("ok", "whether the readout may be used"),
)
# What `ic.coupling.with_claims` adds.
CLAIM = (
    Column("q", "larger p of interval and p_null, for all pairs here (Benjamini and Hochberg)"),
    Column("shown", "interval excludes 0, q <= 0.05; own axis: both p <= 0.05"),
)
RESPONSE = (
    STEERED,
    ALPHA,
    AXIS_READ,
    Column("effect", "mean change against the plain model", "see value"),
    *INTERVAL,
    *NULL_BAND,
    Column("p_null", "p of |effect| among random vectors, at the largest |alpha|"),
    Column("outside_null", "p_null <= 0.05"),
)
MATRIX = (
    STEERED,
    AXIS_READ,
    Column("D", "change per unit of alpha, from both signs of the largest", "see value"),
    *INTERVAL,
    *NULL_BAND,
    Column("p_null", "p of |D| among random vectors"),
    Column("detectable", "smallest |D| found in 80% of such studies", "see value"),
    *RATIO,
    DEFINED,
    *CLAIM,
)

# -- columns of the analyses' tables ------------------------------------------------------------

PER_ALPHA = "P+ per unit of alpha"
LAYER = Column("layer", "the one steered block, from 0")
METHOD = Column("method", "plain, the method of the vectors, or random")
N = Column("n", "number of scenarios")
TOGETHER = Column("layer", "-1: the layers of the intervention together")
# What `ic.coupling.gain_matrix` adds to its layer and steered axis.
GAIN = (
    AXIS_READ,
    Column("gain", "change of mean P+ to first order", PER_ALPHA),
    *INTERVAL,
    N,
    *NULL_BAND,
    Column("p_null", "two-sided p of the gain among random vectors of the same norm"),
    *CLAIM,
)
SURE = Column("sure", "whether the interval excludes 0 and the effect exceeds the band")
BESIDE_RANDOM = (*NULL_BAND, SURE)
RANDOM_RATIO = (
    Column("null_ratio_low", "lower end of the 95% band of random vectors' ratios", PROBABILITY),
    Column("null_ratio_median", "median of the random vectors' ratios", PROBABILITY),
    Column("null_ratio_high", "upper end of the 95% band of random vectors' ratios", PROBABILITY),
    Column("draws", "number of random vectors"),
)
PERSONA = Column("persona", "none, or the persona, such as basic:India")
OF_PERSONA = (
    PERSONA,
    Column("kind", "kind of persona: none, basic or advanced"),
    Column("iso3", "code of the persona's country; empty without a persona"),
)
# What `probe` gives: the columns of the one readout or of the other.
READ = (
    *SCENARIO,
    *CHOICE,
    *(replace(column, always=False) for column in (*OF_LETTERS, *OF_CONTINUATION)),
)
RUN = (STEERED, METHOD, ALPHA)
ANSWER = (
    Column("prompt", "the situation and the question"),
    Column("text", "the sampled answer"),
    Column("entropy_plain", "cross-entropy for the plain model", "nats per token"),
    Column("entropy_steered", "cross-entropy for the model that wrote it", "nats per token"),
)
MOVEMENT = (
    STEERED,
    ALPHA,
    Column(
        "angle",
        "direction on the map: 0 along the steered coordinate as intended, 90 where only the other "
        "one moves to the pole of the same sign, -90 to the opposite pole, 180 backward",
        "degrees",
    ),
    Column("low", "lower end of its 95% interval", "degrees"),
    Column("high", "upper end of its 95% interval", "degrees"),
    *RATIO,
    DEFINED,
)


def effect(meaning: str, unit: str = CHANGE) -> tuple[Column, ...]:
    """The columns that `ic.coupling.effects` adds to its groups: axis, effect, interval and n.

    >>> [column.name for column in effect("mean change of P+")]
    ['axis', 'effect', 'low', 'high', 'n']
    """
    return (AXIS_READ, Column("effect", meaning, unit), *INTERVAL, N)


def cosine(one: str, other: str) -> tuple[Column, ...]:
    """The columns a, b and cosine, with what the two names stand for.

    >>> [column.name for column in cosine("a domain", "another one")]
    ['a', 'b', 'cosine']
    """
    cosine_column = Column("cosine", "cosine between the vectors of a and b", "-1 to 1")
    return (Column("a", one), Column("b", other), cosine_column)


def interval(name: str, meaning: str, unit: str) -> tuple[Column, ...]:
    """A column and the ends of its 95% interval, `name_low` and `name_high`.

    >>> [column.name for column in interval("kl", "divergence", "nats per token")]
    ['kl', 'kl_low', 'kl_high']
    """
    return (
        Column(name, meaning, unit),
        Column(f"{name}_low", "lower end of its 95% interval", unit),
        Column(f"{name}_high", "upper end of its 95% interval", unit),
    )


PERPLEXITY = "exp of nats per token"
# What `ic.steering.answer_perplexities` gives.
PERPLEXITIES = (
    *interval("perplexity_plain", "of the answers, plain model", PERPLEXITY),
    *interval("perplexity_steered", "of the answers, steered model", PERPLEXITY),
    *interval(
        "rise",
        "cross-entropy of the answers for the plain model minus that of its own answers",
        "nats per token",
    ),
)


def empty_tables(schemas: Sequence[TableSchema]) -> dict[str, pd.DataFrame]:
    """The tables of an analysis that has nothing to measure, with their columns.

    >>> empty_tables([TableSchema("effects", "an axis", "coupling.effects", (STEERED,))])
    {'effects': Empty DataFrame
    Columns: [steered]
    Index: []}
    """
    import pandas as pd

    return {
        schema.name: pd.DataFrame(columns=[column.name for column in schema.columns])
        for schema in schemas
    }
