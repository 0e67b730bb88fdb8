"""Who compares: anything that looks at pictures, reads a prompt and answers in words.

`RuleJudge` measures shapes, `TrainedJudge` has learnt from faults it was shown, `HttpJudge` asks a vision model,
`CallableJudge` is a function of yours, and `UnreliableJudge` adds the faults of language models to any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from labelwise.audit.critic.projections import Floats
from labelwise.audit.critic.prompts import COMPARE, DESCRIBE, QUALITY, read_header

Images = Sequence[Floats]


class Turn(NamedTuple):
    """An earlier message of a conversation: ``images`` (3, H, W) of 0 to 1 each, what was asked and answered."""

    images: Images
    text: str
    answer: str


class Judge(Protocol):
    """Answers a question about pictures."""

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """Answer in words. images: (3, H, W) of 0 to 1 each; history: earlier turns of the same conversation."""


class CallableJudge:
    """A judge from a function ``(images, text, history) -> answer``."""

    def __init__(self, function: Callable[[Images, str, Sequence[Turn]], str]) -> None:
        self.function = function

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """What the function says."""
        return str(self.function(images, text, history or ()))


class UnreliableJudge:
    """A judge with the faults of language models: position bias and answers that decide nothing.

    In a share ``always_first`` of the comparisons it says "Overlay 1" whatever is shown, in a share ``undecided`` of
    comparisons and single checks it does not decide; otherwise ``judge`` answers. Draws come from ``rng``.
    """

    def __init__(
        self, judge: Judge, rng: np.random.Generator, *, always_first: float = 0.15, undecided: float = 0.1
    ) -> None:
        self.judge, self.rng, self.always_first, self.undecided = judge, rng, always_first, undecided

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """The judge's answer, or a faulty one."""
        task = read_header(text).task
        if task not in (COMPARE, QUALITY):
            return self.judge.ask(images, text, history)
        draw = self.rng.random()
        if task == COMPARE and draw < self.always_first:
            return "Overlay 1"
        if 1 - draw < self.undecided:
            return "Neither"
        return self.judge.ask(images, text, history)


def shown_pair(images: Images, history: Sequence[Turn] | None) -> tuple[Floats, Floats]:
    """Overlays 1 and 2 of a comparison, the first of which may have been shown a message ago."""
    earlier = [image for turn in history or () if read_header(turn.text).task == DESCRIBE for image in turn.images]
    shown = [*earlier, *images]
    return shown[0], shown[1]


def red_pixels(image: Floats) -> np.ndarray:
    """Where an overlay (3, H, W) is red, (H, W) bool: its red differs from its green by half a step of 256 or more."""
    return np.asarray(image[0] - image[1] > 0.5 / 255)
