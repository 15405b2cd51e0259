"""TransformerLens hooks for the edits of stacked runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.hook_bypass import unhooked
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.patches import Patch
from interp_culture.engine.token_tree import Batch


class Hooks:
    """TransformerLens hooks for the edits of stacked runs, for the time of one pass.

    Edits on the residual stream right where their run starts need no hook: `enter` applies them.

    Attributes:
        runs: the edits of each run.
        starts: the residual stream at which each run enters the stack, in ascending order; -1 for
            a run that is in it from the first token embedding on.
        running: how many runs are in the stack now, the first ones of `runs`.
        batch: the batch whose rows each run of the stack reads now.

    Args:
        reads: functions that record the activations of all rows, by hook point.
    """

    def __init__(
        self,
        model: LanguageModel,
        runs: Sequence[Sequence[Edit | Patch]],
        starts: Sequence[int] | None = None,
        reads: Mapping[str, Callable[..., Tensor | None]] | None = None,
    ) -> None:
        self.model = model
        self.runs = runs
        self.starts = starts if starts is not None else [-1] * len(runs)
        self.running = sum(start < 0 for start in self.starts)
        # Set by whoever runs the pass, before each part of it.
        self.batch: Batch
        points: dict[str, list[tuple[int, Edit | Patch]]] = defaultdict(list)
        for run, edits in enumerate(runs):
            for edit in edits:
                if not self._at_start(run, edit):
                    points[edit.hook_name].append((run, edit))
        hooks: list[tuple[str, Callable]] = [
            (name, partial(self._apply, run_edits)) for name, run_edits in points.items()
        ]
        # After the edits, so that a hook that reads sees what the edits of its hook point did.
        hooks += (reads or {}).items()
        self.context = model.bridge.hooks(fwd_hooks=hooks)
        # Asked now, since our own hooks would count as the user's.
        self.fuses = model.usable_shortcuts.fused

    def __enter__(self) -> Hooks:
        # `pop_all` keeps the contexts open after this block; an error before it closes them.
        with ExitStack() as stack:
            stack.enter_context(self.context)
            if self.fuses:
                stack.enter_context(unhooked(self.model))  # after the hooks, which it looks for
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def enter(
        self,
        plain: Float[Tensor, "row pos d_model"],
        layer: int,
        hidden: Float[Tensor, "run_row pos d_model"] | None,
    ) -> Float[Tensor, "more_run_row pos d_model"]:
        """Add the runs that start at residual stream `layer` to the stack.

        Args:
            plain: that stream of `batch` without edits.
            hidden: the same stream of the runs in the stack; None where there are none.
        """
        entering = [run for run, start in enumerate(self.starts) if start == layer]
        self.running = entering[-1] + 1
        streams = [hidden] if hidden is not None else []
        for run in entering:
            stream = plain
            at_start = [edit for edit in self.runs[run] if self._at_start(run, edit)]
            # The output of a block is hooked before the input of the next one, which is the same
            # stream; edits at one hook point keep their order.
            for edit in sorted(at_start, key=lambda edit: edit.layer):
                stream = edit.apply(stream, self.batch)
            streams.append(stream)
        return torch.cat(streams)

    def _at_start(self, run: int, edit: Edit | Patch) -> bool:
        return edit.is_on_stream and edit.stream == self.starts[run]

    def _apply(
        self, run_edits: list[tuple[int, Edit | Patch]], activation: Tensor, hook: Any = None
    ) -> Tensor:
        """The hook function of one hook point: each edit acts on the rows of its run."""
        # A run with an edit here is in the stack: it enters at its first edited stream or before.
        by_run = rearrange(activation, "(run row) ... -> run row ...", run=self.running)
        streams = list(by_run)
        for run, edit in run_edits:
            streams[run] = edit.apply(streams[run], self.batch)
        return torch.cat(streams) if len(streams) > 1 else streams[0]
