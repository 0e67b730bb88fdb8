"""Comparing, choosing, checking and curating with judges whose verdicts are known."""

from collections.abc import Iterator

import numpy as np
import pytest

from labelwise.audit.critic import CallableJudge, Case, Drawing, LabelCritic, Prompt, read_captions
from labelwise.audit.critic.judges import Images, red_pixels
from labelwise.errors import InputError

from .judging import GREY, TRUTH, Scripted, box, critic_of, perfect

WORSE = [box(5, 5, 15, right) for right in (8, 24, 12, 20)]
CT = np.random.default_rng(0).uniform(-1000, 2000, (20, 6, 30))


def dice_with_truth(mask: np.ndarray) -> float:
    return 2 * float((mask & TRUTH).sum()) / float(mask.sum() + TRUTH.sum())


def test_a_judge_that_prefers_a_position_decides_nothing() -> None:
    for always in ("Overlay 1", "Overlay 2"):
        for conservative in (False, True):
            critic = critic_of(CallableJudge(lambda *_, always=always: always), conservative=conservative)
            assert critic.compare(GREY, WORSE[0], WORSE[1]).verdict == 0.5
            assert critic.best_of(GREY, WORSE).label == 0
    once = critic_of(CallableJudge(lambda *_: "Overlay 2"), dual=False)
    assert once.compare(GREY, WORSE[0], WORSE[1]).verdict == 2
    assert once.calls == 1


def test_a_perfect_judge_finds_the_label_of_highest_dice() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        masks = [TRUTH ^ (rng.random(TRUTH.shape) < rng.uniform(0, 0.5)) for _ in range(5)]
        best = int(np.argmax([dice_with_truth(mask) for mask in masks]))
        critic = critic_of(perfect())
        found = critic.best_of(GREY, masks)
        assert found.label == best
        assert len(found.comparisons) == 4
        assert critic.calls == 8
        assert critic.best_of(GREY, masks, round_robin=True).label == best


def test_equal_candidates_are_not_compared_again() -> None:
    critic = critic_of(perfect())
    found = critic.best_of(GREY, [WORSE[0], WORSE[1], WORSE[0], WORSE[1].astype(float), WORSE[1]])
    assert found.label == 1
    assert set(found.comparisons) == {(0, 1)}
    assert critic.calls == 2
    assert critic.best_of(GREY, [WORSE[0]] * 4).label == 0
    assert critic.calls == 2


def test_one_label_asks_nothing() -> None:
    critic = critic_of(perfect())
    assert critic.best_of(GREY, [TRUTH]).comparisons == {}
    assert critic.calls == 0


def test_views_that_overlap_enough_are_equally_good() -> None:
    # 200 and 190 pixels, one in the other: Dice 380 / 390.
    close = critic_of(perfect(), dice_threshold=0.9).compare(GREY, TRUTH, box(5, 5, 15, 24))
    assert close.verdict == 0.5
    assert close.decided_by == "agreement"
    assert close.overlap == pytest.approx(380 / 390)
    assert critic_of(perfect(), dice_threshold=0.98).compare(GREY, TRUTH, box(5, 5, 15, 24)).verdict == 1


def test_a_threshold_from_a_list() -> None:
    critic = critic_of(perfect())
    found = critic.select([Case(GREY, [TRUTH, *WORSE])] * 2, min_cases=4)
    assert len(found.mask) == 20
    assert critic_of(perfect(), dice_threshold=found.threshold).dice_threshold == found.threshold
    whole = critic.select([Case(GREY, [TRUTH, WORSE[0]])])
    assert critic_of(perfect(), dice_threshold=whole.threshold).compare(GREY, TRUTH, WORSE[0]).verdict == 1


