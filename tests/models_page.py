"""Write docs/models.md: every architecture of the zoo, right or refused by the present package.

In the repository's root: `python tests/models_page.py --write docs/models.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from architecture_checks import Opened, opened
from zoo import ZOO

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
COMMAND = "python tests/models_page.py --write docs/models.md"
INTRODUCTION = f"""# Models

Each row is an architecture of Hugging Face transformers, tested with a tiny random model.

- **right**: all numbers equal those of plain Hugging Face passes over one unpadded sequence at a
  time. We compare both readouts (plain, and steered at an early, a middle and the last layer), the
  residual stream after every block, steering vectors, gradients, and greedy generation with and
  without a cache.
- **refused**: `load_model` raises an `InputError`, so that there are no wrong numbers.

Shortcuts save work when many prompts or edits are read together. `load_model` switches off a
shortcut that would change the model's numbers. The results are then still right, but take longer.
`Shortcuts` in the API says what each shortcut is.

This page is generated from the tests: `{COMMAND}`.

| architecture | transformers class | result | reason | shortcuts switched off |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page, without architectures that the installed transformers lacks."""
    return INTRODUCTION + "".join(row(opened(e.name)) for e in ZOO if e.is_installed)


def row(case: Opened) -> str:
    """The row of an architecture."""
    entry = case.entry
    if case.model is None:
        result = ["refused", entry.why, ""]
    else:
        result = ["right", "", switched_off(case.model)]
    cells = [entry.name, f"`{entry.classes[0]}`", *result]
    return f"| {' | '.join(cells)} |\n"


def switched_off(model: object) -> str:
    """The names of the model's shortcuts that are off; "none" where all of them are on."""
    shortcuts = getattr(model, "shortcuts", None)
    off = ", ".join(getattr(shortcuts, "off", ()))
    longest = getattr(shortcuts, "longest", None)
    beyond = f"most of them beyond {longest} tokens" if longest is not None else ""
    return "; ".join(part for part in (off, beyond) if part) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, default=PAGE, help="file to write")
    parser.parse_args().write.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
