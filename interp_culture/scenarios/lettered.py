"""Lettered choices in the text of a question, in their usual spellings.

Choices stand at the beginnings of lines, or on one line after the question. A marker is a letter
or a number, either in brackets of any width, "(A)", "（A）", "[a]", "(1)", or before a bracket,
full stop or colon, "A)", "A.", "A:". All choices of a question have the same kind of marker.

A choice ends at the first blank line. The last choice is one line long if all others are. Text
after it, such as an instruction or the beginning of an answer, is not part of it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from interp_culture.scenarios.wording import comparable

CLOSING = r"[)）\]】]"
AFTER = r"[.:．：、]"
BRACKETED = rf"[(（\[【][ \t]*({{kind}})[ \t]*{CLOSING}{AFTER}?"
# Without an opening bracket, white space must follow: "A.M." and "3.5" are not markers.
BARE = rf"(?:Option[ \t]+)?({{kind}})(?:{CLOSING}{AFTER}?|{AFTER})(?=\s)"
# At most two digits, since "(1984)" is a year and not a label.
KINDS = ("[A-ZＡ-Ｚ]", "[a-z]", r"\d{1,2}")
FIRST_LABELS = ("A", "a", "1")

# "Choices:", "_Answer choices:_", "-- OPTIONS: (A) ...", or the word alone on its line.
ORNAMENT = r"[-=*_#>« \t]*"
HEADING = re.compile(
    rf"^{ORNAMENT}(?:[a-z]+[ \t]+)?(?:choices|options|answers)"
    rf"(?:[ \t]*[:：]{ORNAMENT}|{ORNAMENT}$)",
    re.I | re.M,
)
LINE_START = r"^[ \t]*"
# On one line, the first choice follows the end of a sentence or a heading.
SENTENCE_END = re.compile(r"(?:\A|[\n.?!:：。？！…\"'”’)])[ \t]*\Z")
# These patterns are tried once for each run of spaces, and give no space back ("*+"): otherwise a
# choice with thousands of spaces would take minutes.
SEPARATOR = re.compile(r"(?<![ \t])[ \t]*+(?:[/|;,]|[/|;,]?[ \t]*+\bor)[ \t]*\Z")
# The end of a completion prompt. If it stayed in the last choice, it would mark one pole.
CUE = re.compile(
    r"(?<!\s)\s+(?:(?:the|my|your)[ \t]+)?"
    r"(?:answer|response|reply|choice|assistant|ai|human|user)(?:[ \t]+is)?"
    r"[ \t]*[:：][ \t]*[(（]?\s*\Z",
    re.I,
)
# A last line that ends in an open bracket asks for a letter, whatever its words are.
OPEN_LINE = re.compile(r"(?:\n[^\n]*)?[(（]\s*\Z")
# A line such as "-----" between question and choices belongs to neither.
RULE = re.compile(r"\n[-=*_ \t]{2,}+\Z")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
STRAY_BRACKET = re.compile(r"(?<=\w)[)）]\Z")


@dataclass(frozen=True)
class Choice:
    """One choice of a question: its normalised label ("A", "a", "1") and its text."""

    label: str
    text: str


@dataclass(frozen=True)
class LetteredQuestion:
    """A question and its choices, in the order of the text.

    Attributes:
        has_loose_text: whether a paragraph stands between two choices, so that the end of the
            first of them is ambiguous.
    """

    situation: str
    choices: tuple[Choice, ...]
    has_loose_text: bool = False

    @property
    def labels(self) -> list[str]:
        """The labels of the choices, in the order of the text."""
        return [choice.label for choice in self.choices]


def readings(question: str) -> Iterator[LetteredQuestion]:
    """All ways to read the text as a question with two or more choices, the likeliest first.

    >>> next(readings("Shall we go?\\n(A) Yes\\n(B) No\\n\\nAnswer: (")).choices
    (Choice(label='A', text='Yes'), Choice(label='B', text='No'))
    """
    text = without_cue(question)
    # Brackets first: "A." may also be an initial, and "1." an item of a list in the question.
    for spelling in (BRACKETED, BARE):
        for kind in KINDS:
            marker = spelling.replace("{kind}", kind)
            marks = _at_lines(text, marker, ordered=spelling is BARE) or _on_one_line(text, marker)
            if marks:
                yield _split_question(text, marks)


def without_cue(question: str) -> str:
    """The question without the beginning of an answer at its end ("Answer:", "Assistant: (").

    >>> without_cue("Is it late?\\n\\nAnswer:")
    'Is it late?'
    """
    return CUE.sub("", question.replace("\r\n", "\n"))


def label_of(text: str) -> str:
    """A label in normal form: full-width and ordinary letters ("Ａ", "A") are the same."""
    return unicodedata.normalize("NFKC", text).strip()


def named_choice(question: LetteredQuestion, answer: str) -> Choice | None:
    """The choice that an answer names, or None.

    An answer names a choice by its label ("A", "(A)", "A.", "(A) Yes") or by its text ("Yes").
    """
    named = re.fullmatch(
        r"(?:[(\[][ \t]*)?(\w{1,2})(?:[)\].:,]*)(?:\s+(.+))?", label_of(answer), re.DOTALL
    )
    if named:
        label, text = named.groups()
        for choice in question.choices:
            if choice.label.casefold() != label.casefold():
                continue
            if text is None or comparable(text) == comparable(choice.text):
                return choice
            # "A dog" does not name choice A, but may be the text of a choice (compared below).
            break
    return next((c for c in question.choices if comparable(c.text) == comparable(answer)), None)


def is_label(answer: str) -> bool:
    """Whether an answer has the form of a choice's label: "(B)", " B", "b)", "(2)"."""
    return bool(re.fullmatch(r"[(\[]?[ \t]*(?:[A-Za-z]|\d{1,2})[ \t]*[)\].:]*", label_of(answer)))


