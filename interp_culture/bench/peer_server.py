"""A server that does the benchmark's tasks with Dialz or steering-vectors, in their environment.

    python peer_server.py {dialz|steering-vectors} MODEL_FOLDER

The environment's transformers must be able to read the folder, whose tokenizer must pad on the
right. The server prints `{"ready": ...}`. It then answers each line `{"task", "arguments", "out"}`
with a line of JSON: seconds (of the task alone), values or the .npy `file` with them, and peak_mib
(MiB, of the process so far); or `error`. A run is null or `{"layers", "vectors", "alpha"}`, where
vectors is an .npy file of shape [layer, d_model]: `alpha * vectors[l]` is added to the output of
every block l of `layers`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH = 16
Run = dict[str, Any] | None


class Library(ABC):
    """The tasks in terms of forward passes over left-padded batches of similar length."""

    def __init__(self, model: Any, hf_model: Any, folder: Path) -> None:
        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.pad = self.tokenizer.pad_token_id or 0
        ends = hf_model.generation_config.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]

    @abstractmethod
    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """The mean difference after every block, [layer, d_model], by the library's function."""

    @abstractmethod
    def steered(self, run: dict[str, Any]) -> Any:
        """A context in which `self.model` is steered by the library."""

    def extract(self, pairs: list[list[str]]) -> np.ndarray:
        # Similar lengths in a batch need less padding.
        return self.train(sorted(((x, y) for x, y in pairs), key=lambda pair: -len(pair[0])))

    def read(self, prompts: list[list[int]], tokens: list[int], runs: list[Run]) -> np.ndarray:
        out = np.empty((len(runs), len(prompts), len(tokens)))
        for r, members, rows in self.passes(prompts, runs):
            out[r, members] = self.logits(rows, 1)[:, -1, tokens].cpu()
        return out

    def score(
        self, prompts: list[list[int]], answers: list[list[int]], runs: list[Run]
    ) -> np.ndarray:
        out = np.empty((len(runs), len(prompts)))
        # The last token of an answer is predicted, but nothing is predicted from it.
        sequences = [[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)]
        for r, members, rows in self.passes(sequences, runs):
            batch_answers = [answers[i] for i in members]
            logits = self.logits(rows, max(map(len, batch_answers)))
            out[r, members] = answer_logprobs(logits, batch_answers).cpu()
        return out

    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, runs: list[Run]
    ) -> list[list[list[int]]]:
        out: list[list[list[int]]] = [[[] for _ in prompts] for _ in runs]
        for r, members, rows in self.passes(prompts, runs):
            tokens, mask = self.padded(rows)
            whole = self.model.generate(
                input_ids=tokens,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                use_cache=True,
                pad_token_id=self.pad,
            )
            continuations = whole[:, tokens.shape[1] :].tolist()
            for i, continuation in zip(members, continuations, strict=True):
                out[r][i] = self.until_end(continuation)
        return out

    def until_end(self, tokens: list[int]) -> list[int]:
        ends = [position for position, token in enumerate(tokens) if token in self.ends]
        return tokens[: ends[0]] if ends else tokens

    def passes(
        self, sequences: list[list[int]], runs: list[Run]
    ) -> Iterator[tuple[int, list[int], list[list[int]]]]:
        """Batches as (index of the run, members, their sequences), each yielded while steered."""
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        for r, run in enumerate(runs):
            with self.steered(run) if run else nullcontext():
                for start in range(0, len(order), BATCH):
                    members = order[start : start + BATCH]
                    yield r, members, [sequences[i] for i in members]

    def logits(self, rows: list[list[int]], keep: int) -> torch.Tensor:
        """Logits at the last `keep` positions: [row, kept, vocabulary]."""
        tokens, mask = self.padded(rows)
        # Neither transformers nor the libraries derive positions from the mask, and Dialz fails on
        # a batch without positions.
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        inputs = {
            "attention_mask": mask,
            "position_ids": positions,
            "logits_to_keep": keep,
            "use_cache": False,
        }
        return self.model(tokens, **inputs).logits

    def padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask."""
        device = self.model.device
        tokens = pad_left(rows, self.pad)
        mask = pad_left([[1] * len(row) for row in rows], 0)
        return tokens.to(device), mask.to(device)


class Dialz(Library):
    """A Dialz SteeringModel with every block wrapped, so that a run can steer any of them."""

    def __init__(self, folder: Path) -> None:
        from dialz import SteeringModel

        exact = load(folder)
        model = SteeringModel(str(folder), range(exact.config.num_hidden_layers))
        # Dialz can only load in float16, so the exact weights are put back.
        for rounded, original in zip(model.parameters(), exact.parameters(), strict=True):
            rounded.data = original.data.to(model.device)
        super().__init__(model.eval(), exact, folder)

    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        from dialz import Dataset, SteeringVector

        dataset = Dataset()
        for positive, negative in pairs:
            dataset.add_entry(positive, negative)
        # All blocks are named, since Dialz leaves out block 0 by default.
        layers = range(self.model.config.num_hidden_layers)
        hidden: dict[int, np.ndarray] = {}

        def record(hidden_states: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
            hidden.update(hidden_states)
            return hidden_states

        settings = {"hidden_layers": layers, "batch_size": BATCH, "transform_hiddens": record}
        with self.without_final_norm():
            trained = SteeringVector.train(self.model, dataset, method="mean_diff", **settings)
        # Dialz reverses a direction if most pairs are opposite to it, even if their mean is not.
        directions = []
        for layer in layers:
            difference = (hidden[layer][::2] - hidden[layer][1::2]).mean(0)
            direction = trained.directions[layer]
            directions.append(np.sign(difference @ direction) * direction)
        return np.stack(directions)

    @contextmanager
    def without_final_norm(self) -> Iterator[None]:
        """A context without the final norm.

        Dialz steers the last block's output before the final norm but reads it after. Here it also
        reads it before.
        """
        body = self.model.model.model
        norm = body.norm
        body.norm = torch.nn.Identity()
        try:
            yield
        finally:
            body.norm = norm

    @contextmanager
    def steered(self, run: dict[str, Any]) -> Iterator[None]:
        from dialz import SteeringVector

        vector = SteeringVector(self.model.config.model_type, dict(enumerate(run["vectors"])))
        self.model.layer_ids = run["layers"]
        self.model.set_control(vector, run["alpha"])
        try:
            yield
        finally:
            self.model.reset()


class SteeringVectors(Library):
    """A Hugging Face model that steering-vectors adds hooks to."""

    def __init__(self, folder: Path) -> None:
        model = load(folder)
        super().__init__(model, model, folder)

    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        from steering_vectors import mean_aggregator, train_steering_vector

        # The decoder has no unembedding, whose logits are not needed.
        blocks = self.model.get_decoder()
        trained = train_steering_vector(
            blocks,
            self.tokenizer,
            pairs,
            aggregator=mean_aggregator(),
            read_token_index=-1,
            batch_size=BATCH,
        )
        activations = trained.layer_activations
        return torch.stack([activations[i] for i in range(len(blocks.layers))]).cpu().numpy()

    def steered(self, run: dict[str, Any]) -> Any:
        from steering_vectors import SteeringVector

        vectors = torch.from_numpy(run["vectors"]).to(self.model.device)
        steps = {layer: vectors[layer] for layer in run["layers"]}
        return SteeringVector(steps).apply(self.model, multiplier=run["alpha"])


LIBRARIES: dict[str, type[Dialz] | type[SteeringVectors]] = {
    "dialz": Dialz,
    "steering-vectors": SteeringVectors,
}


def pad_left(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])


def answer_logprobs(logits: torch.Tensor, answers: list[list[int]]) -> torch.Tensor:
    """Sum of the log-probabilities of each answer's tokens, in nats.

    The last `len(answer)` kept positions of a row predict these tokens.
    """
    targets = pad_left(answers, -1).to(logits.device)
    target_logits = logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    logprobs = target_logits - logits.logsumexp(-1)
    return logprobs.where(targets >= 0, 0).sum(-1)


def load(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def peak_mib() -> float:
    """Peak memory of this process in MiB."""
    # On Linux, ru_maxrss starts at the value of the parent process, but VmHWM does not.
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    # macOS gives bytes, other systems KiB.
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def answer(library: Library, request: dict[str, Any]) -> dict[str, Any]:
    arguments = request["arguments"]
    for run in arguments.get("runs", []):
        if run:
            run["vectors"] = np.load(run["vectors"], allow_pickle=False)
    start = time.perf_counter()
    with torch.inference_mode():
        values = getattr(library, request["task"])(**arguments)
    seconds = time.perf_counter() - start
    if isinstance(values, np.ndarray):
        np.save(request["out"], values, allow_pickle=False)
        return {"seconds": seconds, "file": request["out"], "peak_mib": peak_mib()}
    return {"seconds": seconds, "values": values, "peak_mib": peak_mib()}


def serve(name: str, folder: Path, lines: TextIO, out: TextIO) -> None:
    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    library = LIBRARIES[name](folder)
    say(
        ready=True,
        versions={p: version(p) for p in (name, "transformers", "torch")},
        peak_mib=peak_mib(),
    )
    for line in lines:
        try:
            say(**answer(library, json.loads(line)))
        except Exception as error:
            say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    # The libraries print text and progress bars. These go to stderr, to keep stdout for answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], Path(sys.argv[2]), sys.stdin, answers)
