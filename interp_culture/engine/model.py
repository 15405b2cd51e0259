"""A language model behind TransformerLens' TransformerBridge: tokens in, logits out of the final residual stream.

The only module that imports transformer_lens. Hook names are the bridge's own, weights are left as they are
(no folding). Forward passes are in `passes`.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_culture.engine import foreign_hooks
from interp_culture.engine.blocks import Form, output_form
from interp_culture.engine.chat import ChatFormat
from interp_culture.engine.context_length import check_fit, max_length
from interp_culture.engine.identity import ModelIdentity, identity_of
from interp_culture.engine.interventions import HOOK_POINTS, Edit, as_edits
from interp_culture.engine.markup import MarkupWarning
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.shortcuts import NONE, Shortcuts, shortcuts_by_config
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.engine.unembedding import Unembedding
from interp_culture.errors import InputError


@dataclass
class LanguageModel:
    """A hooked transformer and its tokenizer.

    `bridge` is the TransformerBridge, for whatever this class does not offer. `shortcuts` are those that the check
    at loading found to hold, `check` whether there was one. `memo` keeps what is measured once per model (the
    validity of a readout).
    """

    bridge: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    shortcuts: Shortcuts = field(default=Shortcuts())
    check: str = "none"
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def wrap(
        cls,
        hf_model: Any,
        tokenizer: Any,
        name: str,
        revision: str | None = None,
        architecture: str | None = None,
    ) -> LanguageModel:
        """Hook a loaded Hugging Face model, which is changed in place: keep a copy if you need it plain.

        `architecture` is TransformerLens' name of it, by default the name of the model's class.
        """
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        hf_model = hf_model.eval().requires_grad_(False)
        architecture = architecture or type(hf_model).__name__
        bridge = build_bridge_from_module(hf_model, architecture, hf_config=hf_model.config)
        _give_tokenizer(bridge, tokenizer)
        shortcuts = shortcuts_by_config(hf_model.config.get_text_config())
        model = cls(bridge, tokenizer, name, revision, shortcuts)
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
        """What fills a batch; always masked, so that any token with a row in the embedding will do."""
        rows = getattr(self.text_config, "vocab_size", None)
        # Special ones first: `generate` fills up finished texts with it, and decoding leaves those out.
        known = (
            self.tokenizer.pad_token_id,
            self.tokenizer.eos_token_id,
            *self.tokenizer.all_special_ids,
        )
        return next((t for t in known if t and (rows is None or t < rows)), 0)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"LanguageModel({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, {dtype} on {self.device})"

    @cached_property
    def identity(self) -> ModelIdentity:
        """What the model is, whatever it is called: hashes of its weights, tokenizer and template."""
        return identity_of(self.bridge.original_model, self.tokenizer)

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
            "check": self.check,
            "shortcuts_off": list(self.shortcuts.off),
        }

    # -- tokens ---------------------------------------------------------------------------------------------

    def tokenise(self, prompt: Prompt) -> TokenSequence:
        """`tokenise_all` of one prompt."""
        return self.tokenise_all([prompt])[0]

    def tokenise_all(
        self, prompts: Sequence[Prompt], names: Sequence[str] | None = None, new_tokens: int = 0
    ) -> list[TokenSequence]:
        """Prompts in the model's chat format (or plain, where it has none) and their answers, as tokens.

        The template is applied once; a system message goes to the user turn where the template has no
        system role, and a blank one is none. Special tokens are added only by the template or, without one,
        by the tokenizer. Control tokens in a prompt's own words are read as plain text, with a warning.

        Args:
            names: what each prompt is called in messages, such as "scenario Y01-family-3".
            new_tokens: how many are to be written after each prompt.

        Raises:
            InputError: a prompt that does not fit the model's context (see `max_length`), by name; a chat
                template that does not work.
        """
        chat = self.chat
        markup = [chat.markup_in(p.user, p.system, p.answer) for p in prompts]
        return self._read_all(chat.tokenise_all(prompts), names, "prompt", new_tokens, markup)

    def tokenise_text(self, text: str) -> TokenSequence:
        """`tokenise_texts` of one text."""
        return self.tokenise_texts([text])[0]

    def tokenise_texts(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> list[TokenSequence]:
        """Plain texts, without a template, as the tokenizer encodes them: with its BOS, without an EOS.

        `names`, warnings and errors are those of `tokenise_all`.
        """
        chat = self.chat
        return self._read_all(
            chat.tokenise_texts(texts), names, "text", 0, [chat.markup_in(t) for t in texts]
        )

    def answers_after(self, prompt: Prompt, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each text as it would stand right after the rendered prompt.

        A SentencePiece tokenizer puts a space mark before the first word of a text, which a model that
        answers after a line's end does not write: a letter encoded by itself would be another token.
        """
        return self.chat.answers_after(prompt, texts)

    def render(self, prompt: Prompt) -> str:
        """The text that the model is given for a prompt, up to where its answer begins.

        Without a chat template the tokenizer puts its BOS, if it has one, before this text.
        """
        return self.chat.render(prompt)

    @property
    def chat(self) -> ChatFormat:
        """How this model's tokenizer turns prompts and texts into tokens."""
        return ChatFormat(self.tokenizer, self.name)

    @property
    def max_length(self) -> int | None:
        """The model's context: how many tokens its config says that it takes; None where it does not say."""
        return max_length(self.text_config)

    def _read_all(
        self,
        sequences: list[TokenSequence],
        names: Sequence[str] | None,
        kind: str,
        new_tokens: int,
        markup: Sequence[Sequence[str]],
    ) -> list[TokenSequence]:
        """The sequences, checked; control tokens in the words of prompts or texts are counted in a warning."""
        names = [f"{kind} {i}" for i in range(len(sequences))] if names is None else names
        rows = getattr(self.text_config, "vocab_size", None)
        check_fit(sequences, names, self.name, self.max_length, rows, new_tokens)
        marked = {name: found for name, found in zip(names, markup, strict=True) if found}
        if marked:
            known = ", ".join(dict.fromkeys(token for found in marked.values() for token in found))
            warnings.warn(
                f"control tokens of {self.name}'s tokenizer ({known}) stand in {len(marked)} of "
                f"{len(set(names))} texts and are read as plain text there: {', '.join(list(marked)[:3])}",
                MarkupWarning,
                stacklevel=3,
            )
        return sequences

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
        return replace(NONE, longest=self.shortcuts.longest) if self.is_hooked else self.shortcuts

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
                raise InputError(
                    f"layer {edit.layer} is out of range: {self.name} has layers 0 to {self.n_layers - 1}"
                )
            if edit.hook_name not in self.bridge.hook_dict:
                raise InputError(
                    f"{self.name} has no hook point {edit.hook_name}; of those of an Edit its blocks have "
                    f"{', '.join(h for h in HOOK_POINTS if f'blocks.{edit.layer}.{h}' in self.bridge.hook_dict)}"
                )
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
            same_name = (
                " (the name is the same, the weights are not)" if edit.model == self.name else ""
            )
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

    def _accepts(self, name: str) -> bool:
        parameters = inspect.signature(self.bridge.original_model.forward).parameters
        return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


