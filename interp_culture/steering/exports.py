"""Edits in the formats of other engines: llama.cpp, lm-eval, TransformerLens' remote bridges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from interp_culture.artifacts.files import replacing
from interp_culture.engine.interventions import HOOK_POINTS, Edit, as_edits
from interp_culture.errors import InputError

ARCHITECTURE = "controlvector"
AFTER_BLOCKS = ("hook_resid_post",)
# The bridge's own names of the streams that a remote engine can change.
REMOTE_NAMES = {"hook_resid_pre": "hook_in", "hook_resid_post": "hook_out"}


def export_control_vector(path: str | Path, edits: Edit | Sequence[Edit], model_type: str) -> None:
    """Write edits as a GGUF control vector, as llama.cpp and repeng read it.

    llama.cpp adds `direction.N` to the residual stream after block N, at every token, times its own
    scale: `llama-cli --control-vector-scaled FILE 1.0`. The strengths of the edits are in the
    vectors, so that scale 1 is the steering of the edits.

    Args:
        model_type: Hugging Face's name of the architecture ("llama", "qwen2"), which readers
            compare with their model.

    Raises:
        InputError: what the format cannot say: layer 0 (llama.cpp begins with block 1), positions
            other than "all", operations other than "add", hook points other than
            "hook_resid_post"; or the package `gguf` is missing.

    >>> export_control_vector("x.gguf", ic.steer(vectors["X"], [1, 2], 2.0), "llama")
    >>> ic.load_vectors("x.gguf", axis="X", n_layers=4)["X"].direction.norm(dim=-1) > 0
    tensor([False,  True,  True, False])
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise InputError(
            "writing a .gguf file needs the package gguf: "
            "python -m pip install 'interp-culture[gguf]'"
        ) from error
    steps = _steps(edits, "a GGUF control vector", AFTER_BLOCKS)
    if 0 in (layer for layer, _ in steps):
        raise InputError(
            "layer 0: llama.cpp has no control vector after block 0; leave the layer out"
        )
    with replacing(Path(path)) as part:
        writer = GGUFWriter(part, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(steps))
        for (layer, _), step in sorted(steps.items()):
            writer.add_tensor(f"direction.{layer}", step.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def export_tensors(path: str | Path, edits: Edit | Sequence[Edit]) -> None:
    """Write edits as a plain .safetensors file, beside a .json file that describes each of them.

    A tensor has TransformerLens' full name of its hook point, and the strength is in it: add it
    there, at every token.

    Raises:
        InputError: positions other than "all", operations other than "add".

    >>> export_tensors("x.safetensors", ic.steer(vectors["X"], [1, 2], 2.0))
    >>> from safetensors.torch import load_file
    >>> sorted(load_file("x.safetensors"))
    ['blocks.1.hook_resid_post', 'blocks.2.hook_resid_post']
    """
    path = Path(path)
    edits = as_edits(edits)
    steps = _steps(edits, "a file of plain tensors")
    with replacing(path) as part:
        save_file({f"blocks.{layer}.{point}": s for (layer, point), s in steps.items()}, part)
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps([edit.describe() for edit in edits], indent=2), encoding="utf-8")


def export_lm_eval(path: str | Path, edits: Edit | Sequence[Edit], blocks: str = "layers") -> None:
    """Write edits for lm-eval's model `steered`, which adds them at every token.

    `lm_eval --model steered --model_args pretrained=NAME,steer_path=FILE.pt`. lm-eval reads the
    file by unpickling it: give it only files that you wrote.

    Args:
        path: with the suffix .pt, by which lm-eval knows the format.
        blocks: where the blocks are in the model's `base_model`: "layers" for Llama, Qwen and
            Gemma, "h" for GPT-2.

    Raises:
        InputError: another suffix, positions other than "all", operations other than "add", hook
            points other than "hook_resid_post".

    >>> export_lm_eval("x.pt", ic.steer(vectors["X"], [1, 2], 2.0))
    >>> sorted(torch.load("x.pt", weights_only=True))
    ['layers.1', 'layers.2']
    """
    path = Path(path)
    if path.suffix != ".pt":
        raise InputError(f"{path}: lm-eval knows the format by the suffix .pt; give such a name")
    steps = _steps(edits, "lm-eval's steered model", AFTER_BLOCKS)
    content = {
        f"{blocks}.{layer}": {
            "steering_vector": step,
            "steering_coefficient": 1.0,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
        for (layer, _), step in steps.items()
    }
    with replacing(path) as part:
        torch.save(content, part)


def remote_interventions(edits: Edit | Sequence[Edit]) -> dict[str, dict[str, Any]]:
    """Edits as TransformerLens' RemoteBridge takes them, for models in vLLM.

    `bridge.forward(text, intervene=remote_interventions(edits))` adds them at every token. The
    names are those of the bridge: blocks.1.hook_out is what Edit calls blocks.1.hook_resid_post.

    Raises:
        InputError: positions other than "all", operations other than "add", hook points other than
            "hook_resid_pre" and "hook_resid_post".

    >>> list(remote_interventions(ic.steer(vectors["X"], [1, 2], 2.0)))
    ['blocks.1.hook_out', 'blocks.2.hook_out']
    """
    steps = _steps(edits, "an intervention of a remote bridge", tuple(REMOTE_NAMES))
    return {
        f"blocks.{layer}.{REMOTE_NAMES[point]}": {"op": "add", "value": step.tolist()}
        for (layer, point), step in steps.items()
    }


def _steps(
    edits: Edit | Sequence[Edit], what: str, hook_points: Sequence[str] = HOOK_POINTS
) -> dict[tuple[int, str], Tensor]:
    """What the edits add at each layer and hook point, strengths included.

    Raises InputError for what a format without positions and operations cannot say.
    """
    steps: dict[tuple[int, str], Tensor] = {}
    for edit in as_edits(edits):
        cannot = {
            f"operation {edit.operation!r}": edit.operation != "add",
            f"positions {edit.positions!r}": edit.positions != "all",
            f"hook point {edit.hook_point!r}": edit.hook_point not in hook_points,
        }
        for part, is_so in cannot.items():
            if is_so:
                raise InputError(
                    f"{what} cannot say {part} (the edit at {edit.hook_name}); it adds a vector "
                    "at every token"
                )
        place = edit.layer, edit.hook_point
        step = edit.strength * edit.vector.float().cpu()
        steps[place] = steps[place] + step if place in steps else step.contiguous()
    if not steps:
        raise InputError(f"no edit to write as {what}; give what `steer` returns")
    return steps
