"""The benchmark's work done by Dialz or by steering-vectors: a server that runs in the peers' own environment.

    python peer_server.py {dialz|steering-vectors} MODEL_FOLDER

The folder must be one that the environment's transformers reads rightly, with a tokenizer that pads on the right. The
server says `{"ready": ...}`, then answers each line `{"task", "arguments", "out"}` with a line of JSON: seconds (of the
work alone), values or the .npy `file` that holds them, and peak_mb (MiB, of the process so far), or `error`. Runs are
null or `{"layers", "vectors", "alpha"}`, where vectors is an .npy file of shape [layer, d_model]: `alpha * vectors[l]`
is added to the output of every block l of `layers`.
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
    """What is the same with both: batches of similar length padded on the left, and what is read of them."""

    def __init__(self, model: Any, hf_model: Any, folder: Path) -> None:
        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.pad = self.tokenizer.pad_token_id or 0
        ends = hf_model.generation_config.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]

    @abstractmethod
    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """The mean difference after every block, [layer, d_model], by the library's own function."""

    @abstractmethod
    def steered(self, run: dict[str, Any]) -> Any:
        """A context in which `self.model` is steered, by the library's own means."""

    def extract(self, pairs: list[list[str]]) -> np.ndarray:
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
        for r, members, rows in self.passes(
            [[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)], runs
        ):
            mine = [answers[i] for i in members]
            out[r, members] = answer_logprobs(self.logits(rows, max(map(len, mine))), mine).cpu()
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
            for i, new in zip(members, whole[:, tokens.shape[1] :].tolist(), strict=True):
                stop = next((n for n, token in enumerate(new) if token in self.ends), len(new))
                out[r][i] = new[:stop]
        return out

    def passes(
        self, sequences: list[list[int]], runs: list[Run]
    ) -> Iterator[tuple[int, list[int], list[list[int]]]]:
        """(number of the run, members of the batch, their sequences), the model steered meanwhile."""
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        for r, run in enumerate(runs):
            with self.steered(run) if run else nullcontext():
                for start in range(0, len(order), BATCH):
                    members = order[start : start + BATCH]
                    yield r, members, [sequences[i] for i in members]

    def logits(self, rows: list[list[int]], keep: int) -> torch.Tensor:
        """At the last `keep` positions: [row, kept, vocabulary]."""
        tokens, mask = self.padded(rows)
        # Neither transformers nor the libraries derive positions from the mask, and Dialz fails on a batch without.
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
        return pad_left(rows, self.pad).to(device), pad_left(
            [[1] * len(row) for row in rows], 0
        ).to(device)


class Dialz(Library):
    """A SteeringModel with every block wrapped, so that a run may steer any of them."""

    def __init__(self, folder: Path) -> None:
        from dialz import SteeringModel

        exact = load(folder)
        model = SteeringModel(str(folder), range(exact.config.num_hidden_layers))
        # Dialz loads in float16 and offers nothing else: the weights are put back as they are in the file.
        for rounded, right in zip(model.parameters(), exact.parameters(), strict=True):
            rounded.data = right.data.to(model.device)
        super().__init__(model.eval(), exact, folder)

    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        from dialz import Dataset, SteeringVector

        dataset = Dataset()
        for positive, negative in pairs:
            dataset.add_entry(positive, negative)
        layers = range(self.model.config.num_hidden_layers)  # by default Dialz leaves block 0 out
        hidden: dict[int, np.ndarray] = {}
        settings = {
            "hidden_layers": layers,
            "batch_size": BATCH,
            "transform_hiddens": lambda h: hidden.update(h) or h,
        }
        with self.without_final_norm():
            trained = SteeringVector.train(self.model, dataset, method="mean_diff", **settings)
        # Dialz turns a direction round where most pairs, unlike their mean, lie against it.
        differences = [(hidden[layer][::2] - hidden[layer][1::2]).mean(0) for layer in layers]
        return np.stack(
            [
                np.sign(d @ trained.directions[i]) * trained.directions[i]
                for i, d in enumerate(differences)
            ]
        )

    @contextmanager
    def without_final_norm(self) -> Iterator[None]:
        """Dialz steers the last block's output before the final norm and reads it after: here it reads it before."""
        body = self.model.model.model
        norm, body.norm = body.norm, torch.nn.Identity()
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
    """A Hugging Face model, which steering-vectors hooks from outside."""

    def __init__(self, folder: Path) -> None:
        model = load(folder)
        super().__init__(model, model, folder)

    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        from steering_vectors import mean_aggregator, train_steering_vector

        blocks = self.model.get_decoder()  # without the head, whose logits nobody reads
        trained = train_steering_vector(
            blocks,
            self.tokenizer,
            pairs,
            aggregator=mean_aggregator(),
            read_token_index=-1,
            batch_size=BATCH,
        )
        return (
            torch.stack([trained.layer_activations[i] for i in range(len(blocks.layers))])
            .cpu()
            .numpy()
        )

    def steered(self, run: dict[str, Any]) -> Any:
        from steering_vectors import SteeringVector

        steps = {
            i: torch.from_numpy(run["vectors"][i]).to(self.model.device) for i in run["layers"]
        }
        return SteeringVector(steps).apply(self.model, multiplier=run["alpha"])


LIBRARIES: dict[str, type[Dialz] | type[SteeringVectors]] = {
    "dialz": Dialz,
    "steering-vectors": SteeringVectors,
}


def pad_left(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])


def answer_logprobs(logits: torch.Tensor, answers: list[list[int]]) -> torch.Tensor:
    """Sum over each answer's tokens; the last `len(answer)` kept positions of a row predict them."""
    targets = pad_left(answers, -1).to(logits.device)
    picked = logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0] - logits.logsumexp(-1)
    return picked.where(targets >= 0, 0).sum(-1)


def load(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def peak_mb() -> float:
    """The process's own peak, in MiB: on Linux ru_maxrss is inherited from the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
        return {"seconds": seconds, "file": request["out"], "peak_mb": peak_mb()}
    return {"seconds": seconds, "values": values, "peak_mb": peak_mb()}


def serve(name: str, folder: Path, lines: TextIO, out: TextIO) -> None:
    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    library = LIBRARIES[name](folder)
    say(
        ready=True,
        versions={p: version(p) for p in (name, "transformers", "torch")},
        peak_mb=peak_mb(),
    )
    for line in lines:
        try:
            say(**answer(library, json.loads(line)))
        except Exception as error:
            say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    # The libraries print and draw bars: stdout is kept for the answers, and what they print goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], Path(sys.argv[2]), sys.stdin, answers)
