"""A language model behind TransformerLens' TransformerBridge: tokens, logits and what it is.

Forward passes are in `forward`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.engine import foreign_hooks
from interp_culture.engine.blocks import Form, output_form, width_at
from interp_culture.engine.bridge import build_bridge
from interp_culture.engine.chat import ChatFormat
from interp_culture.engine.components import Components, find_components
from interp_culture.engine.context_length import check_fit, max_length
from interp_culture.engine.identity import ModelIdentity, identity_of
from interp_culture.engine.interventions import HOOK_POINTS, STREAM_POINTS, Edit, as_edits
from interp_culture.engine.leaks import Leak
from interp_culture.engine.markup import MarkupWarning
from interp_culture.engine.patches import Patch
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.shortcuts import NONE, Shortcuts, shortcuts_by_config
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.engine.unembedding import Unembedding
from interp_culture.errors import InputError


@dataclass
class ReadoutChecks:
    """The results of the checks of readouts on one model, by `ReadoutFormat`.

    Attributes:
        validity: what each check measured, a `Validity` of the readout room.
        prefixes: the control items read with every candidate of the answer prefix.
        warned: the readouts about which the user was warned already.
    """

    validity: dict[Any, Any] = field(default_factory=dict)
    prefixes: dict[Any, Any] = field(default_factory=dict)
    warned: set[Any] = field(default_factory=set)


@dataclass
class LanguageModel:
    """A hooked transformer and its tokenizer.

    Attributes:
        bridge: the TransformerBridge, for whatever this class does not offer.
        name, revision: of the checkpoint; for messages and manifests.
        shortcuts: the shortcuts that hold for this model, by its config and the check at loading.
        check: the result of that check; "none" where the model was not checked.
        check_errors: what it compared with plain passes, and the largest relative error of each.
        batch_limit: the largest batch, in tokens, once the device ran out of memory; None before.
        readout_checks: the checks of readouts, each of which is measured once per model.
        leak: the coupling that `plant` wrote into it; None for a plain model.
    """

    bridge: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    shortcuts: Shortcuts = field(default=Shortcuts())
    check: str = "none"
    batch_limit: int | None = field(default=None, repr=False)
    check_errors: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    # Not in `__init__`: a copy made by `replace` may read otherwise, so it measures its own.
    readout_checks: ReadoutChecks = field(default_factory=ReadoutChecks, init=False, repr=False)
    leak: Leak | None = None

    @classmethod
    def wrap(
        cls,
        hf_model: Any,
        tokenizer: Any,
        name: str,
        revision: str | None = None,
        architecture: str | None = None,
    ) -> LanguageModel:
        """Hook a loaded Hugging Face model in place; keep a copy if you need it unhooked.

        Args:
            name, revision: what messages and manifests call it.
            architecture: TransformerLens' name of it; by default the name of the model's class.

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2)
        >>> LanguageModel.wrap(LlamaForCausalLM(config), model.tokenizer, "my-model")
        LanguageModel('my-model', 2 layers, d_model 32, float32 on cpu)
        """
        # Gradients are taken with respect to activations only (see `gradients`).
        hf_model = hf_model.eval().requires_grad_(False)
        bridge = build_bridge(hf_model, tokenizer, architecture)
        shortcuts = shortcuts_by_config(hf_model.config.get_text_config())
        model = cls(bridge, tokenizer, name, revision, shortcuts)
        model.unembedding  # noqa: B018  it examines the model, which must have no user's hooks yet
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
        """The token that pads batches; always masked, so any token with an embedding will do."""
        rows = getattr(self.text_config, "vocab_size", None)
        # Special tokens, since `generate` pads finished texts and decoding leaves special ones out.
        tokenizer = self.tokenizer
        special = (tokenizer.pad_token_id, tokenizer.eos_token_id, *tokenizer.all_special_ids)
        return next((t for t in special if t and (rows is None or t < rows)), 0)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        size = f"{self.n_layers} layers, d_model {self.d_model}"
        return f"LanguageModel({self.name!r}, {size}, {dtype} on {self.device})"

    @cached_property
    def identity(self) -> ModelIdentity:
        """Hashes of its weights, tokenizer and template, which do not depend on its name.

        A leak counts as weights.
        """
        plain = self.plain_identity
        return plain if self.leak is None else plain.changed_by(self.leak.digest)

    @cached_property
    def plain_identity(self) -> ModelIdentity:
        """The identity without the leak, which is that of the model in which it was planted."""
        return identity_of(self.bridge.original_model, self.tokenizer)

    def describe(self) -> dict[str, Any]:
        """The model's entry in manifests. Its identity does not depend on name and device."""
        return {
            "model": self.name,
            "revision": self.revision,
            **asdict(self.identity),
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "check": self.check,
            "shortcuts_off": list(self.shortcuts.off),
            **({} if self.leak is None else {"leak": self.leak.describe()}),
        }

    # -- tokens -----------------------------------------------------------------------------------

    def tokenise(self, prompt: Prompt) -> TokenSequence:
        """`tokenise_all` of one prompt."""
        return self.tokenise_all([prompt])[0]

    def tokenise_all(
        self, prompts: Sequence[Prompt], names: Sequence[str] | None = None, new_tokens: int = 0
    ) -> list[TokenSequence]:
        """Tokenise prompts and their answers in the model's chat format, plain where it has none.

        The template is applied once. A system message becomes part of the user's turn where the
        template has no system role; a blank one counts as none. Only the template adds special
        tokens or, without a template, the tokenizer. Control tokens in a prompt's words are read
        as plain text, with a MarkupWarning.

        Args:
            names: the name of each prompt in messages, such as "scenario Y01-family-3".
            new_tokens: how many tokens will be generated after each prompt.

        Raises:
            InputError: a prompt, by name, that exceeds the model's context (see `max_length`); a
                chat template that fails.
        """
        chat = self.chat
        markup = self._markup_in(chat, [prompt.words for prompt in prompts], names, "prompt")
        return self._checked(chat.tokenise_all(prompts), names, "prompt", new_tokens, markup)

    def tokenise_text(self, text: str) -> TokenSequence:
        """`tokenise_texts` of one text."""
        return self.tokenise_texts([text])[0]

    def tokenise_texts(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> list[TokenSequence]:
        """Tokenise plain texts without a template: with the tokenizer's BOS, without an EOS.

        `names`, warnings and errors are as for `tokenise_all`.
        """
        chat = self.chat
        markup = self._markup_in(chat, [[text] for text in texts], names, "text")
        return self._checked(chat.tokenise_texts(texts), names, "text", 0, markup)

    def answers_after(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each text as a continuation of the rendered prompt.

        They may differ from those of the text alone: a SentencePiece tokenizer puts a space mark
        before a text's first word, which a model that answers on a new line does not write.
        """
        return self.chat.answers_after(prompt, texts)

    def follow_on(self, prompt: Prompt, texts: Sequence[str]) -> list[bool]:
        """Whether each text's tokens come after those of the rendered prompt, unmerged with them.

        >>> model.follow_on(Prompt("Is it late?", prefix="The answer is ("), ["A", " A"])
        [True, True]
        """
        return self.chat.follow_on(prompt, texts)

    def render(self, prompt: Prompt) -> str:
        """The text that the model reads for a prompt, up to the start of its answer.

        Without a chat template, the tokenizer puts its BOS, if it has one, before this text.

        >>> print(model.render(Prompt("Is it late?")))
        <|user|>Is it late?
        <|assistant|>
        """
        return self.chat.render(prompt)

    @property
    def chat(self) -> ChatFormat:
        """How this model's tokenizer turns prompts and texts into tokens."""
        return ChatFormat(self.tokenizer, self.name)

    @property
    def max_length(self) -> int | None:
        """The size of the model's context in tokens, by its config; None if the config has none."""
        return max_length(self.text_config)

    def _markup_in(
        self,
        chat: ChatFormat,
        texts: Sequence[Sequence[str | None]],
        names: Sequence[str] | None,
        kind: str,
    ) -> list[list[str]]:
        """The control tokens in the words of each text; an InputError about them has its name."""
        names = [f"{kind} {i}" for i in range(len(texts))] if names is None else names
        markup = []
        for name, words in zip(names, texts, strict=True):
            try:
                markup.append(chat.markup_in(*words))
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        return markup

    def _checked(
        self,
        sequences: list[TokenSequence],
        names: Sequence[str] | None,
        kind: str,
        new_tokens: int,
        markup: Sequence[Sequence[str]],
    ) -> list[TokenSequence]:
        """The sequences, if they fit the model; warns of control tokens in the words of texts."""
        names = [f"{kind} {i}" for i in range(len(sequences))] if names is None else names
        rows = getattr(self.text_config, "vocab_size", None)
        check_fit(sequences, names, self.name, self.max_length, rows, new_tokens)
        self._warn_of_markup(names, markup)
        return sequences

    def _warn_of_markup(self, names: Sequence[str], markup: Sequence[Sequence[str]]) -> None:
        marked = {name: tokens for name, tokens in zip(names, markup, strict=True) if tokens}
        if not marked:
            return
        all_tokens = [token for tokens in marked.values() for token in tokens]
        known = ", ".join(dict.fromkeys(all_tokens))
        examples = ", ".join(list(marked)[:3])
        warnings.warn(
            f"control tokens of {self.name}'s tokenizer ({known}) stand in {len(marked)} of "
            f"{len(set(names))} texts and are read as plain text there: {examples}",
            MarkupWarning,
            stacklevel=4,
        )

    # -- passes -----------------------------------------------------------------------------------

    def forward(self, tokens: Int[Tensor, "row pos"], **inputs: Any) -> Any:
        """The model's own forward, with hooks. Inputs that it does not accept are left out."""
        accepted = {name: value for name, value in inputs.items() if self._accepts(name)}
        return self.bridge.original_model(input_ids=tokens, **accepted)

    def logits(self, resid: Float[Tensor, "read d_model"]) -> Float[Tensor, "read d_vocab"]:
        """The logits of chosen positions of the final residual stream, in float32."""
        return self.unembedding.logits(resid)

    def answer_logits(
        self, resid: Float[Tensor, "read d_model"], tokens: Int[Tensor, "read token"]
    ) -> Float[Tensor, "read token_and_partition"]:
        """The logits of `tokens` (one row per read), then the log of the partition function.

        Both are in float32.
        """
        return self.unembedding.answer_logits(resid, tokens)

    @cached_property
    def unembedding(self) -> Unembedding:
        """What the model computes after its last block."""
        return Unembedding(self.bridge, self.block_form, in_pieces=self.shortcuts.pieces)

    @cached_property
    def block_form(self) -> Form:
        """How its blocks return the residual stream."""
        return output_form(self.bridge)

    @cached_property
    def components(self) -> Components:
        """The components that can run without their hook points."""
        return find_components(self.bridge)

    @property
    def usable_shortcuts(self) -> Shortcuts:
        """The shortcuts that hold now; none while the user's hooks are on, to show plain passes."""
        return replace(NONE, longest=self.shortcuts.longest) if self.is_hooked else self.shortcuts

    @property
    def is_hooked(self) -> bool:
        """Whether a hook of the user, TransformerLens' or PyTorch's, is on the model."""
        return foreign_hooks.is_hooked(self.bridge)

    @property
    def hook_places(self) -> list[str]:
        """The modules that have hooks of the user."""
        return foreign_hooks.hook_places(self.bridge)

    def check_edits(self, edits: Sequence[Edit | Patch]) -> None:
        """Raise InputError for an edit that does not fit this model."""
        for edit in edits:
            self.check_place(edit.layer, edit.hook_point)
            if isinstance(edit, Patch):
                continue
            self._check_width(edit)
            self._check_origin(edit)

    def check_place(self, layer: int, hook_point: str) -> None:
        """Raise InputError for a layer or a hook point that the model does not have."""
        if not 0 <= layer < self.n_layers:
            raise InputError(
                f"layer {layer} is out of range: {self.name} has layers 0 to {self.n_layers - 1}"
            )
        hook_points = self.bridge.hook_dict
        name = f"blocks.{layer}.{hook_point}"
        if name not in hook_points:
            known = [point for point in HOOK_POINTS if f"blocks.{layer}.{point}" in hook_points]
            raise InputError(
                f"{self.name} has no hook point {name}; "
                f"hook points of this block: {', '.join(known)}"
            )

    def width_at(self, layer: int, hook_point: str) -> int:
        """How many values each token has at a hook point; heads count as side by side.

        Raises InputError for a place that the model does not have.

        >>> model.width_at(0, "attn.hook_k")  # two heads of eight values
        16
        """
        self.check_place(layer, hook_point)
        if hook_point in STREAM_POINTS:
            return self.d_model
        return self._widths(f"blocks.{layer}.{hook_point}")

    @cached_property
    def _widths(self) -> Callable[[str], int]:
        """The width at a hook point, by its full name, read once in a pass over one token."""
        return cache(partial(width_at, self.bridge))

    def _check_width(self, edit: Edit) -> None:
        width = self.width_at(edit.layer, edit.hook_point)
        if edit.vector.shape != (width,):
            is_stream = edit.hook_point in STREAM_POINTS
            expected = f"d_model {width}" if is_stream else f"{width} values at {edit.hook_name}"
            raise InputError(
                f"a vector of shape {tuple(edit.vector.shape)} does not fit {self.name} "
                f"({expected}); extract it on this model"
            )

    def _check_origin(self, edit: Edit) -> None:
        """Raise InputError if the vector comes from other weights (or name, if unknown)."""
        if edit.weights is not None:
            # A planted model is steered by the plain model's vectors too, to compare the two.
            fits = edit.weights in (self.identity.weights, self.plain_identity.weights)
        else:
            fits = edit.model in (None, self.name)
        if not fits:
            is_same_name = edit.model == self.name
            same_name = " (the name is the same, the weights are not)" if is_same_name else ""
            raise InputError(
                f"the vector was extracted on {edit.model!r}, not on {self.name!r}{same_name}; "
                'extract it again on this model, or give steer(..., origin="any") if you want to '
                "transfer it"
            )

    # -- internals --------------------------------------------------------------------------------

    @property
    def text_config(self) -> Any:
        """The Hugging Face config of the language part: `text_config` of a multimodal model."""
        config = self.bridge.original_model.config
        return config.get_text_config()

    def _accepts(self, name: str) -> bool:
        parameters = inspect.signature(self.bridge.original_model.forward).parameters
        return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


@contextmanager
def applied(model: LanguageModel, edits: Edit | Sequence[Edit]) -> Iterator[Any]:
    """Yield the raw bridge under edits, for plain passes over unpadded tokens [batch, pos].

    The hooks are removed afterwards.

    Raises:
        InputError: edits that do not fit the model, or whose positions a plain pass does not know
            (see `Edit.hook`).

    >>> with applied(model, edits) as bridge:
    ...     logits = bridge(bridge.to_tokens("The weather is"))
    >>> logits.ndim  # batch, position, vocabulary
    3
    """
    edits = as_edits(edits)
    model.check_edits(edits)
    with model.bridge.hooks(fwd_hooks=[edit.hook() for edit in edits]):
        yield model.bridge
