"""What all judges share, and the faults that are added to one."""

import numpy as np
import pytest

from labelwise.audit.critic import CallableJudge, Turn, UnreliableJudge
from labelwise.audit.critic.judges import red_pixels, shown_pair
from labelwise.audit.critic.prompts import PLAIN, compare_text, describe_text, quality_text, region_text

from .judging import Scripted

DARK, BRIGHT = np.zeros((3, 2, 2)), np.ones((3, 2, 2))


def test_unreliable_answers_come_at_their_rates() -> None:
    reliable = Scripted(compare="Overlay 2", quality="good annotation", region="present: no")
    judge = UnreliableJudge(reliable, np.random.default_rng(0))
    said = [judge.ask([], compare_text("liver", "")) for _ in range(4000)]
    assert said.count("Overlay 1") / 4000 == pytest.approx(0.15, abs=0.02)
    assert said.count("Neither") / 4000 == pytest.approx(0.1, abs=0.02)
    checks = [judge.ask([], quality_text("liver", "")) for _ in range(4000)]
    assert checks.count("Neither") / 4000 == pytest.approx(0.1, abs=0.02)
    assert "Overlay 1" not in checks
    assert judge.ask([], region_text("liver", PLAIN)) == "present: no"


def test_the_pair_may_be_shown_one_after_the_other() -> None:
    told = Turn([DARK], describe_text("liver", ""), "fine")
    example = Turn([DARK], quality_text("liver", ""), "good annotation")
    for images, history in [([DARK, BRIGHT], None), ([BRIGHT], [told]), ([BRIGHT], [example, told])]:
        first, second = shown_pair(images, history)
        assert first is DARK
        assert second is BRIGHT


def test_red_is_what_differs_by_half_a_step() -> None:
    image = np.full((3, 1, 3), 0.5)
    image[1, 0] = [0.5, 0.5 - 0.4 / 255, 0.5 - 0.6 / 255]
    assert red_pixels(image).tolist() == [[False, False, True]]


def test_a_function_is_told_all() -> None:
    judge = CallableJudge(lambda images, text, history: f"{len(images)} {text} {len(history)}")
    assert judge.ask([DARK], "what?") == "1 what? 0"
