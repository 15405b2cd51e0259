"""Eight checks of a steering library on a tiny model, against plain Hugging Face passes.

    python peer_checks.py {dialz|steering-vectors} MODEL_FOLDER

It runs in the library's own environment, and prints one line of JSON: for each check whether the
library is right, and what was seen. The library is used as its documentation shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PAIRS = [("It is late and cold.", "It is early."), ("Yes.", "No, never at all."), ("Go!", "Stay.")]
LONG, SHORT = "How are you today, my friend?", "Why?"
CLOSE = 1e-3
Seen = tuple[bool, str]


class Dialz:
    """A Dialz model whose blocks 1 and 2 are wrapped."""

    name = "Dialz"

    def __init__(self, folder: str) -> None:
        from dialz import SteeringModel

        self.exact = load(folder)
        self.n_layers = self.exact.config.num_hidden_layers
        self.model = SteeringModel(folder, [1, 2])
        # It can only load in float16, so the exact weights are put back.
        for rounded, original in zip(self.model.parameters(), self.exact.parameters(), strict=True):
            rounded.data = original.data
        self.model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def train(self, batch_size: int = 2) -> dict[int, np.ndarray]:
        from dialz import Dataset, SteeringVector

        dataset = Dataset()
        for positive, negative in PAIRS:
            dataset.add_entry(positive, negative)
        hidden: dict[int, np.ndarray] = {}

        def record(states: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
            hidden.update(states)
            return states

        SteeringVector.train(
            self.model, dataset, method="mean_diff", batch_size=batch_size,
            transform_hiddens=record,
        )  # fmt: skip
        # What was read, since the directions are normalised.
        n = self.n_layers
        return {layer % n: (states[::2] - states[1::2]).mean(0) for layer, states in hidden.items()}

    @contextmanager
    def steered(self, vector: torch.Tensor, layer: int) -> Any:
        from dialz import SteeringVector

        steps = {number: np.zeros(len(vector)) for number in (1, 2)} | {layer: vector.numpy()}
        self.model.set_control(SteeringVector("llama", steps), 1.0)
        yield
        # As its documentation shows: `reset` is the user's to call.
        self.model.reset()

    @property
    def blocks(self) -> Any:
        return self.model.model.model.layers

    def logits(self, texts: list[str]) -> torch.Tensor:
        return last_logits(self.model, self.tokenizer, texts)


class SteeringVectors:
    """A Hugging Face model that steering-vectors hooks."""

    name = "steering-vectors"

    def __init__(self, folder: str) -> None:
        self.exact = load(folder)
        self.n_layers = self.exact.config.num_hidden_layers
        self.model = load(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def train(self, batch_size: int = 2) -> dict[int, np.ndarray]:
        from steering_vectors import train_steering_vector

        trained = train_steering_vector(
            self.model, self.tokenizer, PAIRS, batch_size=batch_size, read_token_index=-1
        )
        return {layer: v.numpy() for layer, v in trained.layer_activations.items()}

    def steered(self, vector: torch.Tensor, layer: int) -> AbstractContextManager[Any]:
        from steering_vectors import SteeringVector

        context: AbstractContextManager[Any] = SteeringVector({layer: vector}).apply(self.model)
        return context

    @property
    def blocks(self) -> Any:
        return self.model.model.layers

    def logits(self, texts: list[str]) -> torch.Tensor:
        return last_logits(self.model, self.tokenizer, texts)


def load(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def last_logits(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """The logits after each text, of a batch that is padded on the left and masked."""
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokens = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        return model(**inputs).logits[:, -1].float()


def reference(library: Any, text: str, step: torch.Tensor | None = None, layer: int = 1) -> Any:
    """The plain model's logits after one text, alone, with a step added after a block."""

    def add(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + step, *output[1:])
        return output + step

    exact = library.exact
    handle = exact.model.layers[layer].register_forward_hook(add) if step is not None else None
    try:
        tokens = library.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            return exact(tokens).logits[0, -1]
    finally:
        if handle is not None:
            handle.remove()


