"""Pictures, masks and judges whose verdicts are known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.critic.critic import LabelCritic
from labelwise.audit.critic.judges import CallableJudge, Images, Turn, red_pixels, shown_pair
from labelwise.audit.critic.prompts import COMPARE, QUALITY, read_header
from labelwise.audit.critic.views import Drawing

GREY = np.full((20, 30), 0.5)


def box(top: int, left: int, bottom: int, right: int, shape: tuple[int, ...] = GREY.shape) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[..., top:bottom, left:right] = True
    return mask


TRUTH = box(5, 5, 15, 25)


def critic_of(judge: object, **options: object) -> LabelCritic:
    """Compares all that differ, and draws pixel by pixel."""
    fixed = {"drawing": Drawing(size=None), "dice_threshold": None}
    return LabelCritic(judge, **(fixed | options))  # type: ignore[arg-type]


def quality(image: NDArray[np.floating], truth: NDArray[np.bool_] = TRUTH) -> float:
    red = red_pixels(image)
    return 2 * float((red & truth).sum()) / float(red.sum() + truth.sum())


def perfect(truth: NDArray[np.bool_] = TRUTH, good: float = 0.8) -> CallableJudge:
    """Knows the truth of pictures that are drawn pixel by pixel."""

    def answer(images: Images, text: str, history: Sequence[Turn]) -> str:
        task = read_header(text).task
        if task == COMPARE:
            first, second = (quality(image, truth) for image in shown_pair(images, history))
            return "Neither" if first == second else "Overlay 1" if first > second else "Overlay 2"
        if task == QUALITY:
            return "good annotation" if quality(images[-1], truth) >= good else "bad annotation"
        return "present: yes"

    return CallableJudge(answer)


class Scripted:
    """Answers each task by what it was told, and keeps what it was asked."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int, str, int]] = []  # task, pictures, text, earlier turns

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        task = read_header(text).task
        self.asked.append((task, len(images), text, len(history or ())))
        return self.answers[task.replace(" ", "_")]

    @property
    def tasks(self) -> list[str]:
        return [task for task, *_ in self.asked]
