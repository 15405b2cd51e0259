"""Lettered choices within the text of a question: found in their usual spellings, told apart from what surrounds them.

Choices stand at the beginnings of lines, or on one line after the question. A marker is a letter or a
number: in brackets of any width, "(A)", "（A）", "[a]", "(1)", or before a bracket, full stop or colon,
"A)", "A.", "A:". All choices of a question have the same kind of marker.

A choice ends at the first blank line. The last choice is one line long if all others are. What follows
it, an instruction or the beginning of the answer, is no part of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from interp_culture.scenarios.wording import comparable

CLOSING = r"[)）\]】]"
AFTER = r"[.:．：、]"
BRACKETED = rf"[(（\[【][ \t]*({{kind}})[ \t]*{CLOSING}{AFTER}?"
# Without an opening bracket a marker needs white space after it: "A.M." and "3.5" are no markers.
BARE = rf"(?:Option[ \t]+)?({{kind}})(?:{CLOSING}{AFTER}?|{AFTER})(?=\s)"
KINDS = ("[A-ZＡ-Ｚ]", "[a-z]", r"\d{1,2}")

# "Choices:", "_Answer choices:_", "-- OPTIONS: (A) ...", or the word alone on its line.
ORNAMENT = r"[-=*_#>« \t]*"
HEADING = re.compile(
    rf"^{ORNAMENT}(?:[a-z]+[ \t]+)?(?:choices|options|answers)(?:[ \t]*[:：]{ORNAMENT}|{ORNAMENT}$)",
    re.I | re.M,
)
LINE_START = r"^[ \t]*"
# On one line a choice follows the end of a sentence, a heading, or another choice with or without a separator.
SENTENCE_END = re.compile(r"(?:\A|[\n.?!:：。？！…\"'”’)])[ \t]*\Z")
SEPARATOR = re.compile(r"[ \t]*(?:[/|;,]|[/|;,]?[ \t]*\bor)[ \t]*\Z")
# What a prompt for completion ends in. Left in, it would cling to the last choice and tell one pole from the other.
CUE = re.compile(
    r"\s+(?:(?:the|my|your)[ \t]+)?(?:answer|response|reply|choice|assistant|ai|human|user)(?:[ \t]+is)?"
    r"[ \t]*[:：][ \t]*[(（]?\s*\Z",
    re.I,
)
# A last line with an open bracket waits for a letter, whatever it says.
OPEN_LINE = re.compile(r"(?:\n[^\n]*)?[(（]\s*\Z")
RULE = re.compile(r"\n[-=*_ \t]{2,}\s*\Z")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
STRAY_BRACKET = re.compile(r"(?<=\w)[)）]\Z")


@dataclass(frozen=True)
class Choice:
    """One choice of a question: its label as it is compared ("A", "a", "1") and its words."""

    label: str
    text: str


@dataclass(frozen=True)
class LetteredQuestion:
    """A question apart from its choices, in the order in which they stand."""

    situation: str
    choices: tuple[Choice, ...]
    # A paragraph between two choices: where the first of them ends cannot be told.
    has_loose_text: bool = False

    @property
    def labels(self) -> list[str]:
        return [choice.label for choice in self.choices]


def readings(question: str) -> Iterator[LetteredQuestion]:
    """Every way in which the text is a question with two or more choices, the surest spelling of markers first.

    >>> next(readings("Shall we go?\\n(A) Yes\\n(B) No\\n\\nAnswer: (")).choices
    (Choice(label='A', text='Yes'), Choice(label='B', text='No'))
    """
    text = without_cue(question)
    for spelling in (BRACKETED, BARE):
        for kind in KINDS:
            marker = spelling.replace("{kind}", kind)
            marks = _at_lines(text, marker, ordered=spelling is BARE) or _on_one_line(text, marker)
            if marks:
                yield _apart(text, marks)


def without_cue(question: str) -> str:
    """A question without the beginning of an answer at its end ("Answer:", "Assistant: (")."""
    return CUE.sub("", question.replace("\r\n", "\n"))


def label_of(text: str) -> str:
    """A label without what surrounds it: "Ａ" and "A" are the same."""
    return unicodedata.normalize("NFKC", text).strip()


def named_choice(question: LetteredQuestion, answer: str) -> Choice | None:
    """The choice that an answer names by its label ("A", "(A)", "A.", "(A) Yes") or by its words ("Yes")."""
    bare = unicodedata.normalize("NFKC", answer).strip()
    named = re.fullmatch(r"(?:[(\[][ \t]*)?(\w{1,2})(?:[)\].:,]*)(?:\s+(.+))?", bare, re.DOTALL)
    by_label = [c for c in question.choices if named and c.label.casefold() == named[1].casefold()]
    if by_label and (
        not named or named[2] is None or comparable(named[2]) == comparable(by_label[0].text)
    ):
        return by_label[0]
    return next((c for c in question.choices if comparable(c.text) == comparable(answer)), None)


def is_label(answer: str) -> bool:
    """Whether an answer has the form of a choice's label: "(B)", " B", "b)", "(2)"."""
    return bool(re.fullmatch(r"[(\[]?[ \t]*(?:[A-Za-z]|\d{1,2})[ \t]*[)\].:]*", label_of(answer)))


