"""docs/models.md: every architecture of the zoo, right or refused, as the package loads it now.

From the repository's root: `python tests/models_page.py --write docs/models.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from architecture_checks import Opened, opened
from zoo import ZOO

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
COMMAND = "python tests/models_page.py --write docs/models.md"
INTRODUCTION = f"""# Models

Each row is an architecture of Hugging Face transformers, tried as a tiny random model.

- **right**: both readouts (plain and steered at early, middle and last layers), the residual
  stream after every block, steering vectors, gradients, and greedy generation with and without a
  cache equal those of plain Hugging Face passes over one unpadded sequence at a time.
- **refused**: `load_model` raises an `InputError`, so that no number is given.

Shortcuts save work where many prompts or edits are read together. `load_model` switches off those
that would change a number of the model. Results stay right; reading takes longer.

The tests write this page: `{COMMAND}`.

| architecture | transformers class | result | reason | shortcuts switched off |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page; architectures that the installed transformers lacks are left out."""
    return INTRODUCTION + "".join(row(opened(e.name)) for e in ZOO if e.is_installed)


def row(case: Opened) -> str:
    about = case.entry
    refused = case.model is None
    cells = [
        about.name,
        f"`{about.classes[0]}`",
        "refused" if refused else "right",
        about.why if refused else "",
        "" if refused else switched_off(case.model),
    ]
    return f"| {' | '.join(cells)} |\n"


def switched_off(model: object) -> str:
    """The model's shortcuts that are off, in words; "none" where all of them hold."""
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
