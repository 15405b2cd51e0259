"""The tables of a comparison, as `schemas` has those of a study.

The page `docs/reference/comparison_tables.md` is written from it, and a test compares it with the
tables of a real comparison.
"""

from __future__ import annotations

from interp_culture.study.schemas import CHANGE, PROBABILITY, SCHEMAS, Column, TableSchema

MODEL = Column("model", "label of the model; `studies` has its whole name")


def _with_model(name: str, row: str, left_out: tuple[str, ...] = ()) -> TableSchema:
    """A table of a study with one more column, computed on the shared scenarios."""
    schema = SCHEMAS[name]
    columns = [column for column in schema.columns if column.name not in left_out]
    return TableSchema(name, row, schema.made_by, (MODEL, *columns))


def _ends(prefix: str, unit: str, what: str) -> tuple[Column, Column]:
    return (
        Column(f"{prefix}low", f"lower end of the 95% interval{what}", unit),
        Column(f"{prefix}high", f"upper end of the 95% interval{what}", unit),
    )


STEERED = Column("steered", "the steered axis")
N = Column("n", "number of scenarios")
# Columns that say which readout and value a row is of; a comparison has one of each.
ONE_KIND = ("readout", "value")

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
    _with_model("matrix", "a model, steered axis and axis read", ONE_KIND),
    _with_model("response", "a model, steered axis, alpha and axis read", ONE_KIND),
    _with_model("places", "a model and run on the cultural map"),
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
            Column("differential", "mean |change of P+|", PROBABILITY),
            *_ends("differential_", PROBABILITY, ", bootstrap by item"),
            Column("effect", "mean change of P+ per unit of alpha", CHANGE),
            *_ends("", CHANGE, " of effect"),
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
            Column("effect", "change of the item's mean P+ per unit of alpha", CHANGE),
            *_ends("", CHANGE, ", bootstrap over scenarios; NaN below six"),
            N,
            Column("score", "mean P+ of the plain model", PROBABILITY),
            *_ends("score_", PROBABILITY, " of score"),
        ),
    ),
    _with_model("validity", "a model and readout, checked on the control items"),
    TableSchema(
        "cost",
        "a model, steered axis and alpha that all studies have",
        "study.compare",
        (
            MODEL,
            STEERED,
            Column("method", "the vectors' method, or random"),
            Column("alpha", "strength, with its sign"),
            Column("kl", "KL(plain || steered) on neutral text", "nats per token"),
            *_ends("kl_", "nats per token", ", bootstrap over texts"),
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
            *_ends("", "see quantity", ", bootstrap by item, paired"),
            Column("shown", "whether the interval excludes 0"),
            N,
        ),
    ),
)
COMPARISON_SCHEMAS = {schema.name: schema for schema in _TABLES}