def _split_question(text: str, marks: list[re.Match[str]]) -> LetteredQuestion:
    """The question before the first marker, and the text of the choice behind each marker."""
    starts = [m.start() for m in marks]
    ends = [*starts[1:], len(text)]
    bodies = [text[m.end() : end].strip() for m, end in zip(marks, ends, strict=True)]
    paragraphs = [BLANK_LINE.split(body) for body in bodies]
    texts = [first for first, *_ in paragraphs]
    texts[-1] = _last_choice(texts)
    choices = tuple(Choice(label_of(m[1]), _tidy(t)) for m, t in zip(marks, texts, strict=True))
    has_loose_text = any(len(p) > 1 for p in paragraphs[:-1])
    return LetteredQuestion(_without_heading(text[: starts[0]]), choices, has_loose_text)


def _without_heading(text: str) -> str:
    """The text before the choices, without a heading or a rule at its end."""
    headings = list(HEADING.finditer(text))
    if headings and not text[headings[-1].end() :].strip():
        text = text[: headings[-1].start()]
    return RULE.sub("", text.rstrip()).strip()


def _at_lines(text: str, marker: str, *, ordered: bool) -> list[re.Match[str]]:
    """Markers at the beginnings of lines, or behind a slash or a heading within a line."""
    marks = list(re.compile(rf"(?:{LINE_START}|(?<=[:：/|;])[ \t]*){marker}", re.M).finditer(text))
    heading_ends = [heading.end() for heading in HEADING.finditer(text)]
    mark_starts = [m.start(1) for m in marks]
    list_starts = [end for end in heading_ends if _leads_to_mark(text, end, mark_starts)]
    # Two headings mean two questions, and it is unclear which of them the answers belong to.
    if len(list_starts) == 1:
        marks = [m for m in marks if m.start(1) >= list_starts[0]]
    labels = [label_of(m[1]) for m in marks]
    # A bare "A." may be an initial, so bare labels must be in sequence.
    if len(marks) < 2 or (ordered and not _is_sequence(labels)):
        return []
    return marks


def _leads_to_mark(text: str, heading_end: int, mark_starts: list[int]) -> bool:
    """Whether a marker stands directly behind a heading."""
    after = mark_starts[bisect_left(mark_starts, heading_end) :][:1]
    return any(not text[heading_end:start].strip(" \t\n([（【") for start in after)


def _on_one_line(text: str, marker: str) -> list[re.Match[str]]:
    """Markers in sequence within running text, from the last first label ("A") on."""
    marks = list(re.compile(rf"(?<!\S){marker}").finditer(text))
    firsts = [i for i, m in enumerate(marks) if label_of(m[1]) in FIRST_LABELS]
    if not firsts:
        return []
    # The question itself may mention (A); its choices come after that.
    marks = marks[firsts[-1] :]
    if len(marks) < 2 or not _is_sequence([label_of(m[1]) for m in marks]):
        return []
    if not SENTENCE_END.search(text[: marks[0].start()]):
        return []
    # "Is it (A) tea or (B) coffee?" is part of a sentence, not a list of choices.
    between = [text[a.end() : b.start()] for a, b in pairwise(marks)]
    if any(re.search(r"\b(?:or|and)\s*\Z", words) for words in between):
        return []
    return marks


def _is_sequence(labels: list[str]) -> bool:
    """Whether labels run A, B, C or 1, 2, 3 from the first one on."""
    if labels[0] not in FIRST_LABELS:
        return False
    codes = [int(label) if label.isdigit() else ord(label) for label in labels]
    return all(b == a + 1 for a, b in pairwise(codes))


def _last_choice(texts: list[str]) -> str:
    """The last choice without the text behind it.

    It has more than one line only if another choice has.
    """
    text = OPEN_LINE.sub("", texts[-1])
    if any("\n" in other.strip() for other in texts[:-1]):
        return text
    return text.strip().partition("\n")[0]


def _tidy(text: str) -> str:
    """A choice without a separator at its end and without an unmatched closing bracket."""
    text = SEPARATOR.sub("", text.strip()).strip()
    # "(A) Yes (B) No)" leaves a bracket that belongs to the whole list.
    n_closing = len(re.findall(r"[)）]", text))
    n_opening = len(re.findall(r"[(（]", text))
    return STRAY_BRACKET.sub("", text) if n_closing > n_opening else text