@contextmanager
def applied(model: LanguageModel, edits: Edit | Sequence[Edit]) -> Iterator[Any]:
    """The raw bridge under edits, for plain passes of one's own over tokens [batch, pos] without padding.

    Gives the bridge; no hook is left behind. Raises InputError for edits that do not fit the model or whose positions
    a plain pass does not know (see `Edit.hook`).

    >>> with applied(model, edits) as bridge:  # doctest: +SKIP
    ...     logits = bridge(bridge.to_tokens("The weather is"))
    """
    edits = as_edits(edits)
    model.check_edits(edits)
    with model.bridge.hooks(fwd_hooks=[edit.hook() for edit in edits]):
        yield model.bridge


def supported_architectures() -> frozenset[str]:
    """The names of the model classes that TransformerLens has an adapter for."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    ArchitectureAdapterFactory.discover_entry_points()
    return frozenset(ArchitectureAdapterFactory._adapters)


def _give_tokenizer(bridge: Any, tokenizer: Any) -> None:
    """The bridge's own tokenizer, for `bridge("text")` and `bridge.to_tokens`: the tokens of `tokenise_text`.

    Given to `build_bridge_from_module`, TransformerLens would replace it by one that is loaded again with a BOS. It
    pads with a tokenizer's pad token even where there is one text: without one, a copy gets one.
    """
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
    bridge.tokenizer = tokenizer
    ids = tokenizer("a").input_ids
    has_bos = len(ids) > 1 and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id)
    bridge.cfg.tokenizer_prepends_bos = bridge.cfg.default_prepend_bos = has_bos
    bridge.cfg.tokenizer_appends_eos = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id
