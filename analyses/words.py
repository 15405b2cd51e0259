"""What do the directions say? Their tokens, and the texts that lie highest and lowest along them.

Run alone: python -m analyses.words --preset quick
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import binomtest

import interp_culture as ic
from interp_culture.cli import run_alone
from interp_culture.readout import contrastive_texts
from interp_culture.reporting.token_map import token_map
from interp_culture.stats import NullBand
from interp_culture.steering import direction_tokens, token_projections
from interp_culture.study import About, Analysis, Column, Section, Tables, TableSchema, columns

N_TOKENS = 8  # for each pole
N_ENDS = 5  # scenarios at each end of a direction
N_SHOWN = 2  # of these, texts that are shown token by token
N_RANDOM = 20
PER_ITEM_BRIEF = 1
ENDS = ("highest", "lowest")
POLES = ("positive", "negative")

DIRECTION = Column("direction", "the axis whose vector it is")
READ_LAYER = Column("layer", "the block after which texts are read: the last steered one, from 0")
STREAM = "units of the residual stream"
END = Column("end", f"highest or lowest: one of the {N_ENDS} scenarios there; else empty")
SCHEMAS = (
    TableSchema(
        "tokens",
        "a direction, layer, pole and rank",
        "steering.direction_tokens",
        (
            Column("direction", "an axis, or the difference of two axes, such as X - Y"),
            Column("layer", "a steered block, from 0"),
            Column("pole", "positive: promoted by a positive alpha; or negative"),
            Column("rank", "from 1, the largest logit"),
            Column("token", "its text"),
            Column("token_id", "its number"),
            Column("logit", "of a vector of length sqrt(d_model), toward the pole", "logits"),
            Column("random_top", "95th percentile of random vectors' largest logit", "logits"),
        ),
    ),
    TableSchema(
        "scenarios",
        "a direction and held-out scenario",
        "steering.token_projections",
        (
            *(DIRECTION, READ_LAYER),
            *columns.SCENARIO,
            Column("positive", "mean over tokens, situation with the positive option", STREAM),
            Column("negative", "mean over tokens, situation with the negative option", STREAM),
            Column("rank", "by the mean of both, from 1, the highest"),
            END,
        ),
    ),
    TableSchema(
        "projections",
        "a direction, text and token",
        "steering.token_projections",
        (
            *(DIRECTION, READ_LAYER),
            Column("end", "highest or lowest: the end of the direction where the text lies"),
            Column("id", "the scenario"),
            Column("pole", "the option that the text ends with: positive or negative"),
            Column("position", "of the token in the text, from 0"),
            Column("token", "its text"),
            Column("projection", "of the residual stream on the unit vector", STREAM),
            Column("spread", "root mean square of centred projections on random vectors", STREAM),
            Column(
                "relative",
                "projection minus its mean over these texts, divided by spread; NaN for first "
                "tokens",
                "spreads",
            ),
            Column("beyond", "whether it is outside the 95% band of random vectors"),
        ),
    ),
)


def measure(study: ic.Study) -> Tables:
    """The tokens of each direction, and the held-out scenarios along it.

    A brief study reads one scenario an item.

    Returns:
        the tables of `SCHEMAS`.
    """
    vectors = study.vectors()
    tokens = direction_tokens(
        study.model, vectors, study.layers, k=N_TOKENS, seed=study.config.seed
    )
    scenarios = study.once("words.scenarios", partial(along_directions, study))
    return {"tokens": tokens, "scenarios": scenarios, "projections": token_table(study, scenarios)}


def read_layers(study: ic.Study) -> dict[str, int]:
    """By axis the last steered layer, after which the stream holds all that was added."""
    return {axis: max(layers) for axis, layers in study.layers.items()}


def along_directions(study: ic.Study) -> pd.DataFrame:
    """Where every held-out scenario lies along each direction, with either option."""
    scenarios = study.test
    if study.config.brief:
        scenarios = study.sample.sample(PER_ITEM_BRIEF, study.config.seed, by="item")
    texts = [text for scenario in scenarios for text in contrastive_texts(scenario)]
    layers = read_layers(study)
    projections = token_projections(study.model, texts, study.vectors(), layers)
    # The first token's stream is tens of times longer than the others', whatever the word is.
    later = projections[projections.position > 0]
    means = later.groupby(["axis", "text"]).projection.mean()
    # Texts of a single token have no mean.
    places = range(len(texts))
    tables = [
        ranked(scenarios.frame(), means[axis].reindex(places).to_numpy()).assign(
            direction=axis, layer=layer
        )
        for axis, layer in layers.items()
    ]
    return pd.concat(tables, ignore_index=True)


def ranked(scenarios: pd.DataFrame, means: np.ndarray) -> pd.DataFrame:
    """The scenarios from the highest to the lowest.

    Args:
        means: of each scenario's positive text, then its negative one; NaN for one without.
    """
    table = scenarios.assign(positive=means[::2], negative=means[1::2]).dropna()
    middle = (table.positive + table.negative) / 2
    table = table.loc[middle.sort_values(ascending=False, kind="stable").index]
    rank = np.arange(1, len(table) + 1)
    n_ends = min(N_ENDS, len(table) // 2)
    is_end = [rank <= n_ends, rank > len(table) - n_ends]
    return table.assign(rank=rank, end=np.select(is_end, ENDS, ""))


def token_table(study: ic.Study, scenarios: pd.DataFrame) -> pd.DataFrame:
    """Every token of the few texts at the ends of each direction, beside random vectors."""
    tables = []
    for (axis, layer), rows in scenarios.groupby(["direction", "layer"], sort=False):
        shown = shown_texts(rows)
        by_id = {scenario.id: scenario for scenario in study.test}
        texts = [
            contrastive_texts(by_id[row.id])[POLES.index(row.pole)] for row in shown.itertuples()
        ]
        random = ic.random_like(study.vectors()[axis], N_RANDOM, study.config.seed)
        read = {axis: study.vectors()[axis]} | {f"random {n}": v for n, v in enumerate(random)}
        projections = token_projections(study.model, texts, read, dict.fromkeys(read, layer))
        table = beside_random(projections, axis).merge(shown, left_on="text", right_index=True)
        tables.append(table.drop(columns="text").assign(direction=axis, layer=layer))
    return pd.concat(tables, ignore_index=True)


def shown_texts(scenarios: pd.DataFrame) -> pd.DataFrame:
    """The outermost scenarios, each with the option that lies further out: end, id, pole."""
    ends = {
        "highest": scenarios[scenarios.end == "highest"].head(N_SHOWN),
        "lowest": scenarios[scenarios.end == "lowest"].tail(N_SHOWN).iloc[::-1],
    }
    tables = []
    for end, rows in ends.items():
        is_positive = (rows.positive > rows.negative) == (end == "highest")
        tables.append(
            pd.DataFrame({"end": end, "id": rows.id, "pole": np.where(is_positive, *POLES)})
        )
    return pd.concat(tables, ignore_index=True)


def beside_random(projections: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The axis' projections: text, position, token, projection, spread, relative and beyond."""
    place = ["text", "position"]
    by_direction = projections.pivot(index=place, columns="axis", values="projection")
    is_later = by_direction.index.get_level_values("position") > 0
    # All tokens share a constant of the layer, which is not about any of them.
    centred = by_direction - by_direction[is_later].mean()
    random = centred.drop(columns=axis).to_numpy()
    bands = [NullBand.of(effects) for effects in random]
    spread = np.array([band.scale for band in bands])
    reach = np.array([band.reach for band in bands])
    added = pd.DataFrame(
        {
            "spread": spread,
            "relative": (centred[axis] / spread).where(is_later),
            "beyond": (centred[axis].abs() > reach) & is_later,
        },
        index=centred.index,
    )
    of_axis = projections[projections.axis == axis].drop(columns="axis")
    return of_axis.merge(added.reset_index(), on=place)


