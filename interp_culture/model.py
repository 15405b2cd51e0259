"""A language model behind TransformerLens' TransformerBridge: tokens in, logits out of the final residual stream.

The only module that imports transformer_lens. Hook names are the bridge's own, weights are left as they are
(no folding). Forward passes are in `passes`.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture import foreign_hooks
from interp_culture.blocks import Form, output_form
from interp_culture.errors import InputError
from interp_culture.interventions import Edit
from interp_culture.prompts import Prompt
from interp_culture.shortcuts import NONE, Shortcuts
from interp_culture.token_tree import TokenSequence
from interp_culture.unembedding import Unembedding


@dataclass
class LanguageModel:
    """A hooked transformer and its tokenizer.

    `bridge` is the TransformerBridge, for whatever this class does not offer. `shortcuts` are those that the check
    at loading found to hold. `memo` keeps what is measured once per model (the validity of a readout).
    """

    bridge: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    shortcuts: Shortcuts = field(default=Shortcuts())
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def wrap(cls, hf_model: Any, tokenizer: Any, name: str, revision: str | None = None) -> LanguageModel:
        """Hook a loaded Hugging Face model, which is changed in place: keep a copy if you need it plain."""
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        hf_model = hf_model.eval().requires_grad_(False)
        bridge = build_bridge_from_module(hf_model, type(hf_model).__name__, hf_config=hf_model.config)
        model = cls(bridge, tokenizer, name, revision)
        model.unembedding  # noqa: B018  looked at now, before anybody's hooks are on the model
        return model

    @property
    def n_layers(self) -> int:
        return len(self.bridge.blocks)

    @property
    def d_model(self) -> int:
        return int(self.bridge.cfg.d_model)

    @property
    def device(self) -> torch.device:
        return next(self.bridge.original_model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.bridge.original_model.parameters()).dtype

    @property
    def pad_token(self) -> int:
        """What fills a batch; always masked, so that any token will do."""
        return self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0

    def describe(self) -> dict[str, Any]:
        """What manifests record of the model."""
        return {
            "model": self.name,
            "revision": self.revision,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "shortcuts_off": list(self.shortcuts.off),
        }

    # -- tokens ---------------------------------------------------------------------------------------------

    def tokenise(self, prompt: Prompt) -> TokenSequence:
        """`tokenise_all` of one prompt."""
        return self.tokenise_all([prompt])[0]

    def tokenise_all(self, prompts: Sequence[Prompt]) -> list[TokenSequence]:
        """Prompts in the model's chat format (or plain, where it has none) and their answers, as tokens.

        The template is applied once; a system message goes to the user turn where the template has no
        system role. Special tokens are added only by the template or, without one, as a leading BOS.
        """
        texts = [self.render(prompt) for prompt in prompts]
        space = "" if self.tokenizer.chat_template else " "
        answers = [space + prompt.answer if prompt.answer else "" for prompt in prompts]
        encoded = self._encode_all([*texts, *(text + answer for text, answer in zip(texts, answers, strict=True))])
        sequences = []
        starts, wholes = encoded[: len(texts)], encoded[len(texts) :]
        for prompt, text, answer, (start, encoding), (whole, _) in zip(
            prompts, texts, answers, starts, wholes, strict=True
        ):
            # A merge across the seam would change the last prompt token: then the answer is encoded by itself.
            merged = whole[: len(start)] != start
            rest = self._encode_all([answer])[0][0] if merged else whole[len(start) :]
            sequences.append(TokenSequence(start, rest, _options(prompt, text, encoding)))
        return sequences

    def tokenise_text(self, text: str) -> TokenSequence:
        """Plain text, without a template, with the BOS token where the tokenizer uses one."""
        return TokenSequence(self._bos + self._encode_all([text])[0][0])

    def render(self, prompt: Prompt) -> str:
        """The text that the model is given for a prompt, up to where its answer begins."""
        if not self.tokenizer.chat_template:
            system = f"{prompt.system}\n\n" if prompt.system else ""
            bos = self.tokenizer.bos_token if self._bos else ""
            return f"{bos}{system}{prompt.user}\nAnswer:"
        if prompt.system is None:
            return self._chat([{"role": "user", "content": prompt.user}])
        messages = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ]
        from jinja2.exceptions import TemplateError

        try:
            text = self._chat(messages)
        except TemplateError:
            text = ""
        if prompt.system in text:
            return text
        return self._chat([{"role": "user", "content": f"{prompt.system}\n\n{prompt.user}"}])

    # -- passes ---------------------------------------------------------------------------------------------

    def forward(self, tokens: Int[Tensor, "row pos"], **inputs: Any) -> Any:
        """The model's own forward on tokens, hooks and all; what its signature does not know is left out."""
        known = {name: value for name, value in inputs.items() if self._accepts(name)}
        return self.bridge.original_model(input_ids=tokens, **known)

    def logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        """The logits of chosen positions of the final residual stream, in float32."""
        return self.unembedding.logits(resid)

    def answer_logits(
        self, resid: Float[Tensor, "read d_model"], tokens: Int[Tensor, "read token"]
    ) -> Float[Tensor, "read token_and_partition"]:
        """The logits of `tokens` (a row for each read), then the log of the partition function, in float32."""
        return self.unembedding.answer_logits(resid, tokens)

    @cached_property
    def unembedding(self) -> Unembedding:
        """All that the model does after its last block."""
        return Unembedding(self.bridge, self.block_form, in_pieces=self.shortcuts.pieces)

    @cached_property
    def block_form(self) -> Form:
        """How its blocks give the residual stream back."""
        return output_form(self.bridge)

    @property
    def usable_shortcuts(self) -> Shortcuts:
        """Those that hold now: none while somebody's hooks are on the model, which are to see plain passes."""
        return NONE if self.is_hooked else self.shortcuts

    @property
    def is_hooked(self) -> bool:
        """Whether somebody's hook, TransformerLens' or PyTorch's, is on the model: its passes are not plain ones."""
        return foreign_hooks.is_hooked(self.bridge)

    @property
    def hook_places(self) -> list[str]:
        """The modules on which somebody has put hooks."""
        return foreign_hooks.hook_places(self.bridge)

    def check_edits(self, edits: Sequence[Edit]) -> None:
        """Raise InputError for an edit that does not fit this model."""
        for edit in edits:
            if not 0 <= edit.layer < self.n_layers:
                raise InputError(f"layer {edit.layer} is out of range: {self.name} has layers 0 to {self.n_layers - 1}")
            if edit.vector.shape != (self.d_model,):
                raise InputError(
                    f"a vector of shape {tuple(edit.vector.shape)} does not fit {self.name} "
                    f"(d_model {self.d_model}); extract it on this model"
                )
            if edit.model is not None and edit.model != self.name:
                raise InputError(
                    f"the vector was extracted on {edit.model!r}, not on {self.name!r}; extract it anew, or "
                    "build the Edit with model=None if you mean to transfer it"
                )

    # -- internals ------------------------------------------------------------------------------------------

    @property
    def text_config(self) -> Any:
        """The Hugging Face config of the language part (of a multimodal model, its text_config)."""
        config = self.bridge.original_model.config
        return config.get_text_config()

    @property
    def _bos(self) -> tuple[int, ...]:
        """The BOS token where the tokenizer puts one before plain text, else nothing."""
        ids = self.tokenizer("").input_ids
        bos = self.tokenizer.bos_token_id
        return (bos,) if bos is not None and ids[:1] == [bos] else ()

    def _encode_all(self, texts: Sequence[str]) -> list[tuple[tuple[int, ...], Any]]:
        """Tokens and a fast tokenizer's encoding. Each different text once, all in one call, which takes all cores."""
        different = list(dict.fromkeys(texts))
        encoded = self.tokenizer(different, add_special_tokens=False)
        pairs = zip(map(tuple, encoded.input_ids), encoded.encodings or repeat(None), strict=False)
        of = dict(zip(different, pairs, strict=True))
        return [of[text] for text in texts]

    def _chat(self, messages: list[dict[str, str]]) -> str:
        # A fixed date keeps Llama's template reproducible; Qwen3's thinking block would delay the answer.
        return self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            date_string="26 Jul 2024",
            enable_thinking=False,
        )

    def _accepts(self, name: str) -> bool:
        parameters = inspect.signature(self.bridge.original_model.forward).parameters
        return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def _options(prompt: Prompt, text: str, encoding: Any) -> tuple[tuple[int, int], ...] | None:
    """(start, stop) of the tokens that hold a part of an option; None where text or tokenizer do not tell."""
    if not prompt.options:
        return ()
    user = text.rfind(prompt.user.strip())  # which templates trim
    if encoding is None or user < 0:
        return None
    user -= len(prompt.user) - len(prompt.user.lstrip())
    tokens, chars = range(len(encoding)), encoding.token_to_chars  # the offsets of all would be a list of tuples
    return tuple(
        (
            bisect_right(tokens, user + start, key=lambda token: chars(token)[1]),
            bisect_left(tokens, user + stop, key=lambda token: chars(token)[0]),
        )
        for start, stop in prompt.options
    )
