"""Gradients and attribution patching by plain autograd, one scenario and one option at a time.

A careful user's loop: logits at the answer alone, the gradients at all places from one backward
pass, no gradients of weights, and one plain pass for all steered ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.bench.plain import PlainHuggingFace, Run, Steering, answer_logprobs, hooked

# The tokens of a prompt and of the answer after it.
Option = tuple[list[int], list[int]]
# The positive and the negative option of a scenario.
Options = tuple[Option, Option]
SIGNS = (1, -1)


class PlainAutograd(PlainHuggingFace):
    """PyTorch's autograd through whole passes of a Hugging Face causal language model."""

    def gradients(
        self, scenarios: Sequence[Options]
    ) -> Float[np.ndarray, "scenario layer d_model"]:
        """The gradient of the logit difference by a vector added to all tokens after a block.

        The logit difference is that of the continuation, in nats per token.
        """
        by_scenario = []
        for options in scenarios:
            total: Tensor | float = 0.0
            for sign, option in zip(SIGNS, options, strict=True):
                score, residuals = self._kept(option, None, self._block_hooks)
                gradients = torch.autograd.grad(sign * score, residuals)
                # A vector at all tokens: the sum of the gradients at each of them.
                total = total + torch.stack([gradient[0].sum(0) for gradient in gradients])
            by_scenario.append(torch.as_tensor(total).cpu())
        return torch.stack(by_scenario).numpy()

    def restored(
        self, scenarios: Sequence[Options], runs: Sequence[Steering]
    ) -> tuple[Float[np.ndarray, "run scenario"], Float[np.ndarray, "run scenario node"]]:
        """The logit difference under each run, and its changes where one node is put back.

        To first order: the gradient in the steered run times (plain - steered) output, summed over
        tokens. The nodes are the heads (in the input of the output projection) and then the MLP of
        every block after the first steered one.
        """
        first = 1 + min(layer for run in runs for layer in run["layers"])
        diffs = np.zeros((len(runs), len(scenarios)))
        n_nodes = len(self._blocks[first:]) * (self._n_heads + 1)
        changes = np.zeros((len(runs), len(scenarios), n_nodes))

        def hooks(kept: list[Tensor]) -> list[tuple[Any, Callable]]:
            return self._node_hooks(kept, first)

        for number, options in enumerate(scenarios):
            for sign, option in zip(SIGNS, options, strict=True):
                with torch.no_grad():
                    _, plain = self._kept(option, None, hooks)
                for r, run in enumerate(runs):
                    score, steered = self._kept(option, run, hooks)
                    gradients = torch.autograd.grad(sign * score, steered)
                    products = [
                        (before - after.detach()) * gradient
                        for before, after, gradient in zip(plain, steered, gradients, strict=True)
                    ]
                    diffs[r, number] += sign * score.item()
                    changes[r, number] += self._by_node(products)
        return diffs, changes

    def _kept(
        self, option: Option, run: Run, hooks: Callable[[list[Tensor]], list[tuple[Any, Callable]]]
    ) -> tuple[Float[Tensor, ""], list[Tensor]]:
        """The mean log-probability of an answer's tokens, and what the hooks kept."""
        prompt, answer = option
        # The last token of an answer is predicted, but nothing is predicted from it.
        tokens = torch.tensor([[*prompt, *answer[:-1]]], device=self.hf_model.device)
        kept: list[Tensor] = []
        with self._steered(run), hooked(hooks(kept)):
            logits = self.hf_model(tokens, logits_to_keep=len(answer), use_cache=False).logits
        return answer_logprobs(logits, [answer])[0] / len(answer), kept

    def _block_hooks(self, kept: list[Tensor]) -> list[tuple[Any, Callable]]:
        def keep(module: Any, args: Any, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        return [(block, keep) for block in self._blocks]

    def _node_hooks(self, kept: list[Tensor], first: int) -> list[tuple[Any, Callable]]:
        def keep_input(module: Any, args: Any, output: Any) -> None:
            kept.append(args[0])

        def keep_output(module: Any, args: Any, output: Any) -> None:
            kept.append(output)

        hooks: list[tuple[Any, Callable]] = []
        for block in self._blocks[first:]:
            # Gemma's blocks norm what the MLP puts out before they add it to the stream.
            written = getattr(block, "post_feedforward_layernorm", block.mlp)
            hooks += [(block.self_attn.o_proj, keep_input), (written, keep_output)]
        return hooks

    def _by_node(self, products: Sequence[Tensor]) -> Float[np.ndarray, " node"]:
        """Sums over tokens and over each node's values; heads and MLPs alternate in `products`."""
        sums = []
        for heads, mlp in zip(products[::2], products[1::2], strict=True):
            by_head = heads.reshape(heads.shape[1], self._n_heads, -1)
            sums += [by_head.sum((0, 2)), mlp.sum()[None]]
        return torch.cat(sums).double().cpu().numpy()

    @property
    def _n_heads(self) -> int:
        return self.hf_model.config.get_text_config().num_attention_heads
