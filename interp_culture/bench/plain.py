"""The benchmark's work written by hand: Hugging Face with forward hooks, and TransformerLens with its own calls.

Both are what a careful user of the library writes: batches of similar length padded on the left, masks and positions
that leave the padding out, logits of the positions that are read and of no other, and no gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BATCH = 16


class Steering(TypedDict):
    """`alpha * vectors[l]` is added to the output of every block l of `layers`, at all positions."""

    layers: list[int]
    vectors: Sequence[np.ndarray] | np.ndarray
    alpha: float


Run = Steering | None


@dataclass(frozen=True)
class Batch:
    """Sequences of similar length, padded on the left; `members` are their places in the list they come from."""

    members: list[int]
    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a forward pass needs besides the tokens: without positions of its own, padding would shift them."""
        positions = (self.mask.cumsum(-1) - 1).masked_fill(self.mask == 0, 1)
        return {"attention_mask": self.mask, "position_ids": positions}


def make_batches(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> list[Batch]:
    """The sequences by falling length, BATCH at a time."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    batches = []
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [list(sequences[i]) for i in members]
        tokens, mask = pad_left(rows, pad), pad_left([[1] * len(row) for row in rows], 0)
        batches.append(Batch(members, tokens.to(device), mask.to(device)))
    return batches


def pad_left(rows: Sequence[Sequence[int]], fill: int) -> Int[Tensor, "row pos"]:
    """Rows of differing length, the short ones filled up in front."""
    width = max(map(len, rows))
    return torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])


class _Plain(ABC):
    """What is the same with both libraries; a subclass says how a pass is made."""

    def __init__(self, hf_model: Any, tokenizer: Any) -> None:
        self.hf_model = hf_model
        self.tokenizer = tokenizer
        self.pad = tokenizer.pad_token_id or 0
        ends = hf_model.generation_config.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]

    @torch.inference_mode()
    def extract(self, pairs: list[tuple[str, str]]) -> Float[np.ndarray, "layer d_model"]:
        """Mean over pairs of the residual stream after every block, at the last token: first minus second text."""
        texts = [text for pair in pairs for text in pair]
        signs = torch.tensor([1.0, -1.0] * len(pairs))
        total: Tensor | float = 0.0
        for batch in self._batches(self.tokenizer(texts).input_ids):
            last = self._last_residuals(batch).float().cpu()
            total = total + torch.einsum("r,rld->ld", signs[batch.members], last)
        return (torch.as_tensor(total) / len(pairs)).numpy()

    @torch.inference_mode()
    def read(
        self, prompts: list[list[int]], tokens: list[int], runs: Sequence[Run]
    ) -> Float[np.ndarray, "run prompt token"]:
        """Logits of `tokens` after the last token of every prompt."""
        out = np.empty((len(runs), len(prompts), len(tokens)))
        batches = self._batches(prompts)
        for r, run in enumerate(runs):
            for batch in batches:
                out[r, batch.members] = self._logits(run, batch, 1)[:, -1, tokens].float().cpu()
        return out

    @torch.inference_mode()
    def score(
        self, prompts: list[list[int]], answers: list[list[int]], runs: Sequence[Run]
    ) -> Float[np.ndarray, "run prompt"]:
        """Sum of the log-probabilities of the answer's tokens after the prompt, in nats."""
        out = np.empty((len(runs), len(prompts)))
        batches = self._batches([[*p, *a[:-1]] for p, a in zip(prompts, answers, strict=True)])
        for r, run in enumerate(runs):
            for batch in batches:
                mine = [answers[i] for i in batch.members]
                logits = self._logits(run, batch, max(map(len, mine)))
                out[r, batch.members] = answer_logprobs(logits, mine).cpu()
        return out

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, runs: Sequence[Run]
    ) -> list[list[list[int]]]:
        """Greedy new tokens of every prompt under every run, up to the token that ends the answer, without it."""
        out: list[list[list[int]]] = [[[] for _ in prompts] for _ in runs]
        batches = self._batches(prompts)
        for r, run in enumerate(runs):
            for batch in batches:
                with self._steered(run):
                    whole = self._greedy(batch, max_new_tokens)
                for i, new in zip(
                    batch.members, whole[:, batch.tokens.shape[1] :].tolist(), strict=True
                ):
                    stop = next((n for n, token in enumerate(new) if token in self.ends), len(new))
                    out[r][i] = new[:stop]
        return out

    @abstractmethod
    def _last_residuals(self, batch: Batch) -> Float[Tensor, "row layer d_model"]:
        """After every block, at the last token."""

    @abstractmethod
    def _logits(self, run: Run, batch: Batch, keep: int) -> Float[Tensor, "row kept d_vocab"]:
        """At the last `keep` positions."""

    @abstractmethod
    def _steered(self, run: Run) -> AbstractContextManager[None]:
        """The model steered for the time of a block."""

    def _greedy(self, batch: Batch, max_new_tokens: int) -> Int[Tensor, "row pos"]:
        """The batch and its likeliest continuation; what a checkpoint's own settings would change is off.

        TransformerLens too is faster by this way than by its own `generate`, which unembeds the whole prompt.
        """
        return self.hf_model.generate(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            use_cache=True,
            pad_token_id=self.pad,
        )

    def _batches(self, sequences: Sequence[Sequence[int]]) -> list[Batch]:
        return make_batches(sequences, self.pad, self.hf_model.device)

    def _steps(self, run: Run) -> dict[int, Float[Tensor, " d_model"]]:
        """What is added, by block."""
        if run is None:
            return {}
        like = {"device": self.hf_model.device, "dtype": self.hf_model.dtype}
        return {
            i: torch.as_tensor(run["alpha"] * run["vectors"][i]).to(**like) for i in run["layers"]
        }


