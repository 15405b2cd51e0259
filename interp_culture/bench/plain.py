"""The benchmark's tasks written by hand for plain Hugging Face and for plain TransformerLens.

Both do what a careful user of the library would: batches of similar length with left padding, masks
and positions that leave the padding out, logits only at the positions that are read, no gradients.
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
    """Adds `alpha * vectors[l]` to the output of every block l of `layers`, at all positions."""

    layers: list[int]
    vectors: Sequence[np.ndarray] | np.ndarray
    alpha: float


Run = Steering | None


@dataclass(frozen=True)
class Batch:
    """Sequences of similar length, padded on the left.

    Attributes:
        members: the indices of the sequences in the list that they come from.
        mask: 1 at tokens, 0 at padding.
    """

    members: list[int]
    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The further inputs of a forward pass."""
        # By default positions would count the padding.
        positions = (self.mask.cumsum(-1) - 1).masked_fill(self.mask == 0, 1)
        return {"attention_mask": self.mask, "position_ids": positions}


def make_batches(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> list[Batch]:
    """Batches of the sequences in order of decreasing length."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    batches = []
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [list(sequences[i]) for i in members]
        tokens = pad_left(rows, pad)
        mask = pad_left([[1] * len(row) for row in rows], 0)
        batches.append(Batch(members, tokens.to(device), mask.to(device)))
    return batches


def pad_left(rows: Sequence[Sequence[int]], fill: int) -> Int[Tensor, "row pos"]:
    """Rows of different lengths as one array, the shorter ones filled up on the left."""
    width = max(map(len, rows))
    return torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])


class _Plain(ABC):
    """The tasks in terms of a forward pass, which a subclass implements with its library."""

    def __init__(self, hf_model: Any, tokenizer: Any) -> None:
        self.hf_model = hf_model
        self.tokenizer = tokenizer
        # Padding is masked, so any token will do.
        self.pad = tokenizer.pad_token_id or 0
        ends = hf_model.generation_config.eos_token_id
        self.ends = ends if isinstance(ends, list) else [ends]

    @torch.inference_mode()
    def extract(self, pairs: list[tuple[str, str]]) -> Float[np.ndarray, "layer d_model"]:
        """The mean difference of the residual stream, first minus second text of each pair.

        It is taken after every block, at the last token.
        """
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
                batch_answers = [answers[i] for i in batch.members]
                logits = self._logits(run, batch, max(map(len, batch_answers)))
                out[r, batch.members] = answer_logprobs(logits, batch_answers).cpu()
        return out

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, runs: Sequence[Run]
    ) -> list[list[list[int]]]:
        """Greedy new tokens of every prompt under every run, without the token that ends them."""
        out: list[list[list[int]]] = [[[] for _ in prompts] for _ in runs]
        batches = self._batches(prompts)
        for r, run in enumerate(runs):
            for batch in batches:
                with self._steered(run):
                    whole = self._greedy(batch, max_new_tokens)
                continuations = whole[:, batch.tokens.shape[1] :].tolist()
                for i, tokens in zip(batch.members, continuations, strict=True):
                    out[r][i] = self._until_end(tokens)
        return out

    def _until_end(self, tokens: list[int]) -> list[int]:
        ends = [position for position, token in enumerate(tokens) if token in self.ends]
        return tokens[: ends[0]] if ends else tokens

    @abstractmethod
    def _last_residuals(self, batch: Batch) -> Float[Tensor, "row layer d_model"]:
        """The residual stream after every block, at the last token."""

    @abstractmethod
    def _logits(self, run: Run, batch: Batch, keep: int) -> Float[Tensor, "row kept d_vocab"]:
        """Logits at the last `keep` positions."""

    @abstractmethod
    def _steered(self, run: Run) -> AbstractContextManager[None]:
        """A context in which the model is steered."""

    def _greedy(self, batch: Batch, max_new_tokens: int) -> Int[Tensor, "row pos"]:
        """The batch with its greedy continuation."""
        # A checkpoint's own settings (repetition penalties) would change the result, so they are
        # off. TransformerLens uses this function too: its own `generate` unembeds the whole
        # prompt, which is slower.
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
        """The vector that is added, by block."""
        if run is None:
            return {}
        like = {"device": self.hf_model.device, "dtype": self.hf_model.dtype}
        steps = {}
        for layer in run["layers"]:
            step = run["alpha"] * run["vectors"][layer]
            steps[layer] = torch.as_tensor(step).to(**like)
        return steps


class PlainHuggingFace(_Plain):
    """Forward hooks on the blocks of a Hugging Face causal language model."""

    def _last_residuals(self, batch: Batch) -> Float[Tensor, "row layer d_model"]:
        residuals: list[Tensor] = []

        def record(module: Any, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            # A view would keep the hidden states of all positions in memory.
            residuals.append(hidden[:, -1].clone())

        with hooked([(block, record) for block in self._blocks]):
            self._logits(None, batch, 1)
        return torch.stack(residuals, dim=1)

    def _logits(self, run: Run, batch: Batch, keep: int) -> Float[Tensor, "row kept d_vocab"]:
        with self._steered(run):
            return self.hf_model(
                batch.tokens, **batch.inputs, logits_to_keep=keep, use_cache=False
            ).logits

    def _steered(self, run: Run) -> AbstractContextManager[None]:
        def adding(step: Tensor) -> Callable:
            def hook(module: Any, args: Any, output: Any) -> Any:
                # Blocks return a tuple in some versions of transformers.
                if isinstance(output, tuple):
                    return (output[0] + step, *output[1:])
                return output + step

            return hook

        steps = self._steps(run)
        return hooked([(self._blocks[layer], adding(step)) for layer, step in steps.items()])

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
            fwd_hooks=self._fwd_hooks(run),
            **batch.inputs,
            logits_to_keep=keep,
            use_cache=False,
        )

    def _steered(self, run: Run) -> AbstractContextManager[None]:
        return self.bridge.hooks(fwd_hooks=self._fwd_hooks(run))

    def _fwd_hooks(self, run: Run) -> list[tuple[str, Callable]]:
        def adding(step: Tensor) -> Callable:
            return lambda activation, hook: activation + step

        steps = self._steps(run)
        return [(f"blocks.{layer}.hook_resid_post", adding(step)) for layer, step in steps.items()]


@contextmanager
def hooked(hooks: Sequence[tuple[Any, Callable]]) -> Iterator[None]:
    """A context in which modules have forward hooks."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def answer_logprobs(
    logits: Float[Tensor, "row kept d_vocab"], answers: Sequence[Sequence[int]]
) -> Float[Tensor, " row"]:
    """Sum of the log-probabilities of each answer's tokens, in nats.

    The last `len(answer)` kept positions of a row predict these tokens.
    """
    targets = pad_left(answers, -1).to(logits.device)
    # `gather` refuses -1; what it reads at padding is replaced by 0 below.
    target_logits = logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0].float()
    logprobs = target_logits - logits.float().logsumexp(-1)
    return logprobs.where(targets >= 0, 0).sum(-1)
