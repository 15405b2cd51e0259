"""The whole benchmark: every task by every side in turn, what is compared, what is printed, what is kept."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
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
from interp_culture.bench.tasks import Setting, Task, make_tasks, spread
from interp_culture.engine.hardware import choose_threads, matmul_rate
from interp_culture.engine.loading import EMBEDDED, load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.formats import READOUTS, ReadoutFormat, token_groups
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.files import load_scenarios
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.sweep import SWEEP_METHODS
from interp_culture.steering.vectors import extract

OURS = "interp-culture"
MODEL = "smollm2"


class Benchmark:
    """Both sides on the embedded model in float32 on this machine's CPU.

    Attributes:
        rounds: how often every side does every task, in turn.
        n_read, n_sweep: scenarios of the readouts and of the sweep.
        peers: whether Dialz and steering-vectors take part; their environment is built on first use.
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
        if rounds < 1:
            raise InputError(f"rounds is {rounds}: give 1 or more")
        self.rounds, self.n_read, self.n_sweep, self.peers, self.on_step = (
            rounds,
            n_read,
            n_sweep,
            peers,
            on_step,
        )

    def run(self) -> dict[str, Any]:
        """All results: tables as lists of records, and what they were measured on."""
        threads = choose_threads()
        model = load_model(MODEL, device="cpu", dtype="float32")
        scenarios = load_scenarios()
        setting = _setting(model)
        tasks = make_tasks(setting, scenarios, self.n_sweep, self.n_read)
        with ExitStack() as stack:
            sides = {OURS: None, **self._others(model, stack)}
            timed, outputs = self._rounds(tasks, sides)
        self.on_step("utilisation, bfloat16, growth, memory")
        read = spread(scenarios, self.n_read)
        groups, _ = token_groups(model, spread(scenarios, 4), ReadoutFormat("continuation"))
        return {
            "about": {
                **_about(threads),
                "rounds": self.rounds,
                "n_read": self.n_read,
                "n_sweep": self.n_sweep,
            },
            "seconds": timed,
            "tasks": summarise(timed, tasks, outputs),
            "sweep": best_layers(outputs),
            "utilisation": utilisation(model, read),
            "bfloat16": bfloat16(MODEL, spread(scenarios, 4), model),
            "growth": growth(model.tokenizer).to_dict("records"),
            "memory": peak_memory(_folder(), groups, range(0, model.n_layers, 8)).to_dict(
                "records"
            ),
        }

    def _others(self, model: LanguageModel, stack: ExitStack) -> dict[str, Any]:
        from transformers import AutoModelForCausalLM

        hf_model = AutoModelForCausalLM.from_pretrained(_folder(), dtype=torch.float32).eval()
        sides: dict[str, Any] = {
            "hugging face": PlainHuggingFace(hf_model, model.tokenizer),
            "transformer lens": PlainTransformerLens(model.bridge, model.tokenizer),
        }
        if self.peers:
            self.on_step("the peers' environment")
            python = build_environment(cache_dir() / "peers")
            sides["dialz"] = stack.enter_context(Peer("dialz", python, _folder()))
            sides["steering-vectors"] = stack.enter_context(
                Peer("steering-vectors", python, _folder())
            )
        return sides

    def _rounds(
        self, tasks: list[Task], sides: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[tuple, Any]]:
        """Every task by every side, the order turned by one from round to round; outputs are those of the last."""
        timed, outputs = [], {}
        for number in range(self.rounds):
            for task in tasks:
                self.on_step(f"round {number + 1} of {self.rounds}: {task.name}")
                for name in _turned(list(sides), number):
                    if (done := _timed(task, name, sides[name])) is not None:
                        outputs[task.name, name] = done[1]
                        timed.append(
                            {"task": task.name, "side": name, "round": number, "seconds": done[0]}
                        )
        return timed, outputs


def summarise(
    timed: list[dict[str, Any]], tasks: list[Task], outputs: dict[tuple, Any]
) -> list[dict[str, Any]]:
    """One row a task and other side: median seconds of both, ratio to ours (median, least, most of the rounds').

    difference is the largest from our output, or the share of texts that differ. A task that no other side has is held
    against all sides of its rival, without a difference.
    """
    seconds = pd.DataFrame(timed).pivot_table(
        index=["task", "side"], columns="round", values="seconds"
    )
    rows = []
    for task in tasks:
        held = task.rival or task.name
        for side in seconds.loc[held].index:
            if (held, side) == (task.name, OURS):
                continue
            ours, theirs = seconds.loc[task.name, OURS], seconds.loc[held, side]
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
    """The best layers by each kind of sweep, how the gradient ranks all layers (Spearman), and how many it measured."""
    tables = {name: outputs[f"{name} sweep", OURS] for name in SWEEP_METHODS}
    axis = tables["exact"].steered.iloc[0]
    means = {name: table.groupby("layer").differential.mean() for name, table in tables.items()}
    refined = tables["refined"]
    return {
        **{name: top_layers(table, axis, k) for name, table in tables.items()},
        "spearman": float(means["gradient"].corr(means["exact"], method="spearman")),
        "measured": int(refined[refined.method == "exact"].layer.nunique()),
    }


def _setting(model: LanguageModel) -> Setting:
    """Vectors from a few scenarios; warm caches and the readout's validity, which is measured once, not timed."""
    vectors = extract(model, spread(load_scenarios(), 12))
    for readout in READOUTS:
        check_readout(model, readout)
    middle = model.n_layers // 2
    return Setting(model, vectors, tuple(range(middle - 1, middle + 3)))


def _timed(task: Task, name: str, side: Any) -> tuple[float, Any] | None:
    if side is not None and task.theirs is None:
        return None
    start = time.perf_counter()
    out = task.ours() if side is None or task.theirs is None else task.theirs(side)
    seconds = time.perf_counter() - start
    # A peer's own clock leaves out the way there and back.
    return (side.take_seconds() if isinstance(side, Peer) else seconds), out


def _turned(names: list[str], by: int) -> Iterator[str]:
    yield from names[by % len(names) :]
    yield from names[: by % len(names)]


def _difference(task: Task, outputs: dict[tuple, Any], side: str) -> float:
    ours, theirs = task.comparable(outputs[task.name, OURS]), outputs[task.name, side]
    if isinstance(ours, list):
        return float(np.mean([a != b for a, b in zip(ours, theirs, strict=True)]))
    return float(np.abs(ours - theirs).max())


def _folder() -> Path:
    """Where the embedded model's weights lie once `load_model` has unpacked them."""
    return cache_dir() / "models" / "-".join(EMBEDDED[MODEL])


def _about(threads: int) -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "cpu": platform.processor() or platform.machine(),
        "threads": threads,
        "peak_gflops": matmul_rate() / 1e9,
        **{name: version(name) for name in ("torch", "transformers", "transformer-lens")},
    }
