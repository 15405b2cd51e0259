"""Many studies from one file: every combination of models, methods, seeds or other fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interp_culture.artifacts.files import content_key, write_json
from interp_culture.artifacts.sources import source_hash
from interp_culture.errors import InputError, printable
from interp_culture.scenarios.files import load_scenarios
from interp_culture.study.config import PRESETS, StudyConfig, load_config
from interp_culture.yaml_files import read_yaml

# Characters of a folder's name that are kept; others become _.
NOT_IN_NAMES = re.compile(r"[^\w.=+-]+")
LONGEST_NAME = 100
MARKER = "cell.json"


class GridFile(BaseModel):
    """The content of a grid's YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = Field("full", description="of every study")
    out: str = Field("results/grid", description="folder for a folder of each study")
    fields: dict[str, Any] = Field({}, description="fields of every study's configuration")
    over: dict[str, list[Any]] = Field(description="the values that a field takes in turn")


@dataclass(frozen=True)
class Cell:
    """One study of a grid.

    Attributes:
        values: of the fields that differ between cells.
        config: of the study, with its folder.
        scenarios: a hash of its scenarios.
        code: a hash of the package's code. It is computed once and not by each thread: Python 3.11
            cannot parse code in two threads at once.
    """

    values: Mapping[str, Any]
    config: StudyConfig
    scenarios: str
    code: str

    @property
    def folder(self) -> Path:
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """The name of the folder, which says the values."""
        return self.folder.name

    @property
    def key(self) -> str:
        """A hash of what decides the study, without its model: code, scenarios, configuration."""
        config = self.config.model_dump(mode="json", exclude={"out", "device"})
        return content_key([config, self.scenarios, self.code])

    @property
    def is_finished(self) -> bool:
        """Whether the study was finished with the same code, scenarios and configuration."""
        try:
            stored = json.loads((self.folder / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(stored, dict) and stored.get("key") == self.key

    def mark_finished(self) -> None:
        """Write down that the study is finished; a later run of the grid leaves it out."""
        write_json(self.folder / MARKER, {"key": self.key, "values": dict(self.values)})


def load_grid(path: str | Path) -> list[Cell]:
    """The cells of a grid file, in the order of its values; the last field varies fastest.

    ```yaml
    preset: quick
    out: results/grid
    fields: {n_random: 40}
    over:
      model: [smollm2, qwen2.5-coder-0.5b]
      method: [mean_diff, gradient]
    ```

    Raises:
        InputError: a file that is not readable, an unknown field, a cell whose configuration is
            wrong (the message names the cell), or scenarios that cannot be read.

    >>> _ = Path("grid.yaml").write_text("{preset: quick, over: {seed: [1, 2]}}")
    >>> [cell.name for cell in load_grid("grid.yaml")]
    ['seed=1', 'seed=2']
    """
    path = Path(path)
    content = read_yaml(path)
    try:
        grid = GridFile.model_validate(content if isinstance(content, dict) else {})
    except ValidationError as error:
        lines = [
            f"{path}: field {printable('.'.join(map(str, fault['loc'])))}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise InputError("\n".join(lines)) from error
    empty = [name for name, values in grid.over.items() if not values]
    if empty or not grid.over:
        raise InputError(
            f"{path}: field over: give one value or more for {', '.join(empty) or 'a field'}"
        )
    if "out" in grid.over or "out" in grid.fields:
        raise InputError(f"{path}: field out belongs at the top; each cell has a folder within it")
    if grid.preset not in PRESETS:
        raise InputError(f"{path}: unknown preset {grid.preset!r}; known: {', '.join(PRESETS)}")
    # Read once for all cells that have the same.
    code = source_hash("interp_culture")
    digests: dict[str | None, str] = {}
    cells = []
    for chosen in product(*grid.over.values()):
        values = dict(zip(grid.over, chosen, strict=True))
        config = _config(path, grid, values)
        if config.scenarios not in digests:
            digests[config.scenarios] = load_scenarios(config.scenarios).digest
        cells.append(Cell(values, config, digests[config.scenarios], code))
    _check_names(path, cells)
    return cells


def _config(path: Path, grid: GridFile, values: dict[str, Any]) -> StudyConfig:
    named = printable(",".join(f"{field}={value}" for field, value in values.items()))
    name = NOT_IN_NAMES.sub("_", named.replace(",", "+"))
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}-{content_key(values)[:8]}"
    fields = {**grid.fields, **values, "out": str(Path(grid.out) / name)}
    try:
        return load_config(None, grid.preset, **fields)
    except InputError as error:
        raise InputError(f"{path}: cell {named}: {error}") from error


def _check_names(path: Path, cells: Sequence[Cell]) -> None:
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: two cells have the folder {twice[0]}; give every value of a field once"
        )
