"""Several reviewers, one label: the one most chose, or one that trusts reviewers by how they agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.votes import dawid_skene, fleiss_kappa
from labelwise.review.decisions import VERDICTS, Decision

Key = tuple[int, str]  # row in the source, and which of its labels


class Mark(Enum):
    """What can come of a review instead of a label: the row is taken out, or nothing is settled."""

    EXCLUDED = "excluded"
    OPEN = "open"


EXCLUDED, OPEN = Mark.EXCLUDED, Mark.OPEN
Cell = str | Mark
MODEL = ""  # no reviewer has this name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one label: ``cell`` in place of ``before``, by the ``verdict`` of ``share`` of its ``votes``.

    Weighted, ``share`` is the probability of the verdict instead. An OPEN cell has the verdict ``cannot_tell``.
    """

    before: str
    verdict: str
    cell: Cell
    votes: int
    share: float


@dataclass(frozen=True)
class Consensus:
    """Outcomes by label, and how far reviewers agree.

    ``agreement``: of all pairs of reviewers who decided on the same label, the share that chose the same; ``kappa``:
    Fleiss' kappa of their verdicts; both None where no two looked at the same label. ``conflicts`` are the labels on
    which they differ. ``reviewers``: of each, on how many labels they decided, and of those that others decided on
    too, the share on which they are with the outcome (None where there is none).
    """

    layer: Mapping[Key, Outcome]
    agreement: float | None
    kappa: float | None
    conflicts: frozenset[Key]
    reviewers: Mapping[str, tuple[int, float | None]] = field(default_factory=dict)


def answer(decision: Decision) -> Cell:
    """The label that a decision chooses, or what it says instead."""
    if decision.verdict == "exclude":
        return EXCLUDED
    return OPEN if decision.verdict == "cannot_tell" else decision.after


def combine(
    standing: Iterable[Decision], *, weighted: bool = False, doubted: Mapping[Key, bool] | None = None
) -> Consensus:
    """Combine the decisions that stand, at most one a reviewer and label.

    The answer with most votes counts; ties, and labels of which most cannot tell, stay OPEN. ``weighted``: verdicts
    are weighed by each reviewer's confusion matrix (Dawid & Skene 1979), and where ``doubted`` says which labels the
    model doubts, the model is one more reviewer, an idea of CROWDLAB (Goh et al. 2022), which weighs its probabilities.
    Cost: O(decisions), weighted times the iterations.
    """
    by_label: dict[Key, list[Decision]] = {}
    for decision in standing:
        by_label.setdefault((decision.index, decision.part), []).append(decision)
    layer = _weighted(by_label, doubted or {}) if weighted and by_label else {}
    if not layer:
        layer = {key: _majority(decisions) for key, decisions in by_label.items()}
    pairs = [answer(a) == answer(b) for decisions in by_label.values() for a, b in combinations(decisions, 2)]
    shared = [decisions for decisions in by_label.values() if len(decisions) > 1]
    return Consensus(
        layer=layer,
        agreement=float(np.mean(pairs)) if pairs else None,
        kappa=fleiss_kappa(_verdict_counts(shared)) if shared else None,
        conflicts=frozenset(key for key, decisions in by_label.items() if len({*map(answer, decisions)}) > 1),
        reviewers=_reviewers(by_label, layer),
    )


def _majority(decisions: list[Decision]) -> Outcome:
    counts = Counter(map(answer, decisions)).most_common()
    (cell, votes), *others = counts
    is_tied = bool(others) and others[0][1] == votes
    chosen = OPEN if is_tied else cell
    verdict = next((each.verdict for each in decisions if answer(each) == chosen), "cannot_tell")
    return Outcome(decisions[0].before, verdict, chosen, len(decisions), votes / len(decisions))


def _weighted(by_label: Mapping[Key, list[Decision]], doubted: Mapping[Key, bool]) -> dict[Key, Outcome]:
    """Outcomes by the posterior of Dawid and Skene's model over verdicts; one that nobody chose is never taken."""
    names = sorted({decision.reviewer for decisions in by_label.values() for decision in decisions} | {MODEL})
    column = {name: number for number, name in enumerate(names)}
    code = {verdict: number for number, verdict in enumerate(VERDICTS)}
    votes = np.full((len(by_label), len(names)), -1, dtype=np.int64)
    for row, (key, decisions) in enumerate(by_label.items()):
        for decision in decisions:
            votes[row, column[decision.reviewer]] = code[decision.verdict]
        if key in doubted:
            votes[row, column[MODEL]] = code["accept" if doubted[key] else "keep"]
    posterior = dawid_skene(votes, len(VERDICTS)).posterior  # (labels, verdicts)
    return {
        key: _likeliest(decisions, chances, code)
        for (key, decisions), chances in zip(by_label.items(), posterior, strict=True)
    }


def _likeliest(decisions: list[Decision], chances: NDArray[np.float64], code: Mapping[str, int]) -> Outcome:
    verdict = max({each.verdict for each in decisions}, key=lambda each: (chances[code[each]], each))
    among = _majority([each for each in decisions if each.verdict == verdict])
    return Outcome(among.before, among.verdict, among.cell, len(decisions), float(chances[code[verdict]]))


def _verdict_counts(groups: list[list[Decision]]) -> NDArray[np.int64]:
    """How often each verdict was given on each label, (labels, verdicts)."""
    counts = np.zeros((len(groups), len(VERDICTS)), dtype=np.int64)
    for row, decisions in enumerate(groups):
        for decision in decisions:
            counts[row, VERDICTS.index(decision.verdict)] += 1
    return counts


def _reviewers(
    by_label: Mapping[Key, list[Decision]], layer: Mapping[Key, Outcome]
) -> dict[str, tuple[int, float | None]]:
    made: Counter[str] = Counter()
    shared: dict[str, list[bool]] = {}
    for key, decisions in by_label.items():
        for decision in decisions:
            made[decision.reviewer] += 1
            if len(decisions) > 1:
                shared.setdefault(decision.reviewer, []).append(answer(decision) == layer[key].cell)
    return {
        name: (count, float(np.mean(shared[name])) if name in shared else None) for name, count in sorted(made.items())
    }
