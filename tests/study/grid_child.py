"""A study of a planted model from a configuration file, as a process of a grid runs it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from unittest.mock import patch

from torture.tiny_study import planted_world

from interp_culture.scenarios import ScenarioSet, load_controls
from interp_culture.study import load_config, run_study

if __name__ == "__main__":
    controls = load_controls()
    # As the tests do it: a readout is checked on every fourth control item.
    few = ScenarioSet(controls.scenarios[::4], controls.catalogue)
    with planted_world(), patch("interp_culture.readout.validity.load_controls", lambda: few):
        run_study(load_config(sys.argv[1], "full"))