def mean_differences(library: Any) -> dict[int, np.ndarray]:
    """The mean difference after each block, of the plain model, one text at a time."""
    found: dict[int, list[np.ndarray]] = {}
    streams: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            streams[layer] = hidden[0, -1]

        return hook

    layers = library.exact.model.layers
    handles = [block.register_forward_hook(keep(n)) for n, block in enumerate(layers)]
    for pair in PAIRS:
        read = []
        for text in pair:
            with torch.no_grad():
                library.exact(library.tokenizer(text, return_tensors="pt").input_ids)
            read.append(dict(streams))
        for layer in read[0]:
            found.setdefault(layer, []).append((read[0][layer] - read[1][layer]).numpy())
    for handle in handles:
        handle.remove()
    return {layer: np.mean(rows, axis=0) for layer, rows in found.items()}


def error(actual: Any, expected: Any) -> float:
    """The norm of the difference over the norm of the expected values."""
    one, other = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def judged(value: float) -> Seen:
    return value < CLOSE, f"relative error {value:.1g}"


# -- the checks ------------------------------------------------------------------------------------


def last_layer(library: Any, step: torch.Tensor) -> Seen:
    last = library.n_layers - 1
    return judged(error(library.train(1)[last], mean_differences(library)[last]))


def first_block(library: Any, step: torch.Tensor) -> Seen:
    trained = library.train(1)
    if 0 not in trained:
        return False, "no vector of block 0 by default"
    return judged(error(trained[0], mean_differences(library)[0]))


def batch_under_steering(library: Any, step: torch.Tensor) -> Seen:
    with library.steered(step, 1):
        found = library.logits([SHORT, LONG])
    return judged(error(found[0], reference(library, SHORT, step)))


def extraction_in_batches(library: Any, step: torch.Tensor) -> Seen:
    return judged(error(library.train(2)[2], mean_differences(library)[2]))


def hooks_of_the_user(library: Any, step: torch.Tensor) -> Seen:
    calls: list[int] = []
    handle = library.blocks[2].register_forward_hook(lambda *_: calls.append(1))
    with library.steered(step, 1):
        library.logits([LONG])
    during = len(calls)
    library.logits([LONG])
    handle.remove()
    return bool(during and len(calls) > during), f"called {len(calls)} times in two passes"


def extraction_while_steering(library: Any, step: torch.Tensor) -> Seen:
    try:
        with library.steered(step, 1):
            trained = library.train(1)
    except Exception as refused:
        return True, f"refused: {type(refused).__name__}"
    finally:
        reset(library)
    return judged(error(trained[2], mean_differences(library)[2]))


def state_after_an_error(library: Any, step: torch.Tensor) -> Seen:
    try:
        with library.steered(step, 1):
            raise KeyError("the user's own error")
    except KeyError:
        pass
    value = error(library.logits([LONG])[0], reference(library, LONG))
    reset(library)
    return judged(value)


def applied_twice(library: Any, step: torch.Tensor) -> Seen:
    with library.steered(step, 1), library.steered(step, 1):
        twice = library.logits([LONG])[0]
    reset(library)
    sum_of_both = error(twice, reference(library, LONG, 2 * step))
    once = error(twice, reference(library, LONG, step))
    seen = "both act" if sum_of_both < CLOSE else "one acts" if once < CLOSE else "neither"
    return seen != "neither", f"{seen} (nested contexts)"


def reset(library: Any) -> None:
    """The plain model again, whatever a check left behind."""
    if hasattr(library.model, "reset"):
        library.model.reset()


CHECKS: dict[str, Callable[[Any, torch.Tensor], Seen]] = {
    "the last layer is read before the final norm": last_layer,
    "block 0 has a vector": first_block,
    "a batch under steering": batch_under_steering,
    "extraction from a padded batch": extraction_in_batches,
    "the user's hooks stay and act": hooks_of_the_user,
    "extraction while steering": extraction_while_steering,
    "nothing is left after an error": state_after_an_error,
    "a vector applied twice": applied_twice,
}


def main(name: str, folder: str) -> None:
    """Run every check on a library of its own."""
    kind = {"dialz": Dialz, "steering-vectors": SteeringVectors}[name]
    seen: dict[str, Seen] = {}
    for title, check in CHECKS.items():
        library = kind(folder)
        torch.manual_seed(0)
        step = 3 * torch.randn(library.exact.config.hidden_size)
        try:
            seen[title] = check(library, step)
        except Exception as fault:
            seen[title] = False, f"{type(fault).__name__}: {str(fault).splitlines()[0][:80]}"
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
