"""Peak memory of a short sweep, measured in a separate process for each side."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from interp_culture.bench.plain import PlainHuggingFace, PlainTransformerLens, Run
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.logprobs import answer_logprob, score_runs
from interp_culture.engine.token_tree import TokenSequence

SIDES = ("ours", "transformer lens", "hugging face")


def peak_memory(
    folder: Path, groups: Sequence[Sequence[TokenSequence]], layers: Sequence[int]
) -> pd.DataFrame:
    """Peak memory while the groups' answers are scored, with each of the layers steered alone.

    Args:
        folder: the model's folder.

    Returns:
        side, peak_mib (MiB, including the model).
    """
    work = {
        "folder": str(folder),
        "groups": [[[list(s.prompt), list(s.answer)] for s in members] for members in groups],
        "layers": list(layers),
    }
    rows = []
    for side in SIDES:
        peak = in_fresh_process("interp_culture.bench.memory", [side], work)
        rows.append({"side": side, "peak_mib": float(peak)})
    return pd.DataFrame(rows)


def in_fresh_process(module: str, arguments: Sequence[str], work: dict[str, Any]) -> str:
    """The last line that a module prints; it reads its work from stdin.

    A process cannot reset its peak memory, so each measurement needs a new one.
    """
    command = [sys.executable, "-m", module, *arguments]
    finished = subprocess.run(
        command, input=json.dumps(work), capture_output=True, text=True, check=True
    )
    return finished.stdout.splitlines()[-1]


def _work(side: str, folder: str, groups: list, layers: list[int]) -> None:
    if side == "hugging face":
        _plain_hugging_face(folder, groups, layers)
        return
    model = load_model(folder, device="cpu", dtype="float32")
    if side == "ours":
        sequences = [[TokenSequence(tuple(p), tuple(a)) for p, a in members] for members in groups]
        vector = torch.ones(model.d_model)
        runs = {layer: [Edit(layer, vector, 1.0)] for layer in layers}
        score_runs(model, sequences, runs, answer_logprob)
        return
    worker = PlainTransformerLens(model.bridge, model.tokenizer)
    prompts, answers = _flat(groups)
    worker.score(prompts, answers, _runs(layers, model.n_layers, model.d_model))


def _plain_hugging_face(folder: str, groups: list, layers: list[int]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    worker = PlainHuggingFace(hf_model, AutoTokenizer.from_pretrained(folder))
    prompts, answers = _flat(groups)
    runs = _runs(layers, hf_model.config.num_hidden_layers, hf_model.config.hidden_size)
    worker.score(prompts, answers, runs)


def _flat(groups: list) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and answers of all members of all groups."""
    members = [member for group in groups for member in group]
    return [prompt for prompt, _ in members], [answer for _, answer in members]


def _runs(layers: list[int], n_layers: int, d_model: int) -> list[Run]:
    vectors = torch.ones(n_layers, d_model).numpy()
    return [{"layers": [layer], "vectors": vectors, "alpha": 1.0} for layer in layers]


def peak_mib() -> float:
    """Peak memory of this process in MiB."""
    import resource

    # On Linux, ru_maxrss starts at the value of the parent process, but VmHWM does not.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        (peak_line,) = [line for line in lines if line.startswith("VmHWM")]
        return int(peak_line.split()[1]) / 1024
    # macOS gives bytes, other systems KiB.
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    _work(sys.argv[1], **json.load(sys.stdin))
    print(peak_mib())
