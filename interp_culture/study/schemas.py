"""The tables of a study: what computes each, what a row is, and the meaning and unit of a column.

The page `docs/reference/study_tables.md` is written from it, and a test compares it with the tables
of a real study.
"""

from __future__ import annotations

from interp_culture.study.columns import (
    ALPHA,
    AXIS_READ,
    CHANGE,
    DRAW,
    INTERVAL,
    MATRIX,
    NATS,
    NULL_BAND,
    OF_CONTINUATION,
    OF_LETTERS,
    PLACE,
    PROBABILITY,
    RATIO,
    READOUT,
    RESPONSE,
    SCENARIO,
    STEERED,
    STEERED_RUN,
    SURE,
    VALIDITY,
    VALUE,
    Column,
    N,
    TableSchema,
)

_TABLES = (
    TableSchema(
        "validity",
        "a readout, checked on the control items",
        "readout.check_readout",
        VALIDITY,
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
        (*STEERED_RUN, *OF_LETTERS, READOUT),
    ),
    TableSchema(
        "steered_continuation",
        "a run and held-out scenario, read by the words of the options",
        "coupling.steered_readouts",
        (*STEERED_RUN, *OF_CONTINUATION, READOUT),
    ),
    TableSchema(
        "response",
        "a steered axis, alpha and axis read",
        "coupling.response",
        (*RESPONSE, READOUT, VALUE),
    ),
    TableSchema(
        "matrix",
        "a steered axis and axis read",
        "coupling.response_matrix",
        (*MATRIX, READOUT, VALUE),
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
            N,
            *NULL_BAND,
            SURE,
        ),
    ),
    TableSchema(
        "places",
        "a run on the cultural map; the run `neutral` prefers nothing",
        "survey.culture_map.places",
        (STEERED, ALPHA, *PLACE),
        on_map=True,
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
        on_map=True,
    ),
)
SCHEMAS = {schema.name: schema for schema in _TABLES}
