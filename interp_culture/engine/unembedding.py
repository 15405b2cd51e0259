"""From the final residual stream to logits, computed by the model's own code.

Models differ in what follows the last block: a norm or none, a projection, further layers before
the unembedding; a scale, a soft cap or a bias after it. None of that is reimplemented here. The
model's own forward runs on a few tokens with its blocks skipped; the last block returns the
residual stream that is asked for. If the unembedding is a matrix and each logit is finished
independently of the others (tested once per model), the logits are computed in pieces of the
vocabulary, so that they are never in memory all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.engine.blocks import Form, skipped

# Rows of the unembedding that are multiplied at a time. On a CPU the logits of a piece then stay in
# its cache, which is twice as fast as all at once.
VOCABULARY_ROWS = {"cpu": 512, "cuda": 8192}
TRIED = 4  # random positions on which the code around the unembedding is tested
# Values of a stream beside which the epsilon of a norm is nothing.
LARGE = 100.0
# Cosine from which a norm does what a gain for each dimension does.
ALIKE = 0.999

Elementwise = Callable[[Tensor], Tensor]


class Unembedding:
    """Logits of chosen positions of the final residual stream; float32 even for a 16-bit model.

    Attributes:
        in_pieces: whether logits are computed in pieces of the vocabulary.
        is_norm_alone: whether the final norm is all that precedes the matrix.
        after: what the model does to the scores of its unembedding; None where it does nothing.
    """

    def __init__(self, bridge: Any, form: Form, *, in_pieces: bool = True) -> None:
        self.bridge = bridge
        self.form = form
        self.after: Elementwise | None = None
        self.is_norm_alone = False
        self.in_pieces = in_pieces and self._examine()

    def logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        """All logits of each position."""
        if not self.in_pieces:
            return self._all_logits(resid)
        hidden = self._hidden(resid)
        rows = VOCABULARY_ROWS["cuda"]
        starts = range(0, len(self._weight), rows)
        return torch.cat([self._piece(hidden, start, rows) for start in starts], -1)

    def answer_logits(
        self, resid: Float[Tensor, "read d_model"], tokens: Int[Tensor, "read token"]
    ) -> Float[Tensor, "read token_and_partition"]:
        """The logits of `tokens` (one row per read), then the log of the partition function."""
        if not self.in_pieces:
            logits = self._all_logits(resid)
            return torch.cat([logits.gather(-1, tokens), logits.logsumexp(-1, keepdim=True)], -1)
        hidden = self._hidden(resid)
        weight = self._weight
        bias = self._bias
        chosen = (hidden.float()[:, None] * weight[tokens].float()).sum(-1)
        chosen = self._finish(chosen if bias is None else chosen + bias[tokens].float())
        total = torch.full_like(chosen[:, :1], -torch.inf)
        rows = VOCABULARY_ROWS.get(resid.device.type, VOCABULARY_ROWS["cuda"])
        for start in range(0, len(weight), rows):
            piece = self._piece(hidden, start, rows).logsumexp(-1, keepdim=True)
            total = torch.logaddexp(total, piece)
        return torch.cat([chosen, total], dim=-1)

    def rows_in_stream(self) -> Float[Tensor, "d_vocab d_model"] | None:
        """The direction of the residual stream that each logit reads: its row, times the norm.

        A logit is the projection on it, but for the length of the stream, which the norm divides
        by, and biases. A norm that subtracts the mean reads no mean. None where the code before the
        matrix is more than such a norm.
        """
        if not self.is_norm_alone:
            return None
        weight = self._weight.float()
        # Mean 0 and values of size 1, so that RMS norm and layer norm return their gain.
        signs = torch.ones(weight.shape[1], device=weight.device)
        signs[1::2] = -1
        gain = self._odd(signs) * signs
        rows = weight * gain
        probe = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
        probe = probe.to(weight.device)
        subtracts_mean = bool(
            self._odd(torch.ones_like(signs)).abs().max() < 0.1 * gain.abs().max()
        )
        if subtracts_mean:
            rows = rows - rows.mean(-1, keepdim=True)
            probe = probe - probe.mean()
        alike = torch.cosine_similarity(self._odd(probe), probe * gain, dim=0)
        return rows if alike > ALIKE else None

    def _odd(self, stream: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
        """What the norm makes of a stream, without its bias."""
        pair = (LARGE * torch.stack([stream, -stream])).to(self._weight.dtype)
        with torch.inference_mode():
            plus, minus = self._normed(pair).float()
        return (plus - minus) / 2

    # -- the code around the matrix ---------------------------------------------------------------

    def _examine(self) -> bool:
        """Set `is_norm_alone` and `after`; returns whether logits can be computed in pieces."""
        if not isinstance(getattr(self._linear, "weight", None), Tensor) or self._weight.ndim != 2:
            return False
        d_model = int(self.bridge.cfg.d_model)
        generator = torch.Generator().manual_seed(0)
        resid = torch.randn(TRIED, d_model, generator=generator).to(self._weight)
        with torch.inference_mode():
            hidden, _ = self._tail(resid)
            if hidden.shape[-1] != self._weight.shape[1] or len(hidden) != TRIED:
                return False
            normed = self._normed(resid)
            self.is_norm_alone = hidden.shape == normed.shape and torch.allclose(
                hidden, normed, atol=1e-4, rtol=1e-4
            )
            return self._set_after(generator)

    def _set_after(self, generator: torch.Generator) -> bool:
        """Set `after`; returns whether each logit is finished independently of the others."""
        # Scores so large that a soft cap shows: Gemma 2 caps them at 30.
        scores = torch.randn(1, len(self._weight), generator=generator).to(self._weight.device) * 30
        finished = self._model_finish(scores)
        if finished.shape != scores.shape:
            return False
        subset = slice(7, None, 3)  # any part of the vocabulary will do
        if not torch.equal(finished[:, subset], self._model_finish(scores[:, subset])):
            return False
        self.after = None if torch.equal(finished, scores) else self._model_finish
        return True

    def _model_finish(self, scores: Float[Tensor, "read score"]) -> Float[Tensor, "read score"]:
        """The model's own code after its unembedding, applied to these scores."""
        unused = torch.zeros(
            1, int(self.bridge.cfg.d_model), dtype=self._weight.dtype, device=scores.device
        )
        _, logits = self._tail(unused, scores.reshape(1, -1))
        return logits.reshape(scores.shape) if logits.numel() == scores.numel() else logits

    def _hidden(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_unembed"]:
        return self._normed(resid) if self.is_norm_alone else self._tail(resid)[0]

    def _normed(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_model"]:
        final = getattr(self.bridge, "ln_final", None)
        return resid if final is None else final(resid[None])[0]

    def _all_logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        return self._tail(resid)[1].float()

    def _tail(self, resid: Tensor, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the model with `resid` as the output of its last block.

        Each position is a row of its own, so that no context limit applies.

        Args:
            scores: where given, what the unembedding returns in place of its own scores.

        Returns:
            The input of the unembedding, and the logits.
        """
        inputs: list[Tensor] = []
        unembed = self.bridge.unembed
        matrix = unembed.forward

        def look(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            inputs.append(hidden[:, -1])
            return matrix(hidden, *args, **kwargs) if scores is None else scores[:, None]

        with skipped(self.bridge.blocks, self.form, resid[:, None]), _replaced(unembed, look):
            tokens = torch.zeros(len(resid), 1, dtype=torch.long, device=resid.device)
            logits = self.bridge.original_model(input_ids=tokens, use_cache=False).logits[:, -1]
        return inputs[0], logits

    # -- the matrix -------------------------------------------------------------------------------

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
        """The logits of `rows` tokens from `start` on, in float32.

        In a 16-bit dtype they would be rounded: bfloat16 numbers near 16 are 1/8 apart.
        """
        piece = slice(start, start + rows)
        weight = self._weight[piece]
        if hidden.is_cuda and weight.dtype != torch.float32:
            # `out_dtype` exists on CUDA alone; elsewhere the factors are converted first.
            scores = torch.mm(hidden.to(weight.dtype), weight.T, out_dtype=torch.float32)
        else:
            scores = hidden.float() @ weight.float().T
        bias = self._bias
        return self._finish(scores if bias is None else scores + bias[piece].float())

    def _finish(self, scores: Tensor) -> Tensor:
        return scores if self.after is None else self.after(scores)


@contextmanager
def _replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """`module` with another forward, set as in `skipped`."""
    object.__setattr__(module, "forward", forward)
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