def test_an_organ_that_cannot_be_there() -> None:
    judge = Scripted(region="No ribs. present: no")
    critic = critic_of(judge)
    empty, full, other = np.zeros(CT.shape), box(0, 0, 6, 9, CT.shape), box(0, 20, 6, 29, CT.shape)
    assert critic.compare(CT, full, empty, "liver").verdict == 2
    assert critic.compare(CT, empty, full, "liver").decided_by == "region"
    assert critic.compare(CT, full, other, "liver").verdict == 0.5
    assert critic.compare(CT, empty, empty, "liver").verdict == 0.5
    assert critic.check(CT, empty, "liver").verdict == 1
    assert critic.check(CT, full, "liver").verdict == 0
    assert set(judge.tasks) == {"region"}


def test_aorta_without_its_arch() -> None:
    judge = Scripted(region="present: yes\nupper part: no", compare="Overlay 1", quality="good annotation")
    critic = critic_of(judge)
    high_mask, low_mask = np.zeros(CT.shape), np.zeros(CT.shape)
    high_mask[:3], low_mask[9:12] = 1, 1
    found = critic.compare(CT, low_mask, high_mask, "aorta")
    assert (found.verdict, found.decided_by) == (2, "upper edge")
    assert critic.compare(CT, low_mask, np.roll(low_mask, 5, axis=0), "aorta").decided_by == "judge"
    assert "no arch in this field of view" in judge.asked[-1][2]
    assert judge.asked[-1][1] == 2  # both overlays at once
    assert judge.tasks == ["region", "region", "compare", "compare"]


def test_one_overlay_after_the_other() -> None:
    judge = Scripted(region="present: yes", describe="a hole", compare="The second", summary="Overlay 2")
    critic = critic_of(judge, dual=False)
    found = critic.compare(CT, box(0, 0, 6, 9, CT.shape), box(0, 20, 6, 29, CT.shape), "liver")
    assert found.verdict == 2
    assert found.answers == ("Overlay 2",)
    assert found.reasons == ("The second",)
    assert [(task, pictures, turns) for task, pictures, _, turns in judge.asked] == [
        ("region", 1, 0),
        ("describe", 1, 0),
        ("compare", 1, 1),
        ("summary", 0, 0),
    ]
    assert "The second" in judge.asked[-1][2]
    assert critic.calls == 4


def test_examples_come_before_the_question() -> None:
    judge = Scripted(quality="good annotation")
    shown = critic_of(judge).example(GREY, TRUTH, is_good=False)
    assert shown.answer == "bad annotation"
    assert critic_of(judge, examples=[shown]).check(GREY, TRUTH).verdict == 1
    assert judge.asked[-1][3] == 1


def test_single_labels() -> None:
    critic = critic_of(perfect())
    assert critic.check(GREY, TRUTH).verdict == 1
    assert critic.check(GREY, WORSE[0]).verdict == 0
    unclear = critic_of(Scripted(quality="hard to say", quality_summary="it is not clear")).check(GREY, TRUTH)
    assert (unclear.verdict, unclear.answer, unclear.reason) == (0.5, "it is not clear", "hard to say")


def test_curation() -> None:
    def cases() -> Iterator[Case]:
        yield Case(GREY, [WORSE[0], TRUTH, WORSE[1]], name="a")
        yield Case(GREY, [WORSE[0], WORSE[2]], name="b")
        yield Case(GREY, [WORSE[0]])

    found = critic_of(perfect()).curate(cases())
    assert [(each.name, each.label) for each in found.accepted] == [("a", 1)]
    assert [(each.name, each.label) for each in found.review] == [("b", 1), ("2", 0)]
    assert found.report["accepted_share"] == pytest.approx(1 / 3)
    assert found.report["comparisons"] == 3
    assert found.report["calls"] == 2 * 3 + 3
    corrections = found.corrections
    assert corrections.targets.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert corrections.mask.tolist() == [True, False, False]
    undecided = critic_of(Scripted(quality="Neither", quality_summary="Neither")).curate([Case(GREY, [TRUTH])])
    assert (len(undecided.accepted), undecided.report["undecided"]) == (0, 1)
    nothing = critic_of(perfect()).curate([])
    assert nothing.report["accepted_share"] == 0
    assert nothing.corrections.targets.shape == (0, 0)


