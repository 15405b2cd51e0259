"""The terms of a report, each with its definition, and their links in a text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from interp_culture.stats import LEVEL

TERMS = {
    "P+": "How strongly the model prefers the positive pole of an axis, from 0 to 1: the sigmoid "
    "of the logit difference. With the continuation readout, P+ is a score on this scale, not a "
    "probability of choosing.",
    "logit difference": "The score of the positive pole minus that of the negative pole. With the "
    "letters readout: the logits of the two option letters, averaged over both orders. With the "
    "continuation readout: the mean log-probability per token of the words of each option.",
    "alpha": "The strength of steering: alpha times the steering vector of an axis is added to the "
    "residual stream at the steered layers. A negative alpha steers toward the negative pole.",
    "D": "The change of the mean P+ of an axis per unit of alpha, from both signs of the largest "
    "alpha: (effect at +alpha − effect at −alpha) / (2 alpha).",
    "gain": "The change of the mean P+ of an axis per unit of alpha on the steered axis, for small "
    "alpha: the dot product of the steering vector with the gradient of the mean P+.",
    "random-vector band": "The range of 95% of the effects of random vectors that have the norm of "
    "the steering vector and are added at the same layers: 0 plus or minus their root mean square "
    "times Student's t. An effect is beyond random vectors if it is outside the band "
    f"(p ≤ {LEVEL}).",
    "planted coupling": "A positive control: a coupling of known size that we write into a copy of "
    "the model and then look for. If it is found, a coupling of this size that is not found in the "
    "plain model is not there.",
    "entanglement ratio": "How far the other axis moves, compared with the steered axis: "
    "min(1, |D of the other axis| / |D of the steered axis|). Random vectors can give a large "
    "ratio too, so the ratio alone shows no coupling. It is not defined if the 95% interval of the "
    "steered axis' own D includes 0.",
    "coupling": "Axis B is coupled to axis A if steering A changes A and B, both with 95% "
    "intervals that exclude 0, and if the change of B is beyond random vectors. Both tests of B "
    "are adjusted for the number of pairs of axes (Benjamini and Hochberg).",
    "readout": "The way a choice is read from the model: from the logits of the two option letters "
    "(letters), or from the log-probability of the words of each option (continuation).",
    "validity": "Whether a readout works on this model: it has to find the right answer on control "
    "items that have one by plain fact or common sense. A preference for a letter that the mean of "
    "both orders cancels is a caution and no failure.",
    "answer prefix": "The words with which the model's answer begins, before the letter that is "
    "read. A study chooses them on one half of the control items and checks them on the other.",
}

# The words without which the findings cannot be read, for a page and for a terminal.
READING_NOTE = (
    "P+ is the model's preference for the positive pole of an axis, from 0 to 1; 0.5 is no "
    "preference. alpha is the strength of steering. Brackets hold 95% intervals. The random-vector "
    "band is the range of 95% of the effects of random vectors with the same norm; an effect is "
    f"beyond random vectors if hardly any of them has one as large (p ≤ {LEVEL})."
)

# Case counts, since "D" and "P+" are symbols; "ΔP+" is another quantity and stays unmarked.
# Longest first, so that "logit difference" is not cut at a shorter term.
_TERM = re.compile(
    "|".join(rf"(?<!\w){re.escape(term)}(?!\w)" for term in sorted(TERMS, key=len, reverse=True))
)


def anchor(term: str) -> str:
    """The id of a term's entry in the glossary.

    >>> anchor("logit difference"), anchor("P+")
    ('term-logit-difference', 'term-p')
    """
    words = re.findall(r"\w+", term.lower())
    return "-".join(["term", *words])


def term_link(term: str) -> Markup:
    """A term with its definition on hover and a link to the glossary."""
    return Markup('<a class="term" href="#{}" title="{}">{}</a>').format(
        anchor(term), TERMS[term], term
    )


def mark_terms(texts: Sequence[str]) -> list[Markup]:
    """The texts as HTML, the first use of each term in them linked to the glossary.

    >>> mark_terms(["alpha < 1", "alpha"])[1]
    Markup('alpha')
    """
    marked = []
    seen: set[str] = set()
    for text in texts:
        # Pieces are escaped one by one: names of models and items come from the user.
        parts = []
        end = 0
        for match in _TERM.finditer(text):
            if match.group() in seen:
                continue
            seen.add(match.group())
            parts += [escape(text[end : match.start()]), term_link(match.group())]
            end = match.end()
        marked.append(Markup("").join([*parts, escape(text[end:])]))
    return marked
