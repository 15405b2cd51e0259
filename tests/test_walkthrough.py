"""The notebook runs from its first cell to its last, on the embedded model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "walkthrough.ipynb"
SAMPLE, SMALLER = ".sample(2)", ".sample(3).filter(domain='family')"
# As in the other tests, a readout is checked on every fourth control item.
FEW_CONTROLS = """
from interp_culture.readout import validity
from interp_culture.scenarios import ScenarioSet, load_controls

controls = load_controls()
few_controls = ScenarioSet(controls.scenarios[::4], controls.catalogue)
validity.load_controls = lambda: few_controls
"""


@pytest.mark.slow
def test_the_walkthrough_runs_and_comes_to_a_conclusion() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert SAMPLE in cells[0].source
    cells[0].source = cells[0].source.replace(SAMPLE, SMALLER) + FEW_CONTROLS
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent.parent)}}
    ).execute()
    assert "per unit alpha" in cells[-1].outputs[0].text
    assert cells[-1].outputs[0].text.count("coupling is shown") == 2
