"""Decisions of several reviewers combined: by majority, by trust, and how far they agree."""

from itertools import combinations

import numpy as np
import pytest

from labelwise.review.consensus import EXCLUDED, OPEN, combine
from labelwise.review.decisions import Decision


def decision(index: int, reviewer: str, verdict: str, after: str = "", part: str = "") -> Decision:
    chosen = {"keep": "cat", "accept": "dog"}.get(verdict, after)
    return Decision(0, index, part, verdict, "cat", chosen, reviewer, "")


@pytest.mark.parametrize(
    ("verdicts", "cell", "verdict"),
    [
        ("accept", "dog", "accept"),
        ("keep", "cat", "keep"),
        ("accept accept keep", "dog", "accept"),
        ("accept keep", OPEN, "cannot_tell"),
        ("cannot_tell", OPEN, "cannot_tell"),
        ("cannot_tell cannot_tell accept", OPEN, "cannot_tell"),
        ("accept accept cannot_tell", "dog", "accept"),
        ("exclude exclude keep", EXCLUDED, "exclude"),
        ("accept accept keep keep exclude", OPEN, "cannot_tell"),
    ],
)
def test_the_majority_counts_and_ties_stay_open(verdicts: str, cell: object, verdict: str) -> None:
    made = [decision(3, f"r{number}", each) for number, each in enumerate(verdicts.split())]
    outcome = combine(made).layer[3, ""]
    assert (outcome.cell, outcome.verdict, outcome.before, outcome.votes) == (cell, verdict, "cat", len(made))


def test_other_labels_are_different_answers_and_accepting_is_the_same_as_naming_the_suggestion() -> None:
    made = [decision(0, "a", "other", "bird"), decision(0, "b", "other", "fish"), decision(0, "c", "other", "bird")]
    assert combine(made).layer[0, ""].cell == "bird"
    made = [decision(0, "a", "other", "dog"), decision(0, "b", "accept"), decision(0, "c", "keep")]
    assert combine(made).layer[0, ""].cell == "dog"


def test_parts_of_a_row_are_labels_of_their_own() -> None:
    made = [decision(0, "a", "keep", part="sun"), decision(0, "a", "accept", part="rain")]
    assert {key: outcome.cell for key, outcome in combine(made).layer.items()} == {
        (0, "sun"): "cat",
        (0, "rain"): "dog",
    }


def test_agreement_is_over_pairs_and_conflicts_are_named() -> None:
    rng = np.random.default_rng(0)
    made = [
        decision(index, name, str(rng.choice(["keep", "accept", "exclude"])))
        for index in range(40)
        for name in "abcd"
        if rng.random() < 0.6
    ]
    found = combine(made)
    pairs = [(x, y) for x, y in combinations(made, 2) if x.index == y.index]
    assert found.agreement == pytest.approx(np.mean([x.verdict == y.verdict for x, y in pairs]))
    assert found.conflicts == {(x.index, "") for x, y in pairs if x.verdict != y.verdict}
    for name, (count, share) in found.reviewers.items():
        own = [each for each in made if each.reviewer == name]
        shared = [each for each in own if sum(other.index == each.index for other in made) > 1]
        with_outcome = [found.layer[each.index, ""].verdict == each.verdict for each in shared]
        assert count == len(own)
        # A tie is nobody's answer, though its verdict is "cannot tell".
        assert share == pytest.approx(np.mean(with_outcome))


def test_nobody_to_agree_with() -> None:
    found = combine([decision(0, "a", "keep"), decision(1, "b", "accept")])
    assert (found.agreement, found.kappa, found.conflicts) == (None, None, frozenset())
    assert found.reviewers == {"a": (1, None), "b": (1, None)}
    assert combine([]).layer == {}
    assert combine([], weighted=True).layer == {}


def simulated(seed: int, skills: dict[str, float], count: int = 300) -> tuple[list[Decision], np.ndarray]:
    """Reviewers who are right with their skill; whether each label is wrong in truth."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(count) < 0.5
    made = []
    for index in range(count):
        for name, skill in skills.items():
            says_wrong = wrong[index] if rng.random() < skill else rng.random() < 0.5
            made.append(decision(index, name, "accept" if says_wrong else "keep"))
    return made, wrong


def right(made: list[Decision], wrong: np.ndarray, **options: object) -> float:
    layer = combine(made, **options).layer
    return float(np.mean([layer[index, ""].cell == ("dog" if each else "cat") for index, each in enumerate(wrong)]))


def test_trust_beats_the_majority_where_some_reviewers_guess() -> None:
    skills = {"careful": 0.95, "good": 0.85, "guesses": 0.0, "clicks": 0.0, "hurries": 0.1}
    gains = []
    for seed in range(8):
        made, wrong = simulated(seed, skills)
        gains.append(right(made, wrong, weighted=True) - right(made, wrong))
    assert min(gains) > 0.0
    assert np.mean(gains) > 0.05


def test_trust_does_not_harm_where_all_are_alike() -> None:
    made, wrong = simulated(0, dict.fromkeys("abcde", 0.7))
    assert right(made, wrong, weighted=True) > right(made, wrong) - 0.02


def test_the_model_is_one_more_reviewer() -> None:
    """Two reviewers who half guess differ often; a good model decides between them."""
    gains = []
    for seed in range(5):
        made, wrong = simulated(seed, {"a": 0.6, "b": 0.6})
        rng = np.random.default_rng(seed)
        doubted = {(index, ""): bool(each if rng.random() < 0.9 else not each) for index, each in enumerate(wrong)}
        gains.append(right(made, wrong, weighted=True, doubted=doubted) - right(made, wrong, weighted=True))
    assert np.mean(gains) > 0.03


def test_a_verdict_that_nobody_gave_is_never_taken() -> None:
    made = [decision(index, "a", "keep") for index in range(50)] + [decision(50, "a", "cannot_tell")]
    doubted = {(index, ""): True for index in range(51)}
    layer = combine(made, weighted=True, doubted=doubted).layer
    assert {layer[index, ""].cell for index in range(50)} == {"cat"}
    assert layer[50, ""].cell is OPEN
