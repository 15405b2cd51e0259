"""Data cannot run: not in a report, not in a spreadsheet, not in a file of weights."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from interp_culture.artifacts.tables import defused, write_table
from interp_culture.engine.loading import load_model
from interp_culture.errors import InputError
from interp_culture.reporting.content_policy import with_policy
from interp_culture.reporting.rendering import figure_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = (
    '<!doctype html><html><head><meta charset="utf-8"><script>{plotly}</script></head><body>'
    '<p id="a">not run</p>{body}</body></html>'
)


def in_browser(page: Path) -> str:
    """The page's elements after its scripts have run, in a real browser."""
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"),
        *("--dump-dom", page.as_uri()),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_our_scripts_run_and_those_of_data_do_not(tmp_path: Path) -> None:
    from plotly.offline import get_plotlyjs

    own = "<script>document.getElementById('a').textContent = 'own script ran'</script>"
    figure = figure_html(go.Figure(go.Bar(x=["X", "Y"], y=[1, 2])))
    safe = with_policy(PAGE.format(plotly=get_plotlyjs(), body=own + figure))
    foreign = "<script>document.body.className = 'stolen'</script>"
    image = '<img src="https://example.org/a.png" onerror="document.body.id = \'stolen\'">'
    path = tmp_path / "page.html"
    path.write_text(safe.replace("</body>", f"{foreign}{image}</body>"), encoding="utf-8")
    shown = in_browser(path)
    assert '<p id="a">own script ran</p>' in shown
    assert 'class="main-svg"' in shown  # plotly has drawn
    assert 'class="stolen"' not in shown
    assert 'id="stolen"' not in shown
    # The same page without a policy runs it: this test can fail.
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    path.write_text(policy.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert 'class="stolen"' in in_browser(path)


def test_a_policy_names_each_script_and_no_address() -> None:
    page = with_policy('<meta charset="utf-8"><script>1</script><script type="a">2</script>')
    policy = re.findall(r'content="([^"]*)"', page)[0]
    assert policy.count("sha256-") == 2
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+1", "-1+cmd", "@SUM(1)", "\t=1"])
def test_a_spreadsheet_gets_texts_and_no_formulas(cell: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": [cell, "plain", None], "value": [-1.5, 2.0, 3.0]})
    write_table(tmp_path, "t", table, {"key": "k"})
    stored = pd.read_csv(tmp_path / "t.csv")
    assert stored.text[0] == f"'{cell}"
    assert stored.text[1] == "plain"
    assert stored.value.tolist() == [-1.5, 2.0, 3.0]
    # What the toolkit reads itself is unchanged.
    assert pd.read_parquet(tmp_path / "t.parquet").text[0] == cell
    assert defused(table).text.isna().sum() == 1


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    from conftest import make_pair

    pair = make_pair("llama")
    pair.plain.save_pretrained(tmp_path)
    pair.model.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(pair.plain.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_model(tmp_path)
