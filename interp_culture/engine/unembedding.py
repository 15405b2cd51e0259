"""From the final residual stream to logits, by the model's own code.

What a model does after its last block differs: a norm or none, a projection, further layers before the unembedding;
a scale, a soft cap or a bias after it. So nothing of it is written here. The model's own forward runs on a few tokens
with its blocks passed over: the last one gives the residual stream that is asked for. Where the unembedding is a
matrix with nothing but the final norm before it, that is found out once, and the vocabulary is then gone through in
pieces: its logits are never all in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.engine.blocks import Form, passed_over

# Rows of the unembedding that are multiplied at a time. On a CPU the logits of a piece then stay in its cache:
# twice as fast as all at once.
VOCABULARY_ROWS = {"cpu": 512, "cuda": 8192}
TRIED = 4  # positions on which it is found out what stands around the unembedding

Elementwise = Callable[[Tensor], Tensor]


class Unembedding:
    """Logits of chosen positions of the final residual stream, in float32 also of a 16-bit model."""

    def __init__(self, bridge: Any, form: Form, *, in_pieces: bool = True) -> None:
        self.bridge, self.form = bridge, form
        self.after: Elementwise | None = None
        self.is_norm_alone = False
        self.in_pieces = in_pieces and self._look()

    def logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        """All logits of each position."""
        if not self.in_pieces:
            return self._whole(resid)
        hidden, rows = self._hidden(resid), VOCABULARY_ROWS["cuda"]
        return torch.cat(
            [self._piece(hidden, start, rows) for start in range(0, len(self._weight), rows)], -1
        )

    def answer_logits(
        self, resid: Float[Tensor, "read d_model"], tokens: Int[Tensor, "read token"]
    ) -> Float[Tensor, "read token_and_partition"]:
        """The logits of `tokens` (a row for each read), then the log of the partition function."""
        if not self.in_pieces:
            logits = self._whole(resid)
            return torch.cat([logits.gather(-1, tokens), logits.logsumexp(-1, keepdim=True)], -1)
        hidden, weight, bias = self._hidden(resid), self._weight, self._bias
        chosen = (hidden.float()[:, None] * weight[tokens].float()).sum(-1)
        chosen = self._finish(chosen if bias is None else chosen + bias[tokens].float())
        total = torch.full_like(chosen[:, :1], -torch.inf)
        rows = VOCABULARY_ROWS.get(resid.device.type, VOCABULARY_ROWS["cuda"])
        for start in range(0, len(weight), rows):
            piece = self._piece(hidden, start, rows).logsumexp(-1, keepdim=True)
            total = torch.logaddexp(total, piece)
        return torch.cat([chosen, total], dim=-1)

    # -- what stands around the matrix ----------------------------------------------------------------------

    def _look(self) -> bool:
        """Find out what stands around the unembedding; whether it can be gone through in pieces."""
        if not isinstance(getattr(self._linear, "weight", None), Tensor) or self._weight.ndim != 2:
            return False
        d_model = int(self.bridge.cfg.d_model)
        generator = torch.Generator().manual_seed(0)
        resid = torch.randn(TRIED, d_model, generator=generator).to(self._weight)
        with torch.inference_mode():
            read, _ = self._tail(resid)
            if read.shape[-1] != self._weight.shape[1] or len(read) != TRIED:
                return False
            normed = self._normed(resid)
            self.is_norm_alone = read.shape == normed.shape and torch.allclose(
                read, normed, atol=1e-4, rtol=1e-4
            )
            return self._find_after(generator)

    def _find_after(self, generator: torch.Generator) -> bool:
        """Whether each logit is finished by itself, whatever the others are; `after` does that, None does nothing."""
        scores = torch.randn(1, len(self._weight), generator=generator).to(self._weight.device) * 30
        finished = self._own_after(scores)
        if finished.shape != scores.shape or not torch.equal(
            finished[:, 7::3], self._own_after(scores[:, 7::3])
        ):
            return False
        self.after = None if torch.equal(finished, scores) else self._own_after
        return True

    def _own_after(self, scores: Float[Tensor, "read score"]) -> Float[Tensor, "read score"]:
        """What the model does to the scores that its unembedding gives."""
        anything = torch.zeros(
            1, int(self.bridge.cfg.d_model), dtype=self._weight.dtype, device=scores.device
        )
        _, logits = self._tail(anything, scores.reshape(1, -1))
        return logits.reshape(scores.shape) if logits.numel() == scores.numel() else logits

    def _hidden(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_unembed"]:
        return self._normed(resid) if self.is_norm_alone else self._tail(resid)[0]

    def _normed(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_model"]:
        final = getattr(self.bridge, "ln_final", None)
        return resid if final is None else final(resid[None])[0]

    def _whole(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        return self._tail(resid)[1].float()

    def _tail(self, resid: Tensor, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(what the unembedding reads, the logits), with the last block giving `resid` and, where they are given,
        the unembedding giving `scores`. Each position is a row of its own, so that no context limit is met."""
        read: list[Tensor] = []
        unembed = self.bridge.unembed
        matrix = unembed.forward

        def look(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            read.append(hidden[:, -1])
            return matrix(hidden, *args, **kwargs) if scores is None else scores[:, None]

        with passed_over(self.bridge.blocks, self.form, resid[:, None]), _instead(unembed, look):
            tokens = torch.zeros(len(resid), 1, dtype=torch.long, device=resid.device)
            logits = self.bridge.original_model(input_ids=tokens, use_cache=False).logits[:, -1]
        return read[0], logits

    # -- the matrix -----------------------------------------------------------------------------------------

    @property
    def _linear(self) -> Any:
        return self.bridge.unembed.original_component

    @property
    def _weight(self) -> Float[Tensor, "d_vocab d_unembed"]:
        return self._linear.weight

    @property
    def _bias(self) -> Float[Tensor, " d_vocab"] | None:
        return getattr(self._linear, "bias", None)

    def _piece(
        self, hidden: Float[Tensor, "read d_unembed"], start: int, rows: int
    ) -> Float[Tensor, "read piece"]:
        """Some logits in float32: rounded to a 16-bit model's dtype, those near 16 would lie 1/8 apart."""
        weight, bias = self._weight[start : start + rows], self._bias
        if hidden.is_cuda and weight.dtype != torch.float32:
            scores = torch.mm(hidden.to(weight.dtype), weight.T, out_dtype=torch.float32)
        else:
            scores = hidden.float() @ weight.float().T
        return self._finish(scores if bias is None else scores + bias[start : start + rows].float())

    def _finish(self, scores: Tensor) -> Tensor:
        return scores if self.after is None else self.after(scores)


@contextmanager
def _instead(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    object.__setattr__(module, "forward", forward)
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
