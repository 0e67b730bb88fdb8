"""Volumes with rival masks, and judges that know the truth."""

from collections.abc import Sequence

import numpy as np

from labelwise.audit.critic import CallableJudge, Drawing, LabelCritic, Turn
from labelwise.audit.critic.judges import red_pixels, shown_pair
from labelwise.audit.critic.prompts import COMPARE, DESCRIBE, REGION, read_header

PLAIN = Drawing(size=None)


def box_mask(*bounds: tuple[int, int], shape: tuple[int, ...] = (12, 6, 16)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*each) for each in bounds)] = True
    return mask


def volume(shape: tuple[int, ...] = (12, 6, 16)) -> np.ndarray:
    return np.random.default_rng(0).normal(50, 20, shape)


def perfect_judge(truth: np.ndarray, asked: list[str] | None = None) -> CallableJudge:
    """Compares what is red with the true region (H, W) by their Dice, and says so at length."""

    def dice(image: np.ndarray) -> float:
        red = red_pixels(image)
        return 2 * (red & truth).sum() / max(red.sum() + truth.sum(), 1)

    def answer(images: Sequence[np.ndarray], text: str, history: Sequence[Turn]) -> str:
        task = read_header(text).task
        if asked is not None:
            asked.append(task)
        if task == REGION:
            return "The ribs are in view.\npresent: yes"
        if task == DESCRIBE:
            return "It looks odd."
        if task == COMPARE:
            first, second = (dice(image) for image in shown_pair(images, history))
            return "Neither" if first == second else f"Overlay {1 if first > second else 2}"
        return "good annotation" if dice(images[-1]) >= 0.8 else "bad annotation"

    return CallableJudge(answer)


def critic(judge: object, **options: object) -> LabelCritic:
    return LabelCritic(judge, **{"drawing": PLAIN, "dice_threshold": None, **options})  # type: ignore[arg-type]
