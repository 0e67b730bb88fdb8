"""What a judge's words mean: verdicts of comparisons and of single labels, and two answers combined.

Bassi et al., ISBI 2025. A verdict on two labels is 1 (the first is better), 2 (the second) or 0.5 (undecided); on one
label 1 (good), 0 (bad) or 0.5. What cannot be read as a verdict is undecided.
"""

from __future__ import annotations

import re

FIRST, SECOND, UNDECIDED = 1, 2, 0.5
GOOD, BAD = 1, 0
BARE_VERDICTS = ("overlay 1", "overlay 2", "neither", "good annotation", "bad annotation")


def parse_comparison(text: str) -> float:
    """1 where an answer names Overlay 1 alone, 2 where Overlay 2 alone, else 0.5; upper and lower case are the same."""
    words = text.lower()
    names_first, names_second = "overlay 1" in words, "overlay 2" in words
    if names_first == names_second:
        return UNDECIDED
    return FIRST if names_first else SECOND


def parse_quality(text: str) -> float:
    """1 for "good annotation", else 0 for "bad annotation"; 0.5 for neither and for any answer with a "not"."""
    words = text.lower()
    if " not " in words:
        return UNDECIDED
    if "good annotation" in words:
        return GOOD
    return BAD if "bad annotation" in words else UNDECIDED


def parse_yes_no(text: str, name: str, default: bool = True) -> bool:
    """The last "``name``: yes" or "``name``: no" of an answer; ``default`` where there is none."""
    found = re.findall(rf"\b{re.escape(name)}\W*:\W*(yes|no)\b", text, flags=re.IGNORECASE)
    return found[-1].lower() == "yes" if found else default


def is_bare(text: str) -> bool:
    """Whether an answer is a verdict and nothing else, so that it need not be summarised."""
    return text.strip().strip("\"'.*").lower() in BARE_VERDICTS


def combine_dual(answer_a: str, answer_b: str, conservative: bool = False) -> tuple[float, tuple[float, float]]:
    """Verdict from an answer and one given with the two images swapped, and what each of the two says.

    In the second answer 1 means that the second label is better, so answers that agree in number follow the position,
    not the label: undecided. Lenient: where one answer is undecided the other counts. Conservative: both must be
    decided. Dual confirmation, Bassi et al., ISBI 2025.
    """
    given, swapped = parse_comparison(answer_a), parse_comparison(answer_b)
    return combine_verdicts(given, swapped, conservative), (given, swapped)


def combine_verdicts(given: float, swapped: float, conservative: bool = False) -> float:
    """The rule of `combine_dual` on verdicts."""
    if given == swapped:
        return UNDECIDED
    if UNDECIDED not in (given, swapped):
        return given
    if conservative:
        return UNDECIDED
    return given if swapped == UNDECIDED else invert(swapped)


def invert(verdict: float) -> float:
    """The same verdict with the two labels named the other way round."""
    return verdict if verdict == UNDECIDED else FIRST + SECOND - verdict
