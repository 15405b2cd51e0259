"""Peak memory of a short sweep, each side in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from interp_culture.bench.plain import PlainHuggingFace, PlainTransformerLens
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.token_tree import TokenSequence

SIDES = ("ours", "transformer lens", "hugging face")


def peak_memory(
    folder: Path, groups: Sequence[Sequence[TokenSequence]], layers: Sequence[int]
) -> pd.DataFrame:
    """MiB held at most, the model included, while the groups' answers are scored with each layer steered.

    Returns: side, peak_mb.
    """
    work = {
        "folder": str(folder),
        "groups": [[[list(s.prompt), list(s.answer)] for s in members] for members in groups],
        "layers": list(layers),
    }
    rows = []
    for side in SIDES:
        command = [sys.executable, "-m", "interp_culture.bench.memory", side]
        done = subprocess.run(
            command, input=json.dumps(work), capture_output=True, text=True, check=True
        )
        rows.append({"side": side, "peak_mb": float(done.stdout.split()[-1])})
    return pd.DataFrame(rows)


def _work(side: str, folder: str, groups: list, layers: list[int]) -> None:
    if side == "hugging face":
        from transformers import AutoModelForCausalLM, AutoTokenizer

        hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        worker: Any = PlainHuggingFace(hf_model, AutoTokenizer.from_pretrained(folder))
        width, depth = hf_model.config.hidden_size, hf_model.config.num_hidden_layers
    else:
        model = load_model(folder, device="cpu", dtype="float32")
        worker = PlainTransformerLens(model.bridge, model.tokenizer)
        width, depth = model.d_model, model.n_layers
    if side == "ours":
        sequences = [[TokenSequence(tuple(p), tuple(a)) for p, a in members] for members in groups]
        score_runs(
            model, sequences, {n: [Edit(n, torch.ones(width), 1.0)] for n in layers}, answer_logprob
        )
    else:
        prompts, answers = zip(*[s for members in groups for s in members], strict=True)
        ones = torch.ones(depth, width).numpy()
        worker.score(
            prompts, answers, [{"layers": [n], "vectors": ones, "alpha": 1.0} for n in layers]
        )


def _peak_mb() -> float:
    """A child inherits its parent's ru_maxrss on Linux, which is therefore asked for the process's own peak."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            x for x in status.read_text(encoding="ascii").splitlines() if x.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    _work(sys.argv[1], **json.load(sys.stdin))
    print(_peak_mb())
