"""Label Critic: let a judge look at rival labels and say which is better; accept what is good, send the rest to people.

Bassi et al., "Label Critic: Design Data Before Models", ISBI 2025, https://arxiv.org/abs/2411.02753. Several automatic
labels of a scan, none trusted: each is drawn on a frontal projection, a judge compares two at a time (in both orders,
since judges favour a position), the winner is checked alone. Nothing is trained here. Answers labels that are wrong in
whole parts: missing, doubled, misplaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from labelwise.audit.critic import questions, views
from labelwise.audit.critic.judges import Images, Judge, Turn
from labelwise.audit.critic.pairs import Selection, round_robin_scores, select_pairs, sequential_best
from labelwise.audit.critic.prompts import ORGANS, PLAIN, PLAIN_BOX, PLAIN_CLASS, Prompt
from labelwise.audit.critic.questions import Region, Subject
from labelwise.audit.critic.results import Best, Comparison, Curation, Decision, Quality
from labelwise.audit.critic.verdicts import (
    BAD,
    FIRST,
    GOOD,
    SECOND,
    UNDECIDED,
    combine_verdicts,
    parse_comparison,
    parse_quality,
)
from labelwise.audit.critic.views import Drawing, Ground, View
from labelwise.errors import InputError

SUBJECT = "object"


class Case(NamedTuple):
    """One thing to label: a volume (D, H, W) or a picture, its rival labels, and what they label.

    ``labels``: masks of its shape, boxes (4,) or class names, all of one kind. ``spacing``: mm a voxel, of a volume.
    """

    volume: ArrayLike
    labels: Sequence[Any]
    subject: str = SUBJECT
    spacing: Sequence[float] | None = None
    name: str = ""


class LabelCritic:
    """Compare, choose and check labels with a judge.

    judge: see `labelwise.audit.critic.judges`. prompts: what the judge is told of each subject, on top of those of
    eight organs. dual: ask in both orders; conservative: then only count what both orders say. dice_threshold: labels
    whose views overlap so far or more count as equally good and are not compared; None compares all that differ.
    region_check: ask first whether an organ can be in a volume at all. drawing: how pictures are made. examples: turns
    shown before each question, see `example`. Costs a call for each question, two where the answer is more than a
    verdict; `calls` counts them.
    Raises InputError for a threshold below 0.
    """

    def __init__(
        self,
        judge: Judge,
        prompts: Mapping[str, Prompt] | None = None,
        *,
        dual: bool = True,
        conservative: bool = False,
        dice_threshold: float | None = 0.5,
        region_check: bool = True,
        drawing: Drawing | None = None,
        examples: Sequence[Turn] = (),
    ) -> None:
        threshold = 1.0 if dice_threshold is None else float(dice_threshold)
        if not threshold >= 0:
            raise InputError(f"dice_threshold is {dice_threshold}: give an overlap from 0 to 1, or None.")
        self.prompts = {**ORGANS, **(prompts or {})}
        self.dual, self.conservative, self.dice_threshold = dual, conservative, min(threshold, 1.0)
        self.region_check, self.drawing, self.examples = region_check, drawing or Drawing(), tuple(examples)
        self._judge = _Counted(judge)

    @property
    def calls(self) -> int:
        """How often the judge was asked so far."""
        return self._judge.calls

    def compare(
        self,
        volume: ArrayLike,
        first: Any,
        second: Any,
        subject: str = SUBJECT,
        *,
        spacing: Sequence[float] | None = None,
    ) -> Comparison:
        """Which of two labels of a volume or picture is better; see `Case` for what labels may be.

        Raises InputError for labels that do not fit and for numbers that are not finite.
        """
        return self._open(Case(volume, (first, second), subject, spacing)).compare(0, 1)

    def best_of(
        self,
        volume: ArrayLike,
        labels: Sequence[Any],
        subject: str = SUBJECT,
        *,
        spacing: Sequence[float] | None = None,
        round_robin: bool = False,
    ) -> Best:
        """The best of K labels by at most K - 1 comparisons: the incumbent is replaced only by a label that beats it.

        A label that looks like an earlier one is not compared again. round_robin: compare all pairs; most wins, then
        first, is best. Raises InputError where there is no label.
        """
        return self._open(Case(volume, labels, subject, spacing)).best(round_robin)

    def check(
        self, volume: ArrayLike, label: Any, subject: str = SUBJECT, *, spacing: Sequence[float] | None = None
    ) -> Quality:
        """Whether a single label is good. An organ that cannot be in the picture should have an empty mask."""
        return self._open(Case(volume, (label,), subject, spacing)).check(0)

    def curate(self, cases: Iterable[Case]) -> Curation:
        """Choose the best label of each case and check it: good ones are accepted, all others are for review.

        One case is in memory at a time if ``cases`` is a generator. The report counts cases, comparisons, calls of the
        judge, and tells the share accepted.
        """
        calls = self.calls
        decisions = []
        for row, case in enumerate(cases):
            opened = self._open(case)
            best = opened.best()
            name = case.name or str(row)
            decisions.append(Decision(name, row, best.label, best, opened.check(best.label), len(case.labels)))
        accepted = [each for each in decisions if each.quality.verdict == GOOD]
        review = [each for each in decisions if each.quality.verdict != GOOD]
        report = {
            "cases": len(decisions),
            "accepted": len(accepted),
            "review": len(review),
            "accepted_share": len(accepted) / max(len(decisions), 1),
            "undecided": sum(each.quality.verdict == UNDECIDED for each in decisions),
            "comparisons": sum(made.decided_by == "judge" for d in decisions for made in d.best.comparisons.values()),
            "calls": self.calls - calls,
        }
        return Curation(accepted, review, report)

    def select(self, cases: Iterable[Case], **options: Any) -> Selection:
        """Overlap of all pairs of labels of all cases, and the ones to compare: `select_pairs` with its options.

        Set ``dice_threshold`` to its threshold to compare those pairs only.
        """
        overlaps: list[float] = []
        for case in cases:
            opened = self._open(case)
            shown = [opened.view(row) for row in range(len(case.labels))]
            overlaps += [views.overlap(*pair) for pair in combinations(shown, 2)]
        return select_pairs(overlaps, **options)

    def draw(
        self, volume: ArrayLike, label: Any, subject: str = SUBJECT, *, spacing: Sequence[float] | None = None
    ) -> View:
        """A label as the judge sees it: to look at, or for `RuleJudge.learn` and `TrainedJudge.fit`."""
        return self._open(Case(volume, (label,), subject, spacing)).view(0)

    def example(self, volume: ArrayLike, label: Any, subject: str = SUBJECT, *, is_good: bool) -> Turn:
        """A label whose quality is known, for ``examples``: judges that read conversations learn from it."""
        return questions.example(self.draw(volume, label, subject), self.subject(subject), is_good=is_good)

    def subject(self, name: str, plain: Prompt = PLAIN) -> Subject:
        """A subject with what is told of it, ``plain`` where nothing is known."""
        return Subject(name, self.prompts.get(name, plain))

    def _open(self, case: Case) -> _OpenCase:
        if len(case.labels) < 1:
            raise InputError(f"case {case.name!r} has no label: give at least one.")
        return _OpenCase(self, case)


class _Counted:
    """A judge that counts its calls."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.calls = judge, 0

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        self.calls += 1
        return self.judge.ask(images, text, history)


