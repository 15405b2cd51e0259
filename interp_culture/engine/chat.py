"""Prompts and texts as tokens: the chat template, the tokenizer's own BOS, answers as they follow a prompt.

Text only, no model. A checkpoint's template and tokenizer are programs of others, so every assumption
about them is tried out here: whether there is a system role, whether a space is put before the first
word, whether an answer merges with the prompt's last letter.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any

from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence
from interp_culture.errors import InputError

Tokens = tuple[int, ...]
# A text's tokens, and the encoding of a fast tokenizer, which knows their places in the text.
Encoded = tuple[Tokens, Any]
Encode = Callable[[Sequence[str]], list[Encoded]]

# Words that no template holds, to find out what a template does with a message.
SYSTEM_WORD, USER_WORD = "zqsystem", "zquser"
# Before an answer that merges with its prompt: something else that it does not merge with.
SEAMS = ("\n", ":", ".", "x")
# Private characters of planes 15 and 16. They stand for control tokens, one character for each of their
# letters so that places in the text stay as they are: DATA for those in a user's words, OWN for those
# of the template.
DATA, OWN = 0xF0000, 0x100000
PRIVATE = re.compile("[\U000f0000-\U0010ffff]")
# Added tokens that a tokenizer does not call special are markup only if they look like it: others are
# runs of spaces or words.
LOOKS_LIKE_MARKUP = re.compile(r"<\S+>|\[\S+\]")
CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "n_ctx",
)


class MarkupWarning(UserWarning):
    """Some texts hold control tokens of the tokenizer, which are read as the plain text they are."""


@dataclass(frozen=True)
class ChatFormat:
    """How a tokenizer turns prompts and texts into tokens.

    Attributes:
        tokenizer: a Hugging Face tokenizer, which stays as it is.
        name: the model's name, for messages.
    """

    tokenizer: Any
    name: str

    # -- tokens ---------------------------------------------------------------------------------

    def tokenise_all(self, prompts: Sequence[Prompt]) -> list[TokenSequence]:
        """Prompts and their answers as tokens; see `LanguageModel.tokenise_all`."""
        marked = [
            bool(self.markup_in(prompt.user, prompt.system, prompt.answer)) for prompt in prompts
        ]
        plain = [prompt for prompt, has in zip(prompts, marked, strict=True) if not has]
        others = [self._masked(prompt) for prompt, has in zip(prompts, marked, strict=True) if has]
        read = iter(self._sequences(plain, self._encode_all))
        read_as_text = iter(self._sequences(others, self._encode_masked))
        return [next(read_as_text if has else read) for has in marked]

    def tokenise_texts(self, texts: Sequence[str]) -> list[TokenSequence]:
        """Plain texts as the tokenizer itself encodes them, BOS included, but for an EOS at the end."""
        encoded = []
        for text in texts:
            if self.markup_in(text):
                encoded += self._encode_masked([self._mask(text)])
            else:
                encoded += self._encode_all([text])
        return [TokenSequence(self._prefix + tokens) for tokens, _ in encoded]

    def answers_after(self, prompt: Prompt, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text as it would stand right after the rendered prompt."""
        masked = bool(self.markup_in(prompt.user, prompt.system))
        rendered = self._render(self._masked(prompt) if masked else prompt)
        encode = self._encode_masked if masked else self._encode_all
        (start, _), *wholes = encode([rendered, *(rendered + text for text in texts)])
        return [
            self._following(start, whole, text, encode)
            for (whole, _), text in zip(wholes, texts, strict=True)
        ]

    # -- text -----------------------------------------------------------------------------------

    def render(self, prompt: Prompt) -> str:
        """The text that the model is given, up to where the answer begins, less the tokenizer's own BOS."""
        return self._render(prompt)

    def markup_in(self, *texts: str | None) -> list[str]:
        """The tokenizer's control tokens that stand in these texts, each once."""
        if self._markup_pattern is None:
            return []
        found = (match for text in texts if text for match in self._markup_pattern.findall(text))
        return list(dict.fromkeys(found))

    def _render(self, prompt: Prompt) -> str:
        system = prompt.system if prompt.system and prompt.system.strip() else None
        if not self.tokenizer.chat_template:
            before = f"{system}\n\n" if system else ""
            return f"{before}{prompt.user}\nAnswer:"
        if system is None:
            return self._apply(_messages(prompt.user))
        if self._has_system_role:
            return self._apply(_messages(prompt.user, system))
        return self._apply(_messages(f"{system}\n\n{prompt.user}"))

    @cached_property
    def _has_system_role(self) -> bool:
        try:
            text = self._apply(_messages(USER_WORD, SYSTEM_WORD))
        except InputError:
            return False
        return SYSTEM_WORD in text.lower() and USER_WORD in text.lower()

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether a message is a list of parts, as in templates of multimodal models, instead of text.

        Raises InputError for a template that shows a user's message in neither way.
        """
        failures = []
        for as_parts in (False, True):
            try:
                text = self._template(_messages(USER_WORD), as_parts)
            except Exception as error:  # a template is a program, which may raise anything
                failures.append(f"{type(error).__name__}: {error}")
            else:
                if USER_WORD in text.lower():
                    return as_parts
        why = failures[0] if failures else "it leaves out the user's message"
        raise InputError(
            f"the chat template of {self.name} does not work ({why}); set tokenizer.chat_template to one "
            "that does, or to None to read the model without a chat format"
        )

    def _apply(self, messages: list[dict[str, str]]) -> str:
        as_parts = self._takes_parts
        try:
            return self._template(messages, as_parts)
        except Exception as error:  # see above
            raise InputError(
                f"the chat template of {self.name} does not take this message: {type(error).__name__}: {error}"
            ) from error

    def _template(self, messages: list[dict[str, str]], as_parts: bool) -> str:
        given: Any = messages
        if as_parts:
            given = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        # A fixed date keeps Llama's template reproducible; Qwen3's thinking block would delay the answer.
        return self.tokenizer.apply_chat_template(
            given,
            tokenize=False,
            add_generation_prompt=True,
            date_string="26 Jul 2024",
            enable_thinking=False,
        )

    # -- from text to tokens --------------------------------------------------------------------

    def _sequences(self, prompts: Sequence[Prompt], encode: Encode) -> list[TokenSequence]:
        if not prompts:
            return []
        texts = [self._render(prompt) for prompt in prompts]
        is_chat = bool(self.tokenizer.chat_template)
        prefix = () if is_chat else self._prefix
        answers = [_spaced(prompt.answer, is_chat) for prompt in prompts]
        wholes = [text + answer for text, answer in zip(texts, answers, strict=True)]
        encoded = encode([*texts, *wholes])
        starts, ends = encoded[: len(texts)], encoded[len(texts) :]
        sequences = []
        for prompt, text, answer, (start, encoding), (whole, _) in zip(
            prompts, texts, answers, starts, ends, strict=True
        ):
            options = _options(prompt, text, encoding)
            if options and prefix:
                options = tuple(
                    (first + len(prefix), stop + len(prefix)) for first, stop in options
                )
            following = self._following(start, whole, answer, encode)
            sequences.append(TokenSequence(prefix + start, following, options))
        return sequences

    def _following(self, start: Tokens, whole: Tokens, text: str, encode: Encode) -> Tokens:
        """What follows the prompt in the tokens of the prompt with `text` after it.

        Where the two merge at the seam, the prompt's last token is another one, which the model is not
        given: then the text is encoded by itself, without a space that the tokenizer would add.
        """
        if whole[: len(start)] == start:
            return whole[len(start) :]
        if self._adds_no_space:
            return encode([text])[0][0]
        for seam in SEAMS:
            (before, _), (both, _) = encode([seam, seam + text])
            if both[: len(before)] == before:
                return both[len(before) :]
        return encode([text])[0][0]

    @cached_property
    def _adds_no_space(self) -> bool:
        """Whether a word has the same tokens at the beginning of a text and after the end of a line."""
        (line, _), (alone, _), (both, _) = self._encode_all(["\n", "a", "\na"])
        return both == line + alone

    @cached_property
    def _prefix(self) -> Tokens:
        """The tokens that the tokenizer puts before a text: BOS, for most that add any."""
        framed = tuple(self.tokenizer("a").input_ids)
        plain = tuple(self.tokenizer("a", add_special_tokens=False).input_ids)
        for start in range(len(framed) - len(plain) + 1):
            if framed[start : start + len(plain)] == plain:
                return framed[:start]
        return ()

    def _encode_all(self, texts: Sequence[str]) -> list[Encoded]:
        """Each different text once, all in one call, which takes all cores."""
        different = list(dict.fromkeys(texts))
        encoded = self.tokenizer(different, add_special_tokens=False)
        pairs = zip(map(tuple, encoded.input_ids), encoded.encodings or repeat(None), strict=False)
        of = dict(zip(different, pairs, strict=True))
        return [of[text] for text in texts]

    # -- control tokens in a user's words -------------------------------------------------------

    @cached_property
    def _markup(self) -> dict[str, int]:
        """Control tokens and their ids."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return {
            token.content: id
            for id, token in added.items()
            if token.content.strip()
            and (token.special or LOOKS_LIKE_MARKUP.fullmatch(token.content))
        }

    @cached_property
    def _markup_pattern(self) -> re.Pattern[str] | None:
        longest_first = sorted(self._markup, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def _masked(self, prompt: Prompt) -> Prompt:
        """The prompt with other characters for its control tokens, so that the template's are told from them."""
        system = self._mask(prompt.system) if prompt.system else prompt.system
        return replace(
            prompt, user=self._mask(prompt.user), answer=self._mask(prompt.answer), system=system
        )

    def _mask(self, text: str) -> str:
        if PRIVATE.search(text):
            raise InputError(
                f"the text holds control tokens of {self.name}'s tokenizer and characters of Unicode's private "
                f"planes, which cannot be read together: {text[:80]!r}; take out one of them"
            )
        return self._with(DATA, text)

    def _with(self, first: int, text: str) -> str:
        places = {token: place for place, token in enumerate(self._markup)}
        assert self._markup_pattern is not None
        return self._markup_pattern.sub(lambda m: chr(first + places[m[0]]) * len(m[0]), text)

    def _encode_masked(self, texts: Sequence[str]) -> list[Encoded]:
        """As `_encode_all`, with the control tokens that `_mask` hid read as the plain text they are."""
        backend, ids = self._plain_text_backend
        unmasked = [self._unmask(self._with(OWN, text)) for text in texts]
        encodings = backend.encode_batch(unmasked, add_special_tokens=False)
        encoded = []
        for text, encoding in zip(texts, encodings, strict=True):
            tokens = tuple(ids.get(token, token) for token in encoding.ids)
            n_own = len(self._markup_pattern.findall(text)) if self._markup_pattern else 0
            if sum(token in self._markup.values() for token in tokens) != n_own:
                raise InputError(
                    f"the text holds control tokens that {self.name}'s tokenizer cannot read as plain text "
                    f"({', '.join(self.markup_in(self._unmask(text)))}); reword it"
                )
            encoded.append((tokens, encoding))
        return encoded

    def _unmask(self, text: str) -> str:
        for place, token in enumerate(self._markup):
            text = text.replace(chr(DATA + place) * len(token), token)
        return text

    @cached_property
    def _plain_text_backend(self) -> tuple[Any, dict[int, int]]:
        """A copy of the tokenizer to which control tokens are plain text, but for those in OWN characters.

        Returns it and the true ids of the latter.
        """
        from tokenizers import AddedToken, Tokenizer

        original = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(original, Tokenizer):
            raise InputError(
                f"the text holds control tokens of {self.name}'s tokenizer, which only a fast tokenizer reads "
                "as plain text; reword it, or load the tokenizer with use_fast=True"
            )
        about = json.loads(original.to_str())
        flags = {token["content"]: token for token in about["added_tokens"]}
        for content in self._markup:
            if content in flags:
                flags[content]["special"] = True
        copy = Tokenizer.from_str(json.dumps(about))
        copy.encode_special_tokens = True  # that is: as the text that they are
        copy.no_truncation()
        copy.no_padding()
        own = {chr(OWN + place) * len(token): token for place, token in enumerate(self._markup)}
        strips = {
            t: {k: flags[t][k] for k in ("lstrip", "rstrip")} for t in self._markup if t in flags
        }
        copy.add_tokens(
            [
                AddedToken(stand_in, normalized=False, **strips.get(t, {}))
                for stand_in, t in own.items()
            ]
        )
        known = copy.get_vocab()
        return copy, {known[stand_in]: self._markup[token] for stand_in, token in own.items()}


def max_length(config: Any) -> int | None:
    """How many tokens a model's config says that it takes; None where it does not say.

    A sliding window is no limit, and dynamic RoPE scaling lengthens the context by its factor.
    """
    lengths = [getattr(config, field, None) for field in CONTEXT_FIELDS]
    length = next((n for n in lengths if isinstance(n, int) and n > 0), None)
    scaling = (
        getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    )
    if length is not None and scaling.get("rope_type", scaling.get("type")) == "dynamic":
        length = int(length * scaling.get("factor", 1))
    return length


def check_fit(
    sequences: Iterable[TokenSequence],
    names: Iterable[str],
    model: str,
    max_length: int | None,
    n_rows: int | None,
    new_tokens: int = 0,
) -> None:
    """Raise InputError for a sequence that the model cannot read, by name.

    Args:
        max_length: the model's context; with `new_tokens` to be written after the prompt.
        n_rows: rows of its embedding.
    """
    too_long = []
    for name, sequence in zip(names, sequences, strict=True):
        length = len(sequence.prompt) + len(sequence.answer) + new_tokens
        if max_length is not None and length > max_length:
            too_long.append((name, length))
        if n_rows is None:
            continue
        beyond = [token for token in (*sequence.prompt, *sequence.answer) if token >= n_rows]
        if beyond:
            raise InputError(
                f"{name}: token {beyond[0]} has no row in {model}'s embedding of {n_rows}; is the tokenizer "
                "this model's? Added tokens need model.resize_token_embeddings(len(tokenizer))"
            )
    if too_long:
        name, length = too_long[0]
        written = f", {new_tokens} of them new," if new_tokens else ""
        more = f", and {len(too_long) - 1} more" if len(too_long) > 1 else ""
        raise InputError(
            f"{name}: {length} tokens{written} do not fit {model}'s context of {max_length}{more}; "
            "shorten the text, the system message or the answer, or take a model with a longer context"
        )


def _messages(user: str, system: str | None = None) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": user}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def _spaced(answer: str, is_chat: bool) -> str:
    """An answer as it follows the prompt: after "Answer:" there is a space first."""
    if not answer or is_chat:
        return answer
    return f" {answer}"


def _options(prompt: Prompt, text: str, encoding: Any) -> tuple[tuple[int, int], ...] | None:
    """(start, stop) of the tokens that hold a part of an option; None where text or tokenizer do not tell."""
    if not prompt.options:
        return ()
    user = text.rfind(prompt.user.strip())  # which templates trim
    if encoding is None or user < 0:
        return None
    user -= len(prompt.user) - len(prompt.user.lstrip())
    # The offsets of all would be a list of tuples.
    tokens, chars = range(len(encoding)), encoding.token_to_chars
    return tuple(
        (
            bisect_right(tokens, user + start, key=lambda token: chars(token)[1]),
            bisect_left(tokens, user + stop, key=lambda token: chars(token)[0]),
        )
        for start, stop in prompt.options
    )
