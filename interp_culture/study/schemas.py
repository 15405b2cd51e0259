"""The tables of a study: what computes it, what a row is, and the meaning and unit of a column.

The page `docs/reference/study_tables.md` is written from it, and a test compares it with the tables
of a real study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

PROBABILITY = "0 to 1"
CHANGE = "change of P+, -1 to 1"
NATS = "nats; continuation: nats per token"


@dataclass(frozen=True)
class Column:
    """One column; `name` may hold a `*` for the name of an axis."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class TableSchema:
    """One table of a study's folder; `made_by` is the public function, as written after `ic.`."""

    name: str
    row: str
    made_by: str
    columns: tuple[Column, ...]

    def unknown(self, columns: Sequence[str]) -> list[str]:
        """The columns of a table that the schema does not have.

        >>> SCHEMAS["null"].unknown(["steered", "colour"])
        ['colour']
        """
        return [
            name
            for name in columns
            # `fnmatch` would ignore case on Windows.
            if not any(fnmatchcase(name, column.name) for column in self.columns)
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

_TABLES = (
    TableSchema(
        "validity",
        "a readout, checked on the control items",
        "readout.check_readout",
        (
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
            Column(
                "think", "tokens of thoughts before the answer; empty for the template's own way"
            ),
            Column("failures", "what failed, in words; empty for a usable readout"),
            Column("cautions", "what a user of the readout has to know, in words"),
            Column("ok", "whether the readout may be used"),
        ),
    ),
    TableSchema(
        "vectors",
        "an axis and layer",
        "study.Study.vectors",
        (
            Column("axis", "the axis of the steering vector"),
            Column("layer", "the block after which it is added, from 0"),
            Column("norm", "norm of the vector", "units of the residual stream"),
            Column("norm_share", "norm as a share of the mean residual norm at this layer"),
            Column("cos_*", "cosine with the vector of each axis at this layer"),
        ),
    ),
    TableSchema(
        "sweep",
        "a steered axis, layer, alpha and training scenario",
        "steering.layer_sweep",
        (
            STEERED,
            Column("layer", "the one steered layer"),
            ALPHA,
            *SCENARIO,
            Column("p_positive", "P+ under steering", PROBABILITY),
            Column("shift", "change of P+ against the plain model", CHANGE),
            Column("differential", "absolute value of shift (the paper's measure)", PROBABILITY),
            Column("logit_shift", "change of the logit difference", NATS),
            Column("method", "exact (measured) or gradient (predicted)"),
            Column("predicted_shift", "shift by the gradient; NaN in an exact sweep", CHANGE),
        ),
    ),
    TableSchema(
        "steered_letters",
        "a run and held-out scenario, read by letters",
        "coupling.steered_readouts",
        (*STEERED_RUN, *OF_LETTERS, READOUT, PREFIX),
    ),
    TableSchema(
        "steered_continuation",
        "a run and held-out scenario, read by the words of the options",
        "coupling.steered_readouts",
        (*STEERED_RUN, *OF_CONTINUATION, READOUT, PREFIX),
    ),
    TableSchema(
        "response",
        "a steered axis, alpha and axis read",
        "coupling.response",
        (
            STEERED,
            ALPHA,
            AXIS_READ,
            Column("effect", "mean change against the plain model", "see value"),
            *INTERVAL,
            *NULL_BAND,
            Column("p_null", "rank of |effect| among random vectors, at the largest |alpha|"),
            Column("outside_null", "p_null <= 0.05"),
            READOUT,
            VALUE,
        ),
    ),
    TableSchema(
        "matrix",
        "a steered axis and axis read",
        "coupling.response_matrix",
        (
            STEERED,
            AXIS_READ,
            Column("D", "change per unit of alpha, from both signs of the largest", "see value"),
            *INTERVAL,
            *RATIO,
            DEFINED,
            READOUT,
            VALUE,
        ),
    ),
    TableSchema(
        "null",
        "a random vector and axis read",
        "coupling.random_effects",
        (STEERED, DRAW, AXIS_READ, Column("effect", "mean change of P+", CHANGE), RATIO[0]),
    ),
    TableSchema(
        "domains",
        "a steered axis, domain and axis read",
        "coupling.domain_shifts",
        (
            STEERED,
            Column("domain", "the domain of the scenarios"),
            AXIS_READ,
            Column("effect", "mean change of P+ at the largest alpha", CHANGE),
            *INTERVAL,
            Column("n", "number of scenarios"),
            *NULL_BAND,
            Column("sure", "whether the interval excludes 0 and the effect exceeds the band"),
        ),
    ),
    TableSchema(
        "places",
        "a run on the cultural map; the run `neutral` prefers nothing",
        "survey.culture_map.places",
        (STEERED, ALPHA, *PLACE),
    ),
    TableSchema(
        "distances",
        "a run and country",
        "survey.culture_map.all_distances",
        (
            Column("iso3", "the country's code"),
            Column("country", "its name"),
            Column("distance", "Euclidean distance of the run from it", "map units"),
            Column("rank", "1 for the nearest country"),
            STEERED,
            ALPHA,
        ),
    ),
)
SCHEMAS = {schema.name: schema for schema in _TABLES}