# -- sections -----------------------------------------------------------------------------------


def sections(tables: Tables, about: About) -> list[Section]:
    return [token_section(tables["tokens"]), text_section(tables)]


def token_section(tokens: pd.DataFrame) -> Section:
    sign = tokens.pole.map({"positive": 1, "negative": -1})
    layer = tokens.layer.map(", layer {}, ".format)
    drawn = tokens.assign(
        text=tokens.direction + layer + tokens.pole,
        ratio=sign * tokens.logit / tokens.random_top,
        beyond=tokens.logit > tokens.random_top,
    )
    return Section(
        *token_words(tokens),
        token_map(drawn, "ratio", "logit / that of random vectors"),
        "Each vector through the model's own final norm and unembedding, with both signs: what it"
        " writes if no later block changes it. X - Y is the difference of the unit vectors. Unit:"
        " the 95th percentile of the largest logit of 100 random vectors. Dark frame: beyond it. A"
        " dot is a space. Table: words.tokens.",
    )


def token_words(tokens: pd.DataFrame) -> tuple[str, list[str]]:
    beyond = tokens[tokens.logit > tokens.random_top]
    lists = tokens.groupby(["direction", "layer", "pole"])
    n_lists = beyond.groupby(["direction", "layer", "pole"]).ngroups
    counts = []
    for direction, rows in tokens.groupby("direction", sort=False):
        named = beyond[beyond.direction == direction].token.map(repr).unique()
        counts.append(
            f"{direction}: {(rows.logit > rows.random_top).sum()} of {len(rows)}"
            f"{' (' + ', '.join(named) + ')' if len(named) else ''}"
        )
    return f"Of the directions' {len(tokens)} top tokens {len(beyond)} are beyond random vectors", [
        f"{'; '.join(counts)}. They are in {n_lists} of {lists.ngroups} lists; 5% of the lists of"
        " random vectors have one.",
        "Random vectors promote some token as much as all the others: do not read a story into"
        " those. On weak models even the tokens beyond chance are mostly pieces of words.",
    ]


