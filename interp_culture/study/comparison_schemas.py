"""The tables of a comparison, as `schemas` has those of a study.

The page `docs/reference/comparison_tables.md` is written from it, and a test compares it with the
tables of a real comparison.
"""

from __future__ import annotations

from interp_culture.study.columns import (
    ALPHA,
    INTERVAL,
    MATRIX,
    PER_ALPHA,
    PLACE,
    PROBABILITY,
    RESPONSE,
    VALIDITY,
    Column,
    N,
    TableSchema,
    interval,
)

MODEL = Column("model", "label of the model; `studies` has its whole name")
STEERED = Column("steered", "the steered axis")

_TABLES = (
    TableSchema(
        "studies",
        "a study",
        "study.compare",
        (
            MODEL,
            Column("name", "the model's name, Hub id or path"),
            Column("folder", "the folder of the study"),
            Column("n_layers", "layers of the model"),
            Column("d_model", "width of the residual stream"),
            Column("dtype", "number format of the weights"),
            Column("device", "where the model ran"),
            Column("layers", "the steered layers of each axis"),
            Column("n_test", "held-out scenarios of the study"),
            Column("weights", "hash of the weights"),
            Column("key", "key of the study"),
        ),
    ),
    TableSchema(
        "settings",
        "a field that may differ and does, for a model",
        "study.compare",
        (Column("field", "the field"), MODEL, Column("value", "its value, as text")),
    ),
    TableSchema(
        "matrix",
        "a model, steered axis and axis read, in P+",
        "coupling.response_matrix",
        (MODEL, *MATRIX),
    ),
    TableSchema(
        "response",
        "a model, steered axis, alpha and axis read, in P+",
        "coupling.response",
        (MODEL, *RESPONSE),
    ),
    TableSchema(
        "places",
        "a model and run on the cultural map; the run `neutral` prefers nothing",
        "survey.culture_map.places",
        (MODEL, Column("steered", "the steered axis; empty for the plain model"), ALPHA, *PLACE),
        on_map=True,
    ),
    TableSchema(
        "profile",
        "a model, steered axis and layer; means over training scenarios and strengths",
        "study.layer_profile",
        (
            MODEL,
            STEERED,
            Column("layer", "the one steered layer, from 0"),
            Column("depth", "layer / (n_layers - 1)", PROBABILITY),
            Column("method", "exact (measured) or gradient (predicted)"),
            *interval("differential", "mean |change of P+|", PROBABILITY),
            Column("effect", "mean change of P+", PER_ALPHA),
            *INTERVAL,
            N,
            Column("chosen", "whether the layer is part of the model's intervention"),
        ),
    ),
    TableSchema(
        "steps",
        "a model and steered axis, at the largest alpha",
        "study.compare",
        (
            MODEL,
            STEERED,
            Column("alpha", "the largest strength"),
            Column("depth", "mean relative depth of the steered layers", PROBABILITY),
            Column("step_share", "norm of alpha times vector over mean residual norm, mean"),
        ),
    ),
    TableSchema(
        "items",
        "a model, steered axis and item read",
        "study.compare",
        (
            MODEL,
            STEERED,
            Column("item", "the item read"),
            Column("axis", "its axis"),
            Column("effect", "change of the item's mean P+", PER_ALPHA),
            *INTERVAL,
            N,
            *interval("score", "mean P+ of the plain model", PROBABILITY),
        ),
    ),
    TableSchema(
        "validity",
        "a model and readout, checked on the control items",
        "readout.check_readout",
        (MODEL, *VALIDITY),
    ),
    TableSchema(
        "cost",
        "a model, steered axis and alpha that all studies have",
        "study.compare",
        (
            MODEL,
            STEERED,
            Column("method", "the vectors' method, or random"),
            Column("alpha", "strength, with its sign"),
            *interval("kl", "KL(plain || steered) on neutral text", "nats per token"),
        ),
    ),
    TableSchema(
        "differences",
        "a pair of models and a quantity, paired by scenario",
        "study.paired_differences",
        (
            Column("first", "the first model"),
            Column("second", "the second model"),
            Column("quantity", "score (P+), D (P+ per unit of alpha) or place (map units)"),
            Column("steered", "the steered axis of D; empty for the plain model"),
            Column("axis", "the axis read, or the coordinate of the map"),
            Column("difference", "first minus second, mean over scenarios", "see quantity"),
            *INTERVAL,
            Column("shown", "whether the interval excludes 0"),
            N,
        ),
    ),
)
COMPARISON_SCHEMAS = {schema.name: schema for schema in _TABLES}
