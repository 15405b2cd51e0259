"""The chat template of a tokenizer: it turns a prompt into the text that the model reads.

A template is a program that comes with the checkpoint. What it does with a system message and with
a user's message is therefore tested with marker words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from interp_culture.engine.prompt import Prompt, Thinking
from interp_culture.errors import InputError

# Marker words that no template contains: they show what a template does with a message.
SYSTEM_MARKER = "zqsystem"
USER_MARKER = "zquser"
THINK = "<think>"
THINK_END = "</think>"


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer, or a plain question format where there is no template.

    Attributes:
        tokenizer: a Hugging Face tokenizer, which is not changed.
        name: the model's name, for messages.
    """

    tokenizer: Any
    name: str

    @property
    def exists(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(self.tokenizer.chat_template)

    def render(self, prompt: Prompt) -> str:
        """The text up to where the answer begins, without the BOS that the tokenizer adds itself.

        A blank system message counts as none. Without a system role in the template the system
        message is put before the user's text. The answer prefix comes last, as it is; after a plain
        "Answer:" it has a space before it, as an answer has.
        """
        asked = self._asked(prompt)
        return asked + self._think_block(asked, prompt.thinking) + self._begun(prompt)

    def _asked(self, prompt: Prompt) -> str:
        """The text up to the beginning of the assistant's turn."""
        system = prompt.system if prompt.system and prompt.system.strip() else None
        thinks = prompt.thinking == "open"
        if not self.exists:
            preamble = f"{system}\n\n" if system else ""
            return f"{preamble}{prompt.user}\nAnswer:"
        if system is None:
            return self._apply(_messages(prompt.user), thinks)
        if self._has_system_role:
            return self._apply(_messages(prompt.user, system), thinks)
        return self._apply(_messages(f"{system}\n\n{prompt.user}"), thinks)

    def _think_block(self, asked: str, thinking: Thinking) -> str:
        """What opens or closes the think block after the text of the template.

        Templates begin the answer in three ways: with no block, an open one, or a closed one.
        """
        if thinking == "template":
            return ""
        if THINK_END not in str(self.tokenizer.chat_template or ""):
            raise InputError(
                f"think: the chat template of {self.name} has no think tags ({THINK}, "
                f"{THINK_END}); leave think out for a model that does not think"
            )
        begun = asked.rstrip()
        if thinking == "open":
            return "" if begun.endswith(THINK) else f"{THINK}\n"
        if begun.endswith(THINK_END):
            return ""
        if begun.endswith(THINK):
            return f"\n{THINK_END}\n\n"
        return f"{THINK}\n\n{THINK_END}\n\n"

    def _begun(self, prompt: Prompt) -> str:
        """The answer prefix as it stands in the assistant's turn."""
        if not prompt.prefix or self.exists:
            return prompt.prefix
        return f" {prompt.prefix}"

    @cached_property
    def _has_system_role(self) -> bool:
        try:
            text = self._apply(_messages(USER_MARKER, SYSTEM_MARKER))
        except InputError:
            return False
        # Gemma 2's template raises an error for a system role; others leave the message out.
        return SYSTEM_MARKER in text.lower() and USER_MARKER in text.lower()

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether a message's content is a list of parts, as for multimodal models, and not text.

        Raises InputError for a template that shows the user's message in neither form.
        """
        failures = []
        for as_parts in (False, True):
            try:
                text = self._run(_messages(USER_MARKER), as_parts)
            except Exception as error:  # a template is a program, which may raise anything
                failures.append(f"{type(error).__name__}: {error}")
            else:
                # A template that loops over parts shows nothing of a text.
                if USER_MARKER in text.lower():
                    return as_parts
        reason = failures[0] if failures else "it leaves out the user's message"
        raise InputError(
            f"the chat template of {self.name} does not work ({reason}); set "
            "tokenizer.chat_template to one that does, or to None to read the model without a "
            "chat format"
        )

    def _apply(self, messages: list[dict[str, str]], thinks: bool = False) -> str:
        as_parts = self._takes_parts
        try:
            return self._run(messages, as_parts, thinks)
        except Exception as error:  # a template is a program, which may raise anything
            raise InputError(
                f"the chat template of {self.name} does not accept this message: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _run(self, messages: list[dict[str, str]], as_parts: bool, thinks: bool = False) -> str:
        conversation: Any = messages
        if as_parts:
            conversation = [
                {**message, "content": [{"type": "text", "text": message["content"]}]}
                for message in messages
            ]
        return self.tokenizer.apply_chat_template(
            conversation,
            tokenize=False,
            add_generation_prompt=True,
            # Llama's template prints today's date, which would change the numbers from day to day.
            date_string="26 Jul 2024",
            # By default Qwen3 would think, and the answer would not come first.
            enable_thinking=thinks,
        )


def _messages(user: str, system: str | None = None) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": user}]
    if system is None:
        return messages
    return [{"role": "system", "content": system}, *messages]