def text_section(tables: Tables) -> Section:
    projections = tables["projections"]
    names = (
        projections.direction + " " + projections.end + "\n" + projections.id + " "
        + projections.pole.map({"positive": "+", "negative": "-"})
    )  # fmt: skip
    return Section(
        *text_words(tables),
        token_map(projections.assign(text=names), "relative", "random-vector spreads"),
        f"The {N_SHOWN} highest and lowest held-out texts along each direction, after its last"
        " steered layer; + and - are the option at their end. A token's projection, minus the mean"
        f" of these texts, in units of its root mean square on {N_RANDOM} random vectors. Dark"
        " frame: beyond their 95% band. White: first tokens, which are left out. A dot is a space."
        " Tables: words.scenarios, words.projections.",
    )


def text_words(tables: Tables) -> tuple[str, list[str]]:
    counts = []
    details = []
    for direction, rows in tables["projections"].groupby("direction", sort=False):
        later = rows[rows.relative.notna()]
        counts.append(f"{later.beyond.sum()} of {len(later)} along {direction}")
        scenarios = tables["scenarios"]
        details.append(order_words(scenarios[scenarios.direction == direction], str(direction)))
    return f"Tokens of the outermost texts that are beyond random vectors: {', '.join(counts)}", [
        "5% of the tokens of any text are beyond by chance, and these texts were chosen for their"
        " means. So a coloured word does not show that the direction is about it. On weak models"
        " many coloured tokens are pieces of words.",
        *details,
    ]


def order_words(scenarios: pd.DataFrame, direction: str) -> str:
    """Whether texts with the positive option lie higher, and which scenarios are outermost."""
    own = scenarios[scenarios.axis == direction]
    n_higher = int((own.positive > own.negative).sum())
    p = binomtest(n_higher, len(own)).pvalue
    highest, lowest = (", ".join(scenarios[scenarios.end == end].id) for end in ENDS)
    return (
        f"{direction}: with the positive option a text lies higher than with the negative one in"
        f" {n_higher} of {len(own)} held-out scenarios (chance: half; two-sided p {p:.3f}, as if"
        f" scenarios were independent). Highest: {highest}. Lowest, the last one lowest: {lowest}."
    )


ANALYSIS = Analysis("words", "What do the directions say?", measure, sections, schemas=SCHEMAS)

if __name__ == "__main__":
    run_alone(ANALYSIS)
