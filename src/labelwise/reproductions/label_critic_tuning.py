"""What Label Critic's reproduction sets on labels of known quality before it measures: the rules of the rule judge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.critic.critic import LabelCritic
from labelwise.audit.critic.judges import Judge
from labelwise.audit.critic.rule_judge import RULES, RuleJudge
from labelwise.audit.critic.views import Drawing
from labelwise.reproductions.label_critic_data import Rivals

GOOD = 0.8
LEAST_GAP = 0.1


def critic_of(judge: Judge) -> LabelCritic:
    """A critic that compares all that differ, without enlarging small pictures."""
    return LabelCritic(judge, drawing=Drawing(size=None), dice_threshold=None, region_check=False)


def learn_usual(rules: RuleJudge, of: Sequence[Rivals]) -> None:
    """Tell the rules what size and place are usual, from the rival labels alone."""
    overlays, _, _, subjects = flat(of)
    for subject in sorted(set(subjects)):
        rules.learn(subject, [each for each, name in zip(overlays, subjects, strict=True) if name == subject])


def tuned_rules(taught: Sequence[Rivals]) -> RuleJudge:
    """Weights by logistic regression on which of two labels is better, threshold by balanced accuracy."""
    from sklearn.linear_model import LogisticRegression

    rules = RuleJudge()
    learn_usual(rules, taught)
    overlays, quality, cases, subjects = flat(taught)
    faults = np.zeros((len(overlays), len(RULES)))
    is_drawn = np.ones(len(overlays), dtype=bool)
    for row, (image, subject) in enumerate(zip(overlays, subjects, strict=True)):
        measured = rules.faults(image, subject)
        is_drawn[row] = bool(measured)
        faults[row] = [min(measured.get(rule, 0.0), 10.0) for rule in RULES]
    pairs = np.array(
        [
            (i, j)
            for number in range(len(taught))
            for i, j in combinations(np.flatnonzero((cases == number) & is_drawn), 2)
            if abs(quality[i] - quality[j]) > LEAST_GAP
        ]
    )
    differences, first_wins = faults[pairs[:, 1]] - faults[pairs[:, 0]], quality[pairs[:, 0]] > quality[pairs[:, 1]]
    model = LogisticRegression(fit_intercept=False).fit(
        np.concatenate([differences, -differences]), np.concatenate([first_wins, ~first_wins])
    )
    weights = np.maximum(model.coef_[0], 0)
    losses = np.where(is_drawn, faults @ weights, np.inf)
    is_good = quality >= GOOD
    candidates = np.quantile(losses[is_drawn], np.linspace(0, 1, 101))
    balanced = [((losses < each)[is_good].mean() + (losses >= each)[~is_good].mean()) / 2 for each in candidates]
    tuned = RuleJudge(dict(zip(RULES, weights.tolist(), strict=True)), float(candidates[int(np.argmax(balanced))]))
    tuned.profiles = rules.profiles
    return tuned


def flat(of: Sequence[Rivals]) -> tuple[list[Any], NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Pictures, qualities, case numbers and subjects of all labels."""
    critic = critic_of(RuleJudge())
    overlays = [critic.draw(case.volume, each, case.subject).image for case, _ in of for each in case.labels]
    quality = np.concatenate([each.quality for each in of])
    cases = np.repeat(np.arange(len(of)), [len(each.quality) for each in of])
    return overlays, quality, cases, [of[number].case.subject for number in cases.tolist()]
