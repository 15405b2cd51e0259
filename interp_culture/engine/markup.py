"""Control tokens of a tokenizer (such as "<|user|>") in a user's words, read as plain text.

A tokenizer cannot tell them from the control tokens that the chat template writes. So those in a
user's words are replaced by private characters before the template is applied, and those of the
template by other private characters afterwards. A copy of the tokenizer then reads the first as
text and the second as tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError

Tokens = tuple[int, ...]
# A text's tokens, and the encoding of a fast tokenizer (else None), which knows their characters.
Encoded = tuple[Tokens, Any]

# Private characters of Unicode's planes 15 and 16 stand for control tokens: one for each letter of
# the token, so that no other character changes its place in the text.
USER_CHARACTERS = 0xF0000
TEMPLATE_CHARACTERS = 0x100000
PRIVATE = re.compile("[\U000f0000-\U0010ffff]")
# An added token that is not marked as special is a control token only if it looks like one: other
# added tokens are runs of spaces or words.
LOOKS_LIKE_MARKUP = re.compile(r"<\S+>|\[\S+\]")


class MarkupWarning(UserWarning):
    """Some texts contain control tokens of the tokenizer, which are read as plain text."""


@dataclass(frozen=True)
class Markup:
    """The control tokens of a tokenizer, and an encoder that reads those of a user as plain text.

    Attributes:
        tokenizer: a Hugging Face tokenizer, which is not changed.
        name: the model's name, for messages.
    """

    tokenizer: Any
    name: str

    def find(self, *texts: str | None) -> list[str]:
        """The control tokens in these texts, each once, in the order of their first occurrence.

        Raises InputError for a text whose control tokens cannot be read as plain text.
        """
        if self._pattern is None:
            return []
        tokens: dict[str, None] = {}
        for text in filter(None, texts):
            in_text = self._pattern.findall(text)
            self._refuse_look_alikes(text, len(in_text))
            tokens |= dict.fromkeys(in_text)
        if tokens:
            for text in filter(None, texts):
                self.hide(text)
        return list(tokens)

    def hide(self, text: str) -> str:
        """The text with private characters for its control tokens, for a template and `encode`.

        Raises InputError for a text that contains private characters itself.
        """
        if PRIVATE.search(text):
            raise InputError(
                f"the text contains control tokens of {self.name}'s tokenizer and characters of "
                f"Unicode's private planes, which cannot be read together: {text[:80]!r}; remove "
                "the one or the other"
            )
        return self._replaced(text, USER_CHARACTERS)

    def hide_in(self, prompt: Prompt) -> Prompt:
        """The prompt with its control tokens hidden: all others are then the template's."""
        return replace(
            prompt,
            user=self.hide(prompt.user),
            answer=self.hide(prompt.answer),
            system=self.hide(prompt.system) if prompt.system else prompt.system,
            prefix=self.hide(prompt.prefix),
        )

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text as tokens; the control tokens that `hide` has hidden are read as plain text.

        Raises InputError for a tokenizer that cannot do so.
        """
        backend, true_ids = self._plain_text_backend
        readable = [self._shown(self._replaced(text, TEMPLATE_CHARACTERS)) for text in texts]
        encodings = backend.encode_batch(readable, add_special_tokens=False)
        encoded = []
        for text, encoding in zip(texts, encodings, strict=True):
            tokens = tuple(true_ids.get(token, token) for token in encoding.ids)
            self._check_count(text, tokens)
            encoded.append((tokens, encoding))
        return encoded

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The control tokens and their ids."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        ids = {}
        for token_id, token in added.items():
            is_control = token.special or LOOKS_LIKE_MARKUP.fullmatch(token.content)
            if token.content.strip() and is_control:
                ids[token.content] = token_id
        return ids

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if not self._ids:
            return None
        # A regular expression takes the first alternative that matches, not the longest.
        longest_first = sorted(self._ids, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def _refuse_look_alikes(self, text: str, n_tokens: int) -> None:
        """Raise InputError where the tokenizer would make further control tokens of a text.

        A normaliser such as NFKC turns full-width characters into those of a control token.
        """
        normaliser, pattern = self._normal_form
        if pattern is None:
            return
        look_alikes = pattern.findall(normaliser.normalize_str(text))
        if len(look_alikes) > n_tokens:
            raise InputError(
                f"{self.name}'s tokenizer makes control tokens ({', '.join(set(look_alikes))}) of "
                f"other characters in {text[:80]!r}; reword it"
            )

    @cached_property
    def _normal_form(self) -> tuple[Any, re.Pattern[str] | None]:
        """The tokenizer's normaliser, and a pattern of the control tokens in normalised texts."""
        normaliser = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        # The others are looked for in the text as it is.
        normalised = [added[i].content for i in self._ids.values() if added[i].normalized]
        if normaliser is None or not normalised:
            return None, None
        forms = [normaliser.normalize_str(token) for token in normalised]
        return normaliser, re.compile("|".join(map(re.escape, forms)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self._ids)}

    def _replaced(self, text: str, first_character: int) -> str:
        """The text with private characters, from `first_character` on, for its control tokens."""
        assert self._pattern is not None
        return self._pattern.sub(lambda match: self._stand_in(match[0], first_character), text)

    def _stand_in(self, token: str, first_character: int) -> str:
        return chr(first_character + self._places[token]) * len(token)

    def _shown(self, text: str) -> str:
        """The text with the control tokens that `hide` has hidden."""
        for token in self._ids:
            text = text.replace(self._stand_in(token, USER_CHARACTERS), token)
        return text

    def _check_count(self, text: str, tokens: Tokens) -> None:
        """Raise InputError unless the control tokens are those of the template alone."""
        n_of_template = len(self._pattern.findall(text)) if self._pattern else 0
        n_read = sum(token in self._ids.values() for token in tokens)
        if n_read != n_of_template:
            raise InputError(
                f"the text contains control tokens that {self.name}'s tokenizer cannot read as "
                f"plain text ({', '.join(self.find(self._shown(text)))}); reword it"
            )

    @cached_property
    def _plain_text_backend(self) -> tuple[Any, dict[int, int]]:
        """A copy of the tokenizer that reads control tokens as text, and stand-ins as tokens.

        Returns the copy, and the true id of each stand-in's id.
        """
        from tokenizers import AddedToken, Tokenizer

        original = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(original, Tokenizer):
            raise InputError(
                f"the text contains control tokens of {self.name}'s tokenizer, which only a fast "
                "tokenizer reads as plain text; reword it, or load the tokenizer with use_fast=True"
            )
        state = json.loads(original.to_str())
        flags = {token["content"]: token for token in state["added_tokens"]}
        flags = {token: flags[token] for token in self._ids if token in flags}
        # `encode_special_tokens` acts on special tokens alone: others would be matched as before.
        for flag in flags.values():
            flag["special"] = True
        copy = Tokenizer.from_str(json.dumps(state))
        # In `tokenizers` this means that special tokens are encoded as the text that they are.
        copy.encode_special_tokens = True
        # The copy has inherited the settings of the original's last call.
        copy.no_truncation()
        copy.no_padding()
        stand_ins = {token: self._stand_in(token, TEMPLATE_CHARACTERS) for token in self._ids}
        added = []
        for token, stand_in in stand_ins.items():
            strips = {side: flags[token][side] for side in ("lstrip", "rstrip") if token in flags}
            added.append(AddedToken(stand_in, normalized=False, **strips))
        copy.add_tokens(added)
        vocabulary = copy.get_vocab()
        true_ids = {vocabulary[stand_ins[token]]: self._ids[token] for token in self._ids}
        return copy, true_ids
