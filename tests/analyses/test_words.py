"""What directions say, of a study whose axes are letters: the letters are found, numbers are plain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from declared_tables import check_captions, check_tables
from planted import POLES, planted_study

import interp_culture as ic
from analyses.words import ANALYSIS, beside_random, ranked, sections, token_words
from interp_culture.readout import contrastive_texts
from interp_culture.reporting.html import write_page
from interp_culture.study.analysis import Tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ic.Study:
    return planted_study(
        tmp_path_factory.mktemp("words"), alphas=[0.2], sweep_alphas=[0.2], top_k=2
    )


@pytest.fixture(scope="module")
def tables(study: ic.Study) -> Tables:
    return study.measure(ANALYSIS)


def test_the_tokens_of_an_axis_are_the_letters_of_its_poles(tables: Tables) -> None:
    check_tables(ANALYSIS, tables)
    tokens = tables["tokens"]
    first = tokens[tokens["rank"] == 1].set_index(["direction", "pole"])
    for axis, letters in POLES.items():
        for pole, letter in zip(("positive", "negative"), letters, strict=True):
            rows = first.loc[(axis, pole)]
            assert set(rows.token) == {letter}
            assert (rows.logit > rows.random_top).all()


def test_scenarios_are_ranked_by_the_plain_streams_of_their_texts(
    study: ic.Study, tables: Tables
) -> None:
    """The blocks of this model write nothing, so that a stream is the token's embedding."""
    scenarios = tables["scenarios"]
    embedding = study.model.bridge.original_model.model.embed_tokens
    weight = getattr(embedding, "original_component", embedding).weight.detach()
    by_id = {scenario.id: scenario for scenario in study.test}
    assert len(scenarios) == 2 * len(by_id)
    for axis, rows in scenarios.groupby("direction"):
        assert set(rows.layer) == {max(study.layers[axis])}
        v = study.vectors()[axis].direction[rows.layer.iloc[0]]
        middle = []
        for row in rows.itertuples():
            means = [
                float((weight[list(study.model.tokenise_text(text).prompt[1:])] @ v).mean())
                for text in contrastive_texts(by_id[row.id])
            ]
            np.testing.assert_allclose(
                [row.positive, row.negative], np.array(means) / float(v.norm()), atol=1e-5
            )
            middle.append(sum(means))
        assert (np.diff(middle) < 1e-6).all()
        assert (rows.end == "highest").sum() == (rows.end == "lowest").sum() == 5
        assert set(rows.head(5).end) == {"highest"}
        own = rows[rows.axis == axis]
        assert (own.positive > own.negative).all()


def test_tokens_stand_beside_random_vectors(study: ic.Study, tables: Tables) -> None:
    table = tables["projections"]
    for (axis, end), rows in table.groupby(["direction", "end"]):
        scenarios = tables["scenarios"]
        ids = scenarios[(scenarios.direction == axis) & (scenarios.end == end)].id
        assert set(rows.id) == set(ids.iloc[:2] if end == "highest" else ids.iloc[-2:])
    assert (table.relative.isna() == (table.position == 0)).all()
    of_x = table[(table.direction == "X") & (table.position > 0)]
    means = of_x.groupby("token").relative.mean()
    assert means["a"] > 0.5
    # Other tokens have no part along X: they lie together, at minus the mean.
    others = of_x[~of_x.token.isin(["a", "b", "c", "d"])]
    np.testing.assert_allclose(others.projection, 0, atol=1e-5)
    # The spread of a centred stream h on random vectors is |h| / sqrt(d_model).
    embedding = study.model.bridge.original_model.model.embed_tokens
    weight = getattr(embedding, "original_component", embedding).weight.detach()
    ids = [study.model.tokenizer.encode(token, add_special_tokens=False)[0] for token in of_x.token]
    streams = weight[ids] - weight[ids].mean(0)
    expected = streams.norm(dim=-1) / study.model.d_model**0.5
    assert 0.8 < float(torch.tensor(of_x.spread.to_numpy()).div(expected).mean()) < 1.2


def test_a_token_is_beyond_where_random_vectors_do_not_reach() -> None:
    rows = []
    for position, (own, random) in enumerate([(50.0, 9.0), (3.0, 1.0), (-1.0, 1.0), (-2.0, 1.0)]):
        rows.append((0, position, "t", "X", own + 7))
        rows += [
            (0, position, "t", f"random {n}", random * (-1) ** (n + position)) for n in range(20)
        ]
    names = ["text", "position", "token", "axis", "projection"]
    table = beside_random(pd.DataFrame(rows, columns=names), "X")
    assert table.projection.tolist() == [57, 10, 6, 5]
    # Without the first token the mean is 7; random vectors have means of ±1/3.
    np.testing.assert_allclose(table.relative[1:] * table.spread[1:], [3, -1, -2])
    np.testing.assert_allclose(table.spread[1:], [2 / 3, 4 / 3, 2 / 3])
    assert table.beyond.tolist() == [False, True, False, True]
    assert np.isnan(table.relative[0])


def test_scenarios_without_a_mean_are_left_out() -> None:
    frame = pd.DataFrame({"id": list("pqrs"), "axis": "X", "item": "X1", "domain": "d"})
    table = ranked(frame, np.array([0, 1, 4, 4, np.nan, 1, 2, 2.5]))
    assert table.id.tolist() == ["q", "s", "p"]
    assert table.end.tolist() == ["highest", "", "lowest"]


def test_findings_and_figures(study: ic.Study, tables: Tables, tmp_path: Path) -> None:
    of_tokens, of_texts = made = sections(tables, study.about)
    check_captions(ANALYSIS, made)
    n = len(tables["tokens"])
    n_beyond = (tables["tokens"].logit > tables["tokens"].random_top).sum()
    assert (
        of_tokens.title == f"Of the directions' {n} top tokens {n_beyond} are beyond random vectors"
    )
    assert "pieces of words" in of_tokens.text[1]
    assert "X: " in of_tokens.text[0]
    assert " along X" in of_texts.title
    assert "in 9 of 9 held-out scenarios (chance: half; two-sided p 0.004" in of_texts.text[1]
    shown = [text for trace in of_texts.figure.data for text in trace.text]
    assert len(shown) == len(tables["projections"])
    assert "·" in shown
    page = write_page(ANALYSIS, tables, study.about, tmp_path).read_text(encoding="utf-8")
    assert "beyond random vectors" in page


def test_no_token_beyond_random_vectors_is_said() -> None:
    tokens = pd.DataFrame(
        {"direction": "X", "layer": 1, "pole": ["positive", "negative"], "rank": 1}
    ).assign(token="our", token_id=3, logit=2.0, random_top=5.0)
    title, text = token_words(tokens)
    assert title == "Of the directions' 2 top tokens 0 are beyond random vectors"
    assert text[0].startswith("X: 0 of 2. They are in 0 of 2 lists")


def test_a_brief_study_of_one_axis_reads_few_texts(tmp_path: Path, study: ic.Study) -> None:
    settings = {**study.config.model_dump(), "out": str(tmp_path), "brief": True}
    one = ic.Study(ic.StudyConfig(**settings))
    one.model = study.model
    one.scenarios = study.scenarios.filter(axis="X")
    one.primary_readout = "continuation"
    tables = one.measure(ANALYSIS)
    check_tables(ANALYSIS, tables)
    assert len(tables["scenarios"]) == 3  # one an item
    assert len(sections(tables, one.about)) == 2
