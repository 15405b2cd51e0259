"""A language model behind TransformerLens' TransformerBridge: tokens in, logits out of the final residual stream.

The only module that imports transformer_lens. Hook names are the bridge's own, weights are left as they are
(no folding). Forward passes are in `passes`.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.errors import InputError
from interp_culture.interventions import Edit
from interp_culture.prompts import Prompt
from interp_culture.token_tree import TokenSequence

# Rows of the unembedding that are multiplied at a time. On a CPU the logits of a piece then stay in its cache:
# twice as fast as all at once.
VOCABULARY_ROWS = {"cpu": 512, "cuda": 8192}
SAMPLED = 64  # of each parameter, for the hash of the weights: 135M parameters in 272 tensors take a tenth of a second


@dataclass(frozen=True)
class ModelIdentity:
    """What a model is, whatever it is called and wherever it lies.

    Attributes:
        weights: hash of the name, the shape and some 64 elements of every parameter, rounded to bfloat16, so that
            one checkpoint in float32 and in bfloat16 is the same model.
        tokenizer: hash of the tokenizer's vocabulary, rules and special tokens.
        template: hash of the chat template; None for a model without one.
    """

    weights: str
    tokenizer: str
    template: str | None


@dataclass
class LanguageModel:
    """A hooked transformer and its tokenizer.

    `bridge` is the TransformerBridge, for whatever this class does not offer. `memo` keeps what is measured
    once per model (the validity of a readout).
    """

    bridge: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def wrap(cls, hf_model: Any, tokenizer: Any, name: str, revision: str | None = None) -> LanguageModel:
        """Hook a loaded Hugging Face model, which is changed in place: keep a copy if you need it plain."""
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        hf_model = hf_model.eval().requires_grad_(False)
        bridge = build_bridge_from_module(hf_model, type(hf_model).__name__, hf_config=hf_model.config)
        return cls(bridge, tokenizer, name, revision)

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

    @cached_property
    def identity(self) -> ModelIdentity:
        """Hashes of weights, tokenizer and chat template, computed when first asked for."""
        template = self.tokenizer.chat_template
        return ModelIdentity(
            _weights_hash(self.bridge.original_model),
            _short_hash(_tokenizer_text(self.tokenizer)),
            _short_hash(json.dumps(template, sort_keys=True)) if template else None,
        )

    def describe(self) -> dict[str, Any]:
        """What manifests record of the model; name, revision and device do not decide what it is."""
        return {
            "model": self.name,
            "revision": self.revision,
            **asdict(self.identity),
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
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

    # -- the final residual stream --------------------------------------------------------------------------

    def logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        """Final norm and unembedding of chosen positions of the final residual stream, in float32."""
        normed = self.bridge.ln_final(resid[None])[0]
        return torch.cat([self._unembed(normed, w, b) for w, b in self._vocabulary(VOCABULARY_ROWS["cuda"])], -1)

    def answer_logits(
        self, resid: Float[Tensor, "read d_model"], tokens: Int[Tensor, "read token"]
    ) -> Float[Tensor, "read token_and_partition"]:
        """The logits of `tokens` (a row for each read), then the log of the partition function, in float32.

        The vocabulary is gone through in pieces: its logits are never all in memory.
        """
        pieces = VOCABULARY_ROWS.get(self.device.type, VOCABULARY_ROWS["cuda"])
        normed = self.bridge.ln_final(resid[None])[0]
        weight, bias = self._unembedding
        chosen = (normed.float()[:, None] * weight[tokens].float()).sum(-1)
        chosen = self._capped(chosen if bias is None else chosen + bias[tokens].float())
        total = torch.full_like(chosen[:, :1], -torch.inf)
        for w, b in self._vocabulary(pieces):
            total = torch.logaddexp(total, self._unembed(normed, w, b).logsumexp(-1, keepdim=True))
        return torch.cat([chosen, total], dim=-1)

    @property
    def is_hooked(self) -> bool:
        """Whether anybody's hook is on the model now: passes would not be plain ones."""
        return any(point.fwd_hooks for point in self.bridge.hook_dict.values())

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
            self._check_origin(edit)

    def _check_origin(self, edit: Edit) -> None:
        """Raise InputError where the vector comes from other weights; by the name where they are not known."""
        known = edit.weights is not None
        fits = edit.weights == self.identity.weights if known else edit.model in (None, self.name)
        if not fits:
            same_name = " (the name is the same, the weights are not)" if edit.model == self.name else ""
            raise InputError(
                f"the vector was extracted on {edit.model!r}, not on {self.name!r}{same_name}; extract it anew, "
                'or give steer(..., origin="any") if you mean to transfer it'
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

    @property
    def _unembedding(self) -> tuple[Float[Tensor, "d_vocab d_model"], Float[Tensor, " d_vocab"] | None]:
        linear = self.bridge.unembed.original_component
        return linear.weight, getattr(linear, "bias", None)

    def _vocabulary(self, rows: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        weight, bias = self._unembedding
        biases = bias.split(rows) if bias is not None else repeat(None)
        return zip(weight.split(rows), biases, strict=False)

    def _unembed(self, normed: Float[Tensor, "read d_model"], weight: Tensor, bias: Tensor | None) -> Tensor:
        """Logits in float32, also of a 16-bit model: rounded to its dtype, those near 16 would lie 1/8 apart."""
        if normed.is_cuda and weight.dtype != torch.float32:
            logits = torch.mm(normed.to(weight.dtype), weight.T, out_dtype=torch.float32)
        else:
            logits = normed.float() @ weight.float().T
        return self._capped(logits if bias is None else logits + bias.float())

    def _capped(self, logits: Tensor) -> Tensor:
        cap = getattr(self.text_config, "final_logit_softcapping", None)
        return cap * torch.tanh(logits / cap) if cap else logits


def _weights_hash(hf_model: Any) -> str:
    digest = hashlib.sha256()
    for name, parameter in hf_model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sampled = flat[:: max(1, len(flat) // SAMPLED)].to(torch.bfloat16).cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(sampled.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tokenizer_text(tokenizer: Any) -> str:
    """Everything that decides its tokens, as text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    text = backend.to_str()
    # What stands before are the padding and truncation of the last call.
    return text[text.find('"added_tokens"') :]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