class PlainHuggingFace(_Plain):
    """Forward hooks on the blocks of a Hugging Face causal language model."""

    def _last_residuals(self, batch: Batch) -> Float[Tensor, "row layer d_model"]:
        kept: list[Tensor] = []

        def keep(module: Any, args: Any, output: Any) -> None:
            kept.append((output[0] if isinstance(output, tuple) else output)[:, -1].clone())

        with hooked([(block, keep) for block in self._blocks]):
            self._logits(None, batch, 1)
        return torch.stack(kept, dim=1)

    def _logits(self, run: Run, batch: Batch, keep: int) -> Float[Tensor, "row kept d_vocab"]:
        with self._steered(run):
            return self.hf_model(
                batch.tokens, **batch.inputs, logits_to_keep=keep, use_cache=False
            ).logits

    def _steered(self, run: Run) -> AbstractContextManager[None]:
        def add(step: Tensor) -> Callable:
            return lambda module, args, out: (
                (out[0] + step, *out[1:]) if isinstance(out, tuple) else out + step
            )

        return hooked(
            [(self._blocks[layer], add(step)) for layer, step in self._steps(run).items()]
        )

    @property
    def _blocks(self) -> Any:
        return self.hf_model.get_decoder().layers


class PlainTransformerLens(_Plain):
    """`run_with_hooks`, `run_with_cache` and `hooks` of a TransformerBridge."""

    def __init__(self, bridge: Any, tokenizer: Any) -> None:
        super().__init__(bridge.original_model, tokenizer)
        self.bridge = bridge

    def _last_residuals(self, batch: Batch) -> Float[Tensor, "row layer d_model"]:
        names = [f"blocks.{layer}.hook_resid_post" for layer in range(len(self.bridge.blocks))]
        _, cache = self.bridge.run_with_cache(
            batch.tokens,
            names_filter=names,
            pos_slice=-1,
            **batch.inputs,
            logits_to_keep=1,
            use_cache=False,
        )
        return torch.stack([cache[name][:, -1] for name in names], dim=1)

    def _logits(self, run: Run, batch: Batch, keep: int) -> Float[Tensor, "row kept d_vocab"]:
        return self.bridge.run_with_hooks(
            batch.tokens,
            fwd_hooks=self._adding(run),
            **batch.inputs,
            logits_to_keep=keep,
            use_cache=False,
        )

    def _steered(self, run: Run) -> AbstractContextManager[None]:
        return self.bridge.hooks(fwd_hooks=self._adding(run))

    def _adding(self, run: Run) -> list[tuple[str, Callable]]:
        def add(step: Tensor) -> Callable:
            return lambda activation, hook: activation + step

        return [
            (f"blocks.{layer}.hook_resid_post", add(step))
            for layer, step in self._steps(run).items()
        ]


@contextmanager
def hooked(hooks: Sequence[tuple[Any, Callable]]) -> Iterator[None]:
    """Forward hooks on modules for the time of the block."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def answer_logprobs(
    logits: Float[Tensor, "row kept d_vocab"], answers: Sequence[Sequence[int]]
) -> Float[Tensor, " row"]:
    """Sum over each answer's tokens; the last `len(answer)` kept positions of a row predict them."""
    targets = pad_left(answers, -1).to(logits.device)
    picked = logits.gather(-1, targets.clamp(min=0)[..., None])[
        ..., 0
    ].float() - logits.float().logsumexp(-1)
    return picked.where(targets >= 0, 0).sum(-1)
