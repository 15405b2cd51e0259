"""The notebook runs from its first cell to its last, on the embedded model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "walkthrough.ipynb"


@pytest.mark.slow
def test_the_walkthrough_runs_and_comes_to_a_conclusion() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent.parent)}}
    ).execute()
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    assert "per unit alpha" in last.outputs[0].text
    assert last.outputs[0].text.count("coupling is shown") == 2
