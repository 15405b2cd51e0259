"""What notebooks show of results: sentences, tables, and nothing of them as markup."""

from __future__ import annotations

import pandas as pd
import torch

from interp_culture.notebook import as_html
from interp_culture.steering import SteeringVectors
from interp_culture.study import load_config, plan_study


def test_texts_and_cells_are_escaped() -> None:
    shown = as_html("a < b\n\n<script>x</script>", bad=pd.DataFrame({"<i>": ["<b>bold</b>"]}))
    assert "<script>" not in shown
    assert "<b>bold" not in shown
    assert "&lt;b&gt;bold" in shown
    assert shown.count("<p>") == 2


def test_long_tables_are_cut() -> None:
    shown = as_html("", long=pd.DataFrame({"n": range(1000)}))
    assert "long (1000 rows)" in shown
    assert shown.count("<tr") < 60


def test_results_show_their_tables() -> None:
    vectors = SteeringVectors.from_tensors("X", torch.ones(3, 4), resid_norm=torch.full((3,), 4.0))
    shown = vectors._repr_html_()
    assert "SteeringVectors(axis &#x27;X&#x27;" in shown
    assert "0.5" in shown
    plan = plan_study(load_config(preset="quick"))
    assert "gradients on the training half" in plan._repr_html_()
