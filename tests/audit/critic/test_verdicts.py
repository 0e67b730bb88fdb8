import itertools

import pytest

from labelwise.audit.critic import combine_dual, parse_comparison, parse_quality
from labelwise.audit.critic.verdicts import combine_verdicts, invert, is_bare, parse_yes_no

ANSWERS = {1: "I prefer OVERLAY 1.", 2: "overlay 2", 0.5: "Neither"}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Overlay 1", 1),
        ("the better one is overlay 2!", 2),
        ("Overlay 1 is better than Overlay 2", 0.5),
        ("Neither", 0.5),
        ("", 0.5),
        ("Overlay one", 0.5),
    ],
)
def test_comparisons(text: str, verdict: float) -> None:
    assert parse_comparison(text) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Good annotation.", 1),
        ("a BAD ANNOTATION", 0),
        ("this is not a good annotation", 0.5),
        ("It is not a bad annotation", 0.5),
        ("good annotation or bad annotation", 1),
        ("", 0.5),
    ],
)
def test_quality(text: str, verdict: float) -> None:
    assert parse_quality(text) == verdict


@pytest.mark.parametrize("conservative", [False, True])
def test_exchanging_the_answers_exchanges_the_labels(conservative: bool) -> None:
    for a, b in itertools.product(ANSWERS, repeat=2):
        verdict = combine_dual(ANSWERS[a], ANSWERS[b], conservative)[0]
        # The answer given to the swapped order is, for the labels exchanged, the one to the given order.
        assert combine_dual(ANSWERS[b], ANSWERS[a], conservative)[0] == invert(verdict)
        if a == b:
            assert verdict == 0.5


def test_lenient_and_conservative_agree_where_both_are_decided() -> None:
    for a, b in itertools.product((1, 2), repeat=2):
        assert combine_verdicts(a, b) == combine_verdicts(a, b, conservative=True)
    assert combine_dual("Neither", "Overlay 1") == (2, (0.5, 1))
    assert combine_dual("Neither", "Overlay 1", conservative=True)[0] == 0.5


def test_yes_and_no_take_the_last_word() -> None:
    assert not parse_yes_no("present: yes? No: the ribs are missing.\n**Present**: no", "present")
    assert parse_yes_no("nothing said", "present")
    assert not parse_yes_no("nothing said", "present", default=False)


def test_bare_verdicts() -> None:
    assert is_bare(' "Overlay 1." ')
    assert is_bare("good annotation")
    assert not is_bare("Overlay 1 is better")