class _OpenCase:
    """One case while it is judged: its ground, views and region check are made once, when they are needed."""

    def __init__(self, critic: LabelCritic, case: Case) -> None:
        self.critic, self.case = critic, case
        self.subject = critic.subject(case.subject, _plain_prompt(case.labels[0]))
        self.ground: Ground = views.ground(case.volume, critic.drawing, case.spacing)
        self._views: dict[int, View] = {}
        self._region: Region | None = None

    def view(self, row: int) -> View:
        if row not in self._views:
            label = self.case.labels[row]
            self._views[row] = views.draw(self.ground, label, self.critic.drawing, solid=self.subject.prompt.solid)
        return self._views[row]

    @property
    def region(self) -> Region:
        if self._region is None:
            clean = self.ground.clean if self.critic.region_check else None
            self._region = Region()
            if clean is not None:
                self._region = questions.ask_region(self.critic._judge, clean, self.subject)
        return self._region

    def compare(self, i: int, j: int) -> Comparison:
        first, second = self.view(i), self.view(j)
        overlap = views.overlap(first, second)
        if overlap >= self.critic.dice_threshold:
            return Comparison(UNDECIDED, "agreement", overlap)
        if not self.region.is_expected:
            return Comparison(_only(first.is_empty, second.is_empty), "region", overlap)
        if not self.region.shows_upper_part and first.reaches_top != second.reaches_top:
            return Comparison(_only(first.reaches_top, second.reaches_top), "upper edge", overlap)
        return self._judged(first, second, overlap)

    def best(self, round_robin: bool = False) -> Best:
        count = len(self.case.labels)
        made: dict[tuple[int, int], Comparison] = {}

        def verdict(i: int, j: int) -> float:
            # A label that looks like one before it can win or lose no more than that one did.
            if any(views.overlap(self.view(j), self.view(row)) == 1 for row in range(j)):
                return UNDECIDED
            made[i, j] = self.compare(i, j)
            return made[i, j].verdict

        if not round_robin:
            return Best(sequential_best(count, verdict), made)
        table = np.full((count, count), float(UNDECIDED))
        for i, j in combinations(range(count), 2):
            made[i, j] = self.compare(i, j)
            table[i, j], table[j, i] = made[i, j].verdict, made[i, j].inverted().verdict
        scores = round_robin_scores(table)
        return Best(int(scores.argmax()), made, scores)

    def check(self, row: int) -> Quality:
        view = self.view(row)
        if not self.region.is_expected:
            return Quality(GOOD if view.is_empty else BAD, "region")
        judge, examples = self.critic._judge, self.critic.examples
        said = questions.ask_quality(judge, view, self.subject, self.region, examples)
        return Quality(parse_quality(said.answer), "judge", said.answer, said.reason)

    def _judged(self, first: View, second: View, overlap: float) -> Comparison:
        judge, region, examples = self.critic._judge, self.region, self.critic.examples
        orders = [(first, second), (second, first)] if self.critic.dual else [(first, second)]
        said = [questions.ask_comparison(judge, *pair, self.subject, region, examples) for pair in orders]
        found = [parse_comparison(each.answer) for each in said]
        verdict = combine_verdicts(found[0], found[1], self.critic.conservative) if self.critic.dual else found[0]
        answers, reasons = (tuple(part) for part in zip(*said, strict=True))
        return Comparison(verdict, "judge", overlap, answers, reasons)


def _plain_prompt(label: Any) -> Prompt:
    """What to expect of any subject's labels of this kind."""
    if isinstance(label, str):
        return PLAIN_CLASS
    return PLAIN_BOX if np.shape(label) == (4,) else PLAIN


def _only(first: bool, second: bool) -> float:
    """The one of two labels for which something holds; undecided where it holds for both or for neither."""
    if first == second:
        return UNDECIDED
    return FIRST if first else SECOND
