"""Prompts and texts as tokens, as the model's chat template and tokenizer define them.

No model is needed here. Tokenizers differ, so each assumption about one is tested: whether it puts
a space before the first word, and whether an answer merges with the last letter of the prompt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

from interp_culture.engine.chat_template import ChatTemplate
from interp_culture.engine.markup import Encoded, Markup, Tokens
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import TokenSequence

Encode = Callable[[Sequence[str]], list[Encoded]]

# Put before an answer that merges with its prompt; the first that it does not merge with is used.
SEAMS = ("\n", ":", ".", "x")


@dataclass(frozen=True)
class ChatFormat:
    """How a tokenizer turns prompts and texts into tokens.

    Attributes:
        tokenizer: a Hugging Face tokenizer, which is not changed.
        name: the model's name, for messages.
    """

    tokenizer: Any
    name: str

    def tokenise_all(self, prompts: Sequence[Prompt]) -> list[TokenSequence]:
        """Prompts and their answers as tokens; see `LanguageModel.tokenise_all`."""
        plain: dict[int, Prompt] = {}
        marked: dict[int, Prompt] = {}
        for place, prompt in enumerate(prompts):
            if self.markup_in(*prompt.words):
                marked[place] = self._markup.hide_in(prompt)
            else:
                plain[place] = prompt
        plain_sequences = self._sequences(list(plain.values()), self._encode)
        marked_sequences = self._sequences(list(marked.values()), self._markup.encode)
        by_place = dict(zip(plain, plain_sequences, strict=True))
        by_place |= zip(marked, marked_sequences, strict=True)
        return [by_place[place] for place in range(len(prompts))]

    def tokenise_texts(self, texts: Sequence[str]) -> list[TokenSequence]:
        """Plain texts as the tokenizer itself encodes them: with its BOS, without a final EOS."""
        encoded = []
        for text in texts:
            if self.markup_in(text):
                encoded += self._markup.encode([self._markup.hide(text)])
            else:
                encoded += self._encode([text])
        return [TokenSequence(self._prefix + tokens) for tokens, _ in encoded]

    def answers_after(self, prompt: Prompt, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text as it would follow the rendered prompt."""
        encode, prompt = self._encoder_of(prompt)
        prompt_tokens, whole_texts = self._continued(prompt, texts, encode)
        return [
            self._following(prompt_tokens, tokens, text, encode)
            for tokens, text in zip(whole_texts, texts, strict=True)
        ]

    def follow_on(self, prompt: Prompt, texts: Sequence[str]) -> list[bool]:
        """Whether the tokens of the prompt stay as they are when each text follows it."""
        encode, prompt = self._encoder_of(prompt)
        prompt_tokens, whole_texts = self._continued(prompt, texts, encode)
        return [tokens[: len(prompt_tokens)] == prompt_tokens for tokens in whole_texts]

    def render(self, prompt: Prompt) -> str:
        """The text up to where the answer begins, without the BOS that the tokenizer adds."""
        return self._template.render(prompt)

    def markup_in(self, *texts: str | None) -> list[str]:
        """The control tokens of the tokenizer in these texts, each once."""
        return self._markup.find(*texts)

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer, self.name)

    @cached_property
    def _markup(self) -> Markup:
        return Markup(self.tokenizer, self.name)

    def _encoder_of(self, prompt: Prompt) -> tuple[Encode, Prompt]:
        """The encoder for a prompt, and the prompt with its control tokens hidden if it has any."""
        if self.markup_in(*prompt.words):
            return self._markup.encode, self._markup.hide_in(prompt)
        return self._encode, prompt

    def _continued(
        self, prompt: Prompt, texts: Sequence[str], encode: Encode
    ) -> tuple[Tokens, list[Tokens]]:
        """The tokens of the rendered prompt, and those of the prompt followed by each text."""
        rendered = self.render(prompt)
        first, *others = encode([rendered, *(rendered + text for text in texts)])
        return first[0], [tokens for tokens, _ in others]

    def _sequences(self, prompts: Sequence[Prompt], encode: Encode) -> list[TokenSequence]:
        if not prompts:
            return []
        texts = [self.render(prompt) for prompt in prompts]
        answers = [self._spaced(prompt.answer) for prompt in prompts]
        whole_texts = [text + answer for text, answer in zip(texts, answers, strict=True)]
        # One call for all texts, since a fast tokenizer spreads them over the cores.
        encoded = encode([*texts, *whole_texts])
        # A template writes the BOS itself.
        prefix = () if self._template.exists else self._prefix
        sequences = []
        for i, prompt in enumerate(prompts):
            prompt_tokens, encoding = encoded[i]
            whole_tokens, _ = encoded[len(prompts) + i]
            answer = self._following(prompt_tokens, whole_tokens, answers[i], encode)
            options = _option_tokens(prompt, texts[i], encoding, len(prefix))
            sequences.append(TokenSequence(prefix + prompt_tokens, answer, options))
        return sequences

    def _spaced(self, answer: str) -> str:
        """The answer as it follows the prompt: with a space in front, after a plain "Answer:"."""
        if not answer or self._template.exists:
            return answer
        return f" {answer}"

    def _following(self, prompt: Tokens, whole: Tokens, text: str, encode: Encode) -> Tokens:
        """The tokens of `text`, from the tokens of the prompt and those of the prompt with `text`.

        Where the two merge, `whole` changes the prompt's last token, which the model does not read.
        Then the text is encoded by itself, without the space that the tokenizer would add.
        """
        if whole[: len(prompt)] == prompt:
            return whole[len(prompt) :]
        if self._adds_no_space:
            return encode([text])[0][0]
        for seam in SEAMS:
            (seam_tokens, _), (joined, _) = encode([seam, seam + text])
            if joined[: len(seam_tokens)] == seam_tokens:
                return joined[len(seam_tokens) :]
        return encode([text])[0][0]

    @cached_property
    def _adds_no_space(self) -> bool:
        """Whether a word has the same tokens at the beginning of a text and after a line break."""
        (line, _), (alone, _), (both, _) = self._encode(["\n", "a", "\na"])
        return both == line + alone

    @cached_property
    def _prefix(self) -> Tokens:
        """The tokens that the tokenizer puts before a text: its BOS, if it adds any."""
        # `bos_token_id` would not do: a tokenizer may have a BOS and not add it.
        framed = tuple(self.tokenizer("a").input_ids)
        plain = tuple(self.tokenizer("a", add_special_tokens=False).input_ids)
        for start in range(len(framed) - len(plain) + 1):
            if framed[start : start + len(plain)] == plain:
                return framed[:start]
        return ()

    def _encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text as tokens, without special ones; equal texts are encoded once."""
        unique = list(dict.fromkeys(texts))
        batch = self.tokenizer(unique, add_special_tokens=False)
        tokens = map(tuple, batch.input_ids)
        # A slow tokenizer has no encodings.
        pairs = zip(tokens, batch.encodings or repeat(None), strict=False)
        by_text = dict(zip(unique, pairs, strict=True))
        return [by_text[text] for text in texts]


def _option_tokens(
    prompt: Prompt, text: str, encoding: Any, shift: int
) -> tuple[tuple[int, int], ...] | None:
    """(start, stop) of the tokens that contain a part of each option, moved by `shift`.

    None where the options cannot be located: the template changes the user's text, or the tokenizer
    does not say which characters its tokens stand for.
    """
    if not prompt.options:
        return ()
    # The last occurrence, since a system message before it may contain the same words.
    stripped = text.rfind(prompt.user.strip())  # templates may strip the user's text
    if encoding is None or stripped < 0:
        return None
    n_leading = len(prompt.user) - len(prompt.user.lstrip())
    user = stripped - n_leading
    tokens = range(len(encoding))
    # Bisection asks for a few tokens' characters; `encoding.offsets` would build a list of all.
    characters = encoding.token_to_chars
    spans = []
    for start, stop in prompt.options:
        first = bisect_right(tokens, user + start, key=lambda token: characters(token)[1])
        last = bisect_left(tokens, user + stop, key=lambda token: characters(token)[0])
        spans.append((first + shift, last + shift))
    return tuple(spans)
