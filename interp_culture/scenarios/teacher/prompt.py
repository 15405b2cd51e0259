"""The prompt for a teacher model, with random cues that make every request different."""

from __future__ import annotations

import random
from collections.abc import Sequence

from interp_culture.artifacts.files import content_key
from interp_culture.scenarios.catalogue import Axis

SYSTEM = """\
You write short dilemmas for a study of values. You take no side: whatever people believe, you \
describe them fairly and give them good reasons. You answer with JSON and nothing else."""

TEMPLATE = """\
Write {count} dilemmas that all ask one question, each in another way.

The question: {label}
It is one question of an axis that leads from {negative!r} (the negative pole) to {positive!r} \
(the positive pole).{about}
The setting: {domain}

Each dilemma has three parts.
"situation": two to four sentences. Someone particular, in a particular place, has something to \
lose and must decide now. Say all that is needed to decide, but neither name the two options nor \
favour one.
"positive": what is done by a person who, on this question, stands at the pole {positive!r}.
"negative": what is done by a person who, on this question, stands at the pole {negative!r}.

Rules:
- The choice turns on this question alone; on every other question, those on the same axis \
included, the two options are equal.
- Decent people take either option for decent reasons. Neither sounds wiser, kinder or more modern \
than the other.
- Each option is one sentence of 9 to 20 words that says what is done. The two have the same \
grammatical form, and their lengths differ by {difference} words at most.
- Neither option is the other with a "not" added.
- The options do not use the names of the poles or the words of the question.
- People, ages, places, work and stakes vary; no two dilemmas have the same plot.
- No stereotype of a people, faith, sex, age or trade. No insult and no cruelty. No real person is \
named.

This time, lean towards: {cue}.{known}

Answer with one JSON object of this form:
{{"scenarios": [{{"situation": "...", "positive": "...", "negative": "..."}}]}}"""

# One of each kind is drawn per request: 9 * 8 * 8 * 5 = 2880 different cues.
CUES = {
    "who": (
        "somebody under twenty",
        "somebody over seventy",
        "a parent",
        "two people of equal standing",
        "a newcomer",
        "somebody who decides for a group",
        "somebody who lives alone",
        "two old friends",
        "a person with little money",
    ),
    "where": (
        "a village",
        "a large city",
        "a harbour",
        "the mountains",
        "a journey",
        "a suburb",
        "a farm",
        "a waiting room",
    ),
    "stake": (
        "money",
        "time",
        "a promise",
        "a friendship",
        "health",
        "a good name",
        "a place to live",
        "a rare chance",
    ),
    "form": (
        "told by name in the third person",
        "told in the first person",
        "told to the reader as 'you'",
        "opened by a spoken sentence",
        "opened by the moment of decision",
    ),
}

PROMPT = content_key([SYSTEM, TEMPLATE, CUES])
"""Digest of the wording, kept with every candidate."""

# The first words of the latest situations: enough to avoid them, too little to imitate them.
REMEMBERED = 12
FIRST_WORDS = 8


def teacher_messages(
    label: str,
    axis: Axis,
    domain: str,
    *,
    about: str,
    count: int,
    max_length_difference: int,
    known: Sequence[str],
    seed: int,
) -> list[dict[str, str]]:
    """The messages of one request for dilemmas on one item in one domain.

    Args:
        label: the item's label.
        about: what the item means, if the label alone is too short; else an empty string.
        count: number of dilemmas to ask for.
        max_length_difference: words by which the two options may differ.
        known: situations so far; the first words of the last twelve are named as to be avoided.
        seed: draws the cues.
    """
    text = TEMPLATE.format(
        count=count,
        label=label,
        negative=axis.negative,
        positive=axis.positive,
        about=f" In other words: {about}" if about else "",
        domain=domain,
        difference=max_length_difference,
        cue=_cue(seed),
        known=_beginnings(known),
    )
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def _cue(seed: int) -> str:
    rng = random.Random(seed)
    return "; ".join(rng.choice(cues) for cues in CUES.values())


def _beginnings(situations: Sequence[str]) -> str:
    if not situations:
        return ""
    lines = [f"- {' '.join(s.split()[:FIRST_WORDS])} ..." for s in situations[-REMEMBERED:]]
    return (
        "\n\nThere are dilemmas already that begin as follows. Write about other things:\n"
        + "\n".join(lines)
    )
