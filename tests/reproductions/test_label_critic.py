"""Label Critic's reproduction: its book-keeping against a known simulation, its rival labels, the quick form."""

import math
from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from labelwise.audit.critic.critic import Case
from labelwise.audit.critic.judges import CallableJudge, Images, Turn, red_pixels
from labelwise.audit.critic.prompts import COMPARE, read_header
from labelwise.reproductions.label_critic import (
    CONSERVATIVE,
    LENIENT,
    RANDOM,
    SINGLE,
    check_accuracy,
    curated,
    find_checks,
    pair_accuracies,
    run,
)
from labelwise.reproductions.label_critic_data import SOURCES, Rivals, damaged, organs, rivals
from labelwise.reproductions.label_critic_tuning import learn_usual, tuned_rules

GREY = np.full((6, 10), 0.5)


def ladder(cases: int, lengths: Sequence[int] = (9, 3)) -> list[Rivals]:
    """Labels that are rows of pixels: the longer, the better."""
    found = []
    for _ in range(cases):
        labels = [np.arange(10)[None].repeat(6, axis=0) < length for length in lengths]
        found.append(Rivals(Case(GREY, labels), np.array(lengths) / 10))
    return found


def mostly_right(share: float) -> CallableJudge:
    """Prefers the longer row, but on a share of the pairs the shorter one, in both orders alike."""
    asked = count()

    def answer(images: Images, text: str, history: Sequence[Turn]) -> str:
        if read_header(text).task != COMPARE:
            return "good annotation" if red_pixels(images[-1]).sum() >= 48 else "bad annotation"
        is_right = (next(asked) // 2) % 100 < 100 * share
        longer = 1 if red_pixels(images[0]).sum() > red_pixels(images[1]).sum() else 2
        return f"Overlay {longer if is_right else 3 - longer}"

    return CallableJudge(answer)


def biased(judge: CallableJudge, rng: np.random.Generator, undecided: float) -> CallableJudge:
    """Undecided in a share of the calls, of the others 15% are "Overlay 1"; the judge is asked in every call."""

    def answer(images: Images, text: str, history: Sequence[Turn]) -> str:
        honest = judge.ask(images, text, history)
        if rng.random() < undecided:
            return "Neither"
        return "Overlay 1" if rng.random() < 0.15 else honest

    return CallableJudge(answer)


@pytest.mark.parametrize(
    ("undecided", "on_all", "decided"),
    [(0.0, (0.797, 0.797, 0.797), (0.797, 0.849, 0.849)), (0.1, (0.768, 0.795, 0.741), (0.798, 0.840, 0.851))],
)
def test_accuracies_of_a_judge_whose_faults_are_known(
    undecided: float, on_all: tuple[float, ...], decided: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(0)
    judge = biased(mostly_right(0.85), rng, undecided)
    found = pair_accuracies(judge, ladder(6000), rng)
    for arm, every, made in zip((SINGLE, LENIENT, CONSERVATIVE), on_all, decided, strict=True):
        assert found[f"{arm}: accuracy, all pairs"] == pytest.approx(every, abs=0.02)
        assert found[f"{arm}: accuracy, decided"] == pytest.approx(made, abs=0.02)
    assert found[f"{RANDOM}: accuracy, all pairs"] == pytest.approx(0.5, abs=0.025)
    if not undecided:
        assert found[f"{LENIENT}: share decided"] == pytest.approx(0.85, abs=0.02)


def test_pairs_that_hardly_differ_are_left_out() -> None:
    rng = np.random.default_rng(0)
    assert pair_accuracies(mostly_right(1.0), ladder(10, (9, 8, 3)), rng)[f"{SINGLE}: accuracy, all pairs"] == 1


def test_check_and_curation_of_a_perfect_judge() -> None:
    tested = ladder(4, (3, 9, 7)) + ladder(4, (2, 1, 5))
    assert check_accuracy(mostly_right(1.0), tested) == 1
    found = curated(mostly_right(1.0), tested)
    assert found["Dice, best of three"] == found["Dice, oracle"] == pytest.approx(0.7)
    assert found["Dice, best fixed source"] == pytest.approx(0.6)
    assert found["share accepted"] == 0.5
    assert found["good among accepted"] == 1
    assert found["comparisons a case"] == 2


def test_rival_labels_have_the_defects_of_their_sources() -> None:
    rng = np.random.default_rng(0)
    made = rivals(organs(8, rng), rng, labels_a_source=2)
    assert all(len(each.case.labels) == 6 for each in made)
    quality = np.concatenate([each.quality for each in made])
    assert 0 <= quality.min() < 0.5
    assert 0.85 < quality.max() < 1
    good = next(organs(1, rng))
    wrong = damaged(good, rng, {"wrong": 1.0})
    assert any(np.array_equal(wrong, other) for other in good.others)
    assert all(sum(source.values()) == pytest.approx(1) for source in SOURCES)


def test_tuned_rules_beat_chance_on_other_volumes() -> None:
    rng = np.random.default_rng(1)
    rules = tuned_rules(rivals(organs(15, rng), rng, labels_a_source=2))
    tested = rivals(organs(25, rng), rng)
    learn_usual(rules, tested)
    assert pair_accuracies(rules, tested, rng)[f"{SINGLE}: accuracy, all pairs"] > 0.6


def test_the_verdict_needs_all_of_the_claim() -> None:
    def seed(single: float, dual: float, best: float, share: float = 0.7) -> dict[str, float]:
        return {
            f"{RANDOM}: accuracy, decided": 0.5,
            f"{SINGLE}: accuracy, decided": single,
            f"{LENIENT}: accuracy, decided": dual,
            f"{CONSERVATIVE}: accuracy, decided": dual,
            f"{SINGLE}: share decided": 0.9,
            f"{LENIENT}: share decided": 0.8,
            f"{CONSERVATIVE}: share decided": share,
            "Dice, best of three": best,
            "Dice, best fixed source": 0.8,
        }

    assert all(find_checks([seed(0.7, 0.8, 0.9), seed(0.71, 0.8, 0.91)]).values())
    assert not find_checks([seed(0.7, 0.6, 0.9)])["dual_lenient_above_single"]
    assert not find_checks([seed(0.7, 0.8, 0.7)])["best_of_three_above_best_source"]
    # One seed of two the other way round: no interval lies above.
    assert not find_checks([seed(0.4, 0.8, 0.9), seed(0.7, 0.8, 0.9)])["single_above_random"]


def test_quick() -> None:
    result = run(1, None, quick=True)
    assert result.interval is None
    assert math.isfinite(result.difference)
    assert any("rendered organs only" in note for note in result.notes)
    assert result.details["camvid"] == {}
    assert result.to_json()
