import numpy as np
import pytest

from labelwise.audit.critic import RuleJudge
from labelwise.audit.critic.rule_judge import EMPTY_LOSS, measure
from labelwise.errors import InputError

from .judging import critic_of

SHAPE = (12, 6, 16)
VOLUME = np.random.default_rng(0).normal(50, 20, SHAPE)


def box_mask(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*each) for each in bounds)] = True
    return mask


def region(*boxes: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    found = np.zeros((20, 30), dtype=bool)
    for rows, columns in boxes:
        found[slice(*rows), slice(*columns)] = True
    return found


def test_measures_by_hand() -> None:
    two = region(((2, 8), (2, 8)), ((10, 13), (20, 24)))
    shape = measure(two)
    assert shape.islands == pytest.approx(12 / 48)
    assert shape.area == pytest.approx(48 / 600)
    holed = region(((2, 12), (2, 12)))
    holed[5:7, 5:8] = False
    assert measure(holed).holes == pytest.approx(6 / 94)
    assert measure(region(((0, 20), (0, 30)))).centre.tolist() == [0.5, 0.5]
    assert measure(region()) is None
    comb = region(((2, 12), (2, 12)))
    comb[2:12:2, 8:12] = False
    assert measure(comb).roughness > measure(region(((2, 12), (2, 12)))).roughness + 0.2


GOOD = box_mask((2, 8), (1, 5), (3, 9))
FAULTY = {
    "island": GOOD | box_mask((9, 11), (1, 5), (12, 15)),
    "hole": GOOD & ~box_mask((4, 6), (0, 6), (5, 7)),
    "cut": GOOD & ~box_mask((2, 5), (0, 6), (0, 16)),
    "moved": np.roll(GOOD, 5, axis=2),
    "empty": GOOD & False,
}


@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize("subject", ["spleen", "liver"])
def test_faults_lose_in_both_orders(fault: str, subject: str) -> None:
    judge = RuleJudge()
    critic = critic_of(judge)
    candidates = [np.roll(GOOD, step, axis=axis) for step in (-1, 0, 1) for axis in (0, 2)]
    judge.learn(subject, [critic.draw(VOLUME, each, subject).image for each in [*candidates, *FAULTY.values()]])
    assert critic.compare(VOLUME, GOOD, FAULTY[fault], subject).verdict == 1
    assert critic.compare(VOLUME, FAULTY[fault], GOOD, subject).verdict == 2
    assert critic.check(VOLUME, GOOD, subject).verdict == 1
    if fault in ("cut", "moved", "empty"):  # the others overlap with the good one by 0.9
        assert critic.check(VOLUME, FAULTY[fault], subject).verdict == 0


def test_size_and_place_are_the_medians_of_the_candidates() -> None:
    judge = RuleJudge()
    images = []
    for shift, size in ((0, 4), (1, 4), (9, 8)):
        mask = box_mask((1, 1 + size), (1, 5), (shift, shift + 4))
        images.append(critic_of(judge).draw(VOLUME, mask).image)
    profile = judge.learn("x", images).profiles["x"]
    assert profile.log_area == pytest.approx(np.log(16 / 192))
    assert profile.centre[1] == pytest.approx((1 + 1.5) / 15)
    with pytest.raises(InputError, match="red pixel"):
        judge.learn("x", [np.zeros((3, 4, 4))])


def test_it_says_neither_of_equals_and_knows_its_rules() -> None:
    judge = RuleJudge()
    image = critic_of(judge).draw(VOLUME, GOOD).image
    assert judge.ask([image, image], "Task: compare. Subject: x.\n") == "Neither"
    assert judge.ask([], "hello") == "Neither"
    assert judge.loss(np.zeros((3, 5, 5)), "x") == EMPTY_LOSS
    with pytest.raises(InputError, match="no rule 'beauty'"):
        RuleJudge({"beauty": 1})