def test_rival_classes() -> None:
    def reader(images: Images, text: str, history: object) -> str:
        first, second = read_captions(text)
        return "Overlay 1" if (first, second) == ("cat", "dog") else "Overlay 2"

    critic = critic_of(CallableJudge(reader))
    assert critic.compare(GREY, "cat", "dog", "animal").verdict == 1
    assert critic.compare(GREY, "cat", "cat").decided_by == "agreement"
    assert critic.best_of(GREY, ["dog", "cat", "dog"], "animal").label == 1
    colour = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_allclose(np.moveaxis(critic.draw(colour, "cat").image, 0, 2) * 255, colour)


def test_subjects_without_a_prompt_are_told_of_by_kind() -> None:
    for label, words in [(TRUTH, "islands"), ((1, 1, 5, 5), "box"), ("cat", "name")]:
        judge = Scripted(quality="good annotation")
        critic_of(judge).check(GREY, label, "thing")
        assert words in judge.asked[0][2]


def test_rival_boxes() -> None:
    def widest(images: Images, text: str, history: object) -> str:
        widths = [int(red_pixels(image).any(axis=0).sum()) for image in images]
        return f"Overlay {1 + int(np.argmax(widths))}"

    critic = critic_of(CallableJudge(widest))
    assert critic.best_of(np.zeros((40, 60, 3), np.uint8), [(5, 5, 20, 20), (2, 3, 50, 30)]).label == 1
    view = critic.draw(GREY, (5, 5, 15, 15))
    assert view.region is not None
    assert view.region.sum() == 100
    assert red_pixels(view.image).sum() == 36  # the outline of ten by ten
    with pytest.raises(InputError, match="left < right"):
        critic.compare(GREY, (5, 5, 5, 9), (1, 1, 2, 2))
    with pytest.raises(InputError, match="not a volume"):
        critic.check(CT, (1, 1, 2, 2))


def test_a_label_on_black_is_seen() -> None:
    view = critic_of(perfect()).draw(np.zeros_like(GREY), TRUTH)
    np.testing.assert_array_equal(red_pixels(view.image), TRUTH)


def test_drawings() -> None:
    view = LabelCritic(perfect()).draw(CT, box(2, 2, 5, 9, CT.shape), "liver", spacing=(2, 1, 1))
    assert view.image.shape == (3, 512, 384)  # 40 x 30 mm
    assert view.image.min() >= 0
    assert view.image.max() <= 1
    solid = critic_of(perfect()).draw(CT, box(2, 2, 5, 9, CT.shape), "aorta")
    assert (solid.image[0][red_pixels(solid.image)] == 1).all()
    side = LabelCritic(perfect(), drawing=Drawing(axis=2, size=None)).draw(CT, np.ones(CT.shape))
    assert side.image.shape == (3, 20, 6)


def test_own_prompts() -> None:
    judge = Scripted(compare="Neither")
    critic = critic_of(judge, prompts={"roof": Prompt(description="Red tiles,\nno chimney.")})
    critic.compare(GREY, WORSE[0], WORSE[1], "roof")
    assert "Red tiles" in judge.asked[0][2]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.compare(np.full((4, 4, 4), np.nan), np.ones((4, 4, 4)), np.ones((4, 4, 4))), "nan at voxel"),
        (lambda c: c.compare(GREY * np.nan, TRUTH, TRUTH), "0 to 1"),
        (lambda c: c.compare(GREY * 300, TRUTH, TRUTH), "0 to 1"),
        (lambda c: c.compare(GREY, TRUTH, TRUTH[:5]), "same shape"),
        (lambda c: c.check(GREY, np.full(GREY.shape, np.nan)), "no numbers"),
        (lambda c: c.best_of(GREY, []), "no label"),
        (lambda c: LabelCritic(perfect(), dice_threshold=-0.1), "dice_threshold"),
        (lambda c: LabelCritic(perfect(), dice_threshold=float("nan")), "dice_threshold"),
        (lambda c: Drawing(window="soft"), "'soft'"),
        (lambda c: Drawing(size=0), "size is 0"),
    ],
)
def test_refusals(call: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call(critic_of(perfect()))  # type: ignore[operator]
