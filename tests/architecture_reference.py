"""Reference numbers of a model: plain Hugging Face passes, one unpadded sequence at a time.

PyTorch hooks on the decoder layers are the only addition. The package's engine is not used: no
TransformerLens, no batch, no cache, no token tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from interp_culture.readout.prompts import continuation_prompts, contrastive_texts, letter_prompts
from interp_culture.scenarios.scenario import Scenario, ScenarioSet

Readout = Literal["letters", "continuation"]


@dataclass(frozen=True, eq=False)
class Push:
    """A vector to add after a block, at "all" tokens or at those of the "prompt" or "answer"."""

    layer: int
    vector: Tensor
    strength: float | Tensor = 1.0
    positions: Literal["all", "prompt", "answer"] = "all"

    def at(self, n_tokens: int, n_prompt: int) -> Tensor:
        """The addition to each token, [pos, d_model]; the first `n_prompt` are the prompt's."""
        place = torch.arange(n_tokens)
        masks = {"all": place >= 0, "prompt": place < n_prompt, "answer": place >= n_prompt}
        return masks[self.positions][:, None] * self.vector * self.strength


class Reference:
    """A plain Hugging Face model, its decoder layers and its tokenizer.

    With `growing_rope` the rotary embedding keeps the state of the longest sequence so far, and
    returns to its initial state at a short one. So a short one is read before every sequence.
    """

    def __init__(self, plain: Any, layers: str, tokenizer: Any, growing_rope: bool = False) -> None:
        self.plain = plain.requires_grad_(False)
        self.layers = plain.get_submodule(layers)
        self.tokenizer = tokenizer
        self.width = plain.config.get_text_config().hidden_size
        self.growing_rope = growing_rope

    def passed(
        self,
        tokens: Sequence[int],
        n_prompt: int,
        pushes: Sequence[Push] = (),
    ) -> tuple[Tensor, Tensor]:
        """(logits [pos, vocab], residual streams after every block [layer, pos, d_model])."""
        streams: list[Tensor] = []
        if self.growing_rope:
            self.plain(torch.tensor([[tokens[0]]]), use_cache=False)
        with self._pushed(pushes, len(tokens), n_prompt, streams):
            logits = self.plain(torch.tensor([list(tokens)]), use_cache=False).logits[0].float()
        return logits, torch.stack(streams)

    @contextmanager
    def _pushed(
        self,
        pushes: Sequence[Push],
        n_tokens: int,
        n_prompt: int,
        streams: list[Tensor],
    ) -> Iterator[None]:
        """Inside the block, passes add the pushes, and record the stream after each layer."""

        def hook(layer: int) -> Any:
            def change(module: Any, args: Any, output: Any) -> Any:
                is_sequence = isinstance(output, tuple | list)
                hidden = output[0] if is_sequence else output
                for push in pushes:
                    if push.layer == layer:
                        hidden = hidden + push.at(n_tokens, n_prompt)
                streams.append(hidden[0])
                return type(output)([hidden, *output[1:]]) if is_sequence else hidden

            return change

        handles = [block.register_forward_hook(hook(n)) for n, block in enumerate(self.layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # -- tokens ---------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prompt(self, user: str) -> list[int]:
        chat = [{"role": "user", "content": user}]
        template = self.tokenizer.apply_chat_template
        return self.encode(template(chat, tokenize=False, add_generation_prompt=True))

    # -- readouts -------------------------------------------------------------------------------

    def choice(self, readout: Readout, scenario: Scenario, pushes: Sequence[Push] = ()) -> Tensor:
        """The logit difference of a scenario, positive minus negative."""
        if readout == "letters":
            return self.letters(scenario, pushes)
        return self.continuation(scenario, pushes)

    def letters(self, scenario: Scenario, pushes: Sequence[Push]) -> Tensor:
        """Logit of the positive option's letter minus the negative one's, mean of both orders."""
        (first,) = self.encode("A")
        (second,) = self.encode("B")
        differences = []
        for lettered in letter_prompts(scenario):
            tokens = self.prompt(lettered.prompt.user)
            last = self.passed(tokens, len(tokens), pushes)[0][-1]
            difference = last[first] - last[second]
            differences.append(difference if lettered.positive == 0 else -difference)
        return torch.stack(differences).mean()

    def continuation(self, scenario: Scenario, pushes: Sequence[Push]) -> Tensor:
        """Mean log-probability per token of the positive option minus that of the negative one."""
        positive, negative = (
            self._mean_logprob(self.prompt(p.user), self.encode(p.answer), pushes)
            for p in continuation_prompts(scenario)
        )
        return positive - negative

    def _mean_logprob(self, prompt: list[int], answer: list[int], pushes: Sequence[Push]) -> Tensor:
        logits, _ = self.passed(prompt + answer[:-1], len(prompt), pushes)
        logprobs = logits[len(prompt) - 1 :].log_softmax(-1)
        return logprobs[torch.arange(len(answer)), torch.tensor(answer)].mean()

    def slopes(self, readout: Readout, scenario: Scenario, pushes: Sequence[Push]) -> list[float]:
        """Derivatives of the logit difference by the strength of each push, at strength 0."""
        strengths = torch.zeros(len(pushes), requires_grad=True)
        pairs = zip(pushes, strengths, strict=True)
        unapplied = [replace(push, strength=strength) for push, strength in pairs]
        choice = self.choice(readout, scenario, unapplied)
        (slopes,) = torch.autograd.grad(choice, strengths)
        return slopes.tolist()

    # -- activations and text -------------------------------------------------------------------

    def ends(self, scenarios: ScenarioSet) -> Tensor:
        """Streams at the last token of each scenario's texts: [scenario, pole, layer, d_model]."""
        texts = [contrastive_texts(scenario) for scenario in scenarios]
        return torch.stack([torch.stack([self._end(text) for text in pair]) for pair in texts])

    def _end(self, text: str) -> Tensor:
        tokens = self.encode(text)
        return self.passed(tokens, len(tokens))[1][:, -1]

    def written(self, user: str, n_tokens: int, pushes: Sequence[Push] = ()) -> str:
        """The greedy text, with a pass over the whole sequence for every token."""
        prompt = self.prompt(user)
        tokens = list(prompt)
        for _ in range(n_tokens):
            token = int(self.passed(tokens, len(prompt), pushes)[0][-1].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            tokens.append(token)
        return self.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)
