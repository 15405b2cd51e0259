"""The eight checks of peer_checks.py on this package, TransformerLens, Dialz and steering-vectors.

PYTHONPATH=tests python tools/peer_faults.py ENVIRONMENT docs/peers.md

ENVIRONMENT is a folder for the virtual environment of the peers; it is built where it is missing.
The table is written into the page, below its marker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import SIZES, byte_tokenizer
from page_table import write_below
from peer_checks import CHECKS, PAIRS, Seen
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import interp_culture as ic
from interp_culture.bench.peers import PACKAGES, build_environment, write_for_transformers_4
from interp_culture.engine import Edit, applied
from interp_culture.engine.logprobs import next_token_logits, score_runs
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.scenario import Scenario, ScenarioSet

MARKER = "<!-- the table, written by tools/peer_faults.py -->"


def tiny_model(folder: Path) -> None:
    """A random Llama whose numbers float16 can hold, with one token for each byte."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                # Else the final norm would be a mere rescaling.
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


class Own:
    """This package."""

    name = "interp-culture"

    def __init__(self, folder: str) -> None:
        self.exact = exact_model(folder)
        self.n_layers = self.exact.config.num_hidden_layers
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = ic.load_model(exact_model(folder), tokenizer=self.tokenizer)

    def train(self, batch_size: int = 2) -> dict[int, np.ndarray]:
        read = ic.read_activations(self.model, pairs_of_texts())
        differences = (read.positive - read.negative).mean(0).numpy()
        return dict(enumerate(differences))

    def steered(self, vector: torch.Tensor, layer: int) -> AbstractContextManager[Any]:
        return applied(self.model, Edit(layer, vector, 1.0))

    @property
    def blocks(self) -> Any:
        return self.model.bridge.blocks

    def logits(self, texts: list[str]) -> torch.Tensor:
        groups = [[TokenSequence(tuple(self.tokenizer(text).input_ids))] for text in texts]
        score = next_token_logits(range(self.exact.config.vocab_size))
        # The last value is the partition function.
        return torch.from_numpy(score_runs(self.model, groups, {"": ()}, score)[""][:, 0, :-1])


class TransformerLens:
    """A TransformerBridge, used directly, without the BOS that it puts before each text."""

    name = "TransformerLens"

    def __init__(self, folder: str) -> None:
        self.exact = exact_model(folder)
        self.n_layers = self.exact.config.num_hidden_layers
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        hooked = exact_model(folder)
        self.model = build_bridge_from_module(
            hooked, "LlamaForCausalLM", hf_config=hooked.config, tokenizer=self.tokenizer
        )

    def train(self, batch_size: int = 2) -> dict[int, np.ndarray]:
        texts = [text for pair in PAIRS for text in pair]
        read: dict[int, list[torch.Tensor]] = {layer: [] for layer in range(self.n_layers)}
        size = batch_size if batch_size == 1 else len(texts)
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            with torch.no_grad():
                _, cache = self.model.run_with_cache(batch, padding_side="left", prepend_bos=False)
            for layer in read:
                read[layer] += list(cache[f"blocks.{layer}.hook_resid_post"][:, -1])
        return {
            layer: np.mean([(a - b).numpy() for a, b in zip(rows[::2], rows[1::2], strict=True)], 0)
            for layer, rows in read.items()
        }

    def steered(self, vector: torch.Tensor, layer: int) -> AbstractContextManager[Any]:
        def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
            return value + vector

        context: AbstractContextManager[Any] = self.model.hooks(
            fwd_hooks=[(f"blocks.{layer}.hook_resid_post", add)]
        )
        return context

    @property
    def blocks(self) -> Any:
        return Hookable(self.model)

    def logits(self, texts: list[str]) -> torch.Tensor:
        with torch.no_grad():
            return self.model(texts, padding_side="left", prepend_bos=False)[:, -1]


class Hookable:
    """Blocks whose hooks are TransformerLens' own, which is how its users set them."""

    def __init__(self, bridge: Any) -> None:
        self.bridge = bridge

    def __getitem__(self, layer: int) -> Hookable:
        self.layer = layer
        return self

    def register_forward_hook(self, function: Any) -> Hookable:
        def hook(value: torch.Tensor, hook: Any) -> None:
            function(value)

        self.bridge.add_hook(f"blocks.{self.layer}.hook_resid_post", hook)
        return self

    def remove(self) -> None:
        self.bridge.reset_hooks()


def exact_model(folder: str) -> Any:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def pairs_of_texts() -> ScenarioSet:
    """The pairs of the checks as scenarios."""
    catalogue = Catalogue.model_validate(
        {
            "name": "pairs",
            "axes": {"X": {"negative": "no", "positive": "yes"}},
            "domains": ["all"],
            "items": {"X": {"axis": "X", "label": "X"}},
        }
    )
    scenarios = [
        Scenario(
            id=str(n), axis="X", item="X", domain="all", situation="", positive=one, negative=other
        )
        for n, (one, other) in enumerate(PAIRS)
    ]
    return ScenarioSet(tuple(scenarios), catalogue)


def seen_here(kind: type[Own] | type[TransformerLens], folder: str) -> dict[str, Seen]:
    """The checks on a library of this environment."""
    seen: dict[str, Seen] = {}
    for title, check in CHECKS.items():
        library = kind(folder)
        torch.manual_seed(0)
        try:
            seen[title] = check(library, 3 * torch.randn(library.exact.config.hidden_size))
        except Exception as fault:
            seen[title] = False, f"{type(fault).__name__}: {str(fault).splitlines()[0][:80]}"
    return seen


def seen_there(python: Path, name: str, folder: str) -> dict[str, Seen]:
    """The checks on a library of the peers' environment."""
    program = Path(__file__).with_name("peer_checks.py")
    done = subprocess.run(
        [str(python), "-I", str(program), name, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr}")
    found: dict[str, Seen] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(by_library: dict[str, dict[str, Seen]]) -> str:
    """The Markdown table: a row for each check, a column for each library."""
    lines = [
        f"| check | {' | '.join(by_library)} |",
        "|---" * (len(by_library) + 1) + "|",
    ]
    for title in CHECKS:
        cells = [
            f"{'right' if seen[title][0] else '**wrong**'}: {seen[title][1]}".replace("|", "/")
            for seen in by_library.values()
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(environment: str, page: str) -> None:
    """Run all checks and write the table."""
    python = build_environment(Path(environment))
    with tempfile.TemporaryDirectory() as scratch:
        own, theirs = Path(scratch) / "own", Path(scratch) / "theirs"
        tiny_model(own)
        theirs.mkdir()
        write_for_transformers_4(own, theirs)
        pins = dict(pin.split("==") for pin in PACKAGES[1] if "==" in pin)
        by_library = {
            "interp-culture": seen_here(Own, str(own)),
            f"TransformerLens {version('transformer-lens')}": seen_here(TransformerLens, str(own)),
            f"Dialz {pins['dialz']}": seen_there(python, "dialz", str(theirs)),
            f"steering-vectors {pins['steering-vectors']}": seen_there(
                python, "steering-vectors", str(theirs)
            ),
        }
    write_below(page, MARKER, table(by_library))


if __name__ == "__main__":
    main(*sys.argv[1:])