def _apart(text: str, marks: list[re.Match[str]]) -> LetteredQuestion:
    starts = [m.start() for m in marks]
    words = [text[m.end() : end] for m, end in zip(marks, [*starts[1:], len(text)], strict=True)]
    paragraphs = [BLANK_LINE.split(w.strip()) for w in words]
    texts = [p[0] for p in paragraphs]
    texts[-1] = _last_choice(texts)
    choices = tuple(Choice(label_of(m[1]), _tidy(t)) for m, t in zip(marks, texts, strict=True))
    head = text[: starts[0]]
    heading = next(reversed(list(HEADING.finditer(head))), None)
    if heading and not head[heading.end() :].strip():
        head = head[: heading.start()]
    has_loose_text = any(len(p) > 1 for p in paragraphs[:-1])
    return LetteredQuestion(RULE.sub("", head).strip(), choices, has_loose_text)


def _at_lines(text: str, marker: str, *, ordered: bool) -> list[re.Match[str]]:
    """Markers at the beginnings of lines, or behind a slash or a heading on a line where another one stands."""
    marks = list(re.compile(rf"(?:{LINE_START}|(?<=[:：/|;])[ \t]*){marker}", re.M).finditer(text))
    headings = [
        h.end() for h in HEADING.finditer(text) if any(_follows(text, h.end(), m) for m in marks)
    ]
    # With two headings there are two questions, and one cannot tell which of them the answers are about.
    if len(headings) == 1:
        marks = [m for m in marks if m.start(1) >= headings[0]]
    in_order = [label_of(m[1]) for m in marks]
    if len(marks) < 2 or (ordered and not _is_sequence(in_order)):
        return []
    return marks


def _follows(text: str, heading_end: int, mark: re.Match[str]) -> bool:
    """Whether a marker stands directly behind a heading."""
    return heading_end <= mark.start(1) and not text[heading_end : mark.start(1)].strip(
        " \t\n([（【"
    )


def _on_one_line(text: str, marker: str) -> list[re.Match[str]]:
    """Markers in sequence on the last line that holds the first of them, behind the end of a sentence."""
    marks = list(re.compile(rf"(?<!\S){marker}").finditer(text))
    first = [i for i, m in enumerate(marks) if label_of(m[1]) in ("A", "a", "1")]
    if not first:
        return []
    marks = marks[first[-1] :]
    if len(marks) < 2 or not _is_sequence([label_of(m[1]) for m in marks]):
        return []
    if not SENTENCE_END.search(text[: marks[0].start()]):
        return []
    # "Is it (A) tea or (B) coffee?": part of a sentence, no list.
    if any(re.search(r"\b(?:or|and)\s*\Z", text[a.end() : b.start()]) for a, b in pairwise(marks)):
        return []
    return marks


def _is_sequence(labels: list[str]) -> bool:
    """Whether labels run A, B, C or 1, 2, 3 from the first on."""
    if labels[0] not in ("A", "a", "1"):
        return False
    codes = [int(x) if x.isdigit() else ord(x) for x in labels]
    return all(b == a + 1 for a, b in pairwise(codes))


def _last_choice(texts: list[str]) -> str:
    """The last choice without what follows it: it has more than one line only if another choice has."""
    text = OPEN_LINE.sub("", texts[-1])
    if any("\n" in other.strip() for other in texts[:-1]):
        return text
    return text.strip().partition("\n")[0]


def _tidy(text: str) -> str:
    """A choice's words without a separator to the next one and without a bracket that nothing opens."""
    text = SEPARATOR.sub("", text.strip()).strip()
    if len(re.findall(r"[)）]", text)) > len(re.findall(r"[(（]", text)):
        text = STRAY_BRACKET.sub("", text)
    return text
