"""Audit of numeric targets: which are wrong, and how many, from predictions by models that did not see them.

Scores, low = suspicious, with the definitions of cleanlab's regression.rank and regression.learn (Zhou et al.,
"Detecting errors in numerical data via any regression model", 2023, https://arxiv.org/abs/2305.16583), r a residual:

- ``residual``: exp(-|r|), which depends on the unit of the targets;
- ``scaled_residual``: exp(-e / median e) with e = |r| / spread, which does not;
- ``outre``: how unusual the pair of target and residual is (`labelwise.audit.outre`).

A target is an issue where its difference, |r - median r| / spread, reaches a threshold: the lowest beyond which, by the
fitted distribution of right targets' residuals (`labelwise.audit.target_noise`), at most ``false_share`` of the targets
are right ones (Benjamini & Hochberg, 1995). Its tails are as heavy as the data say, so where large residuals are usual,
few targets or none are doubted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.blocks import RowReader, num_cores
from labelwise.audit.evidence import Bools, Floats, Ints
from labelwise.audit.filters import ranked
from labelwise.audit.outre import outre_scores
from labelwise.audit.result import SuspectList
from labelwise.audit.scores import UNLABELLED_SCORE, check_choice
from labelwise.audit.target_noise import MOST_FREEDOM, TargetNoise, estimate_target_noise
from labelwise.errors import InputError
from labelwise.numerics.order_statistics import median

SCORES = ("scaled_residual", "residual", "outre")
BLOCK_ROWS = 1 << 16
# Rows that the distribution of residuals is fitted on, and the fewest that say anything about it.
MOST_ROWS, LEAST_ROWS = 20_000, 20
# Squares of larger numbers, and their sums, would leave the range of float64.
LARGEST = 1e140
TINY = 1e-100
# Thresholds tried: from half of the right targets to practically none.
TAILS = np.geomspace(0.5, 1e-15, 2000)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RegressionAudit(SuspectList):
    """Suspected errors among n numeric targets.

    ``scores`` (n,) by ``method``, low = suspicious, 1 where the target is unknown; ``is_issue`` (n,) bool; ``ranked``
    indices of the issues, worst first, with ``given`` and ``suggested``, their targets and predictions, and
    ``differences``, their |residual - centre| / spread, all (issues,); ``threshold`` is what that must reach to be an
    issue, infinite where no target need be wrong. ``typical`` is the median of |residual| / spread over all rows.
    ``noise``: the share of wrong targets with an interval, and the centre. ``num_unknown`` targets are NaN.
    """

    method: str
    scores: Floats
    is_issue: Bools
    ranked: Ints
    given: Floats
    suggested: Floats
    differences: Floats
    typical: float
    threshold: float
    noise: TargetNoise
    num_unknown: int

    def suspects(self) -> Iterator[tuple[Any, ...]]:
        """The issues, worst first: index, target, prediction, score, why."""
        for row, given, suggested, times in zip(
            self.ranked, self.given, self.suggested, self.differences / max(self.typical, TINY), strict=True
        ):
            amount = f"{times:.1f} times the usual difference" if times < 1e6 else "while most differ by nothing"
            why = (
                f"the prediction is {abs(given - suggested):.4g} {'lower' if suggested < given else 'higher'}, {amount}"
            )
            yield int(row), float(given), float(suggested), round(float(self.scores[row]), 6), why


def audit_regression(
    targets: ArrayLike,
    predictions: ArrayLike,
    *,
    spread: ArrayLike | None = None,
    rank_by: str = "scaled_residual",
    false_share: float = 0.1,
    seed: int = 0,
    num_threads: int | None = None,
) -> RegressionAudit:
    """Find suspected errors in targets (n,), NaN = unknown, given out-of-sample predictions (n,).

    Arrays, or files mapped with ``numpy.load(..., mmap_mode="r")``, which are read a block at a time. spread: how far
    off predictions usually are, one number or (n,), above 0, in the targets' unit or any other; by default the same for
    all rows. rank_by: 'scaled_residual', 'residual' or 'outre', which takes no account of spread. false_share: at most
    this share of the issues may be right targets, in expectation. seed: of the rows that the distribution of residuals
    is fitted on, where there are more than 20,000. num_threads: by default one a core; no answer depends on it.

    Raises InputError with the row for bad input. Memory: 10 bytes a row for the answer, one block, and for 'outre' a
    grid. Cost: three reads; 'outre' four more, and n distances to at most 32,768 points each.
    """
    check_choice(rank_by, SCORES, "rank_by")
    if not 0 < false_share < 1:
        raise InputError(f"false_share is {false_share}: give a share above 0 and below 1.")
    rng = np.random.default_rng(seed)
    rows = _Rows.of(targets, predictions, spread)
    known, excess, sample = _read(rows, rng)
    noise = _noise(sample, len(excess), rng)
    typical = median(excess)
    threshold = _threshold(rows, len(excess), noise, false_share)
    if np.isinf(threshold):
        note = "No difference is large enough to call a target wrong, so there are no suspects."
        noise = noise._replace(notes=(*noise.notes, note))
    is_issue, given, suggested, differences = _issues(rows, noise.centre, threshold)
    scores = _scores(rows, excess, typical, rank_by, num_threads or num_cores())
    if not known.all():
        spaced = np.full(len(known), UNLABELLED_SCORE)
        spaced[known] = scores
        scores = spaced
    order = ranked(is_issue, scores)
    place = np.searchsorted(np.flatnonzero(is_issue), order)
    return RegressionAudit(
        method=rank_by,
        scores=scores,
        is_issue=is_issue,
        ranked=order,
        given=given[place],
        suggested=suggested[place],
        differences=differences[place],
        typical=typical,
        threshold=threshold,
        noise=noise,
        num_unknown=int(len(known) - len(excess)),
    )


class _Block(NamedTuple):
    """Rows from ``start`` on, all (rows,) float64; a target that is not known is NaN."""

    start: int
    targets: Floats
    predictions: Floats
    spread: Floats

    def differences(self, centre: float) -> Floats:
        """|residual - centre| / spread, NaN where the target is."""
        return np.abs(self.predictions - self.targets - centre) / self.spread


@dataclass(slots=True)
class _Rows:
    """The user's columns; ``spread`` is a number where all rows share it."""

    num_rows: int
    targets: RowReader
    predictions: RowReader
    spread: RowReader | float

    @classmethod
    def of(cls, targets: ArrayLike, predictions: ArrayLike, spread: ArrayLike | None) -> Self:
        """Columns of the right shape and type. Raises InputError."""
        given, predicted = _column(targets, "targets"), _column(predictions, "predictions")
        width = np.asanyarray(1.0 if spread is None else spread)
        if width.ndim == 0:
            _check_spread(width[None].astype(np.float64), 0)
        else:
            width = _column(width, "spread")
        for name, column in (("predictions", predicted), ("spread", width)):
            if column.ndim and len(column) != len(given):
                raise InputError(f"{name} has {len(column)} rows for {len(given)} targets: give one for each target.")
        return cls(len(given), RowReader(given), RowReader(predicted), RowReader(width) if width.ndim else float(width))

    def blocks(self) -> Iterator[_Block]:
        """All rows, in order."""
        for start in range(0, self.num_rows, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, self.num_rows)
            targets, predictions = (
                reader.read(start, stop).astype(np.float64) for reader in (self.targets, self.predictions)
            )
            if isinstance(self.spread, float):
                spread = np.full(len(targets), self.spread)
            else:
                spread = self.spread.read(start, stop).astype(np.float64)
            yield _Block(start, targets, predictions, spread)

    def known(self) -> Iterator[tuple[Floats, Floats]]:
        """Targets and residuals of the rows whose target is known."""
        for block in self.blocks():
            known = ~np.isnan(block.targets)
            yield block.targets[known], (block.predictions - block.targets)[known]


def _column(values: ArrayLike, name: str) -> NDArray[Any]:
    column = values if isinstance(values, np.ndarray) else np.asarray(values)
    if column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}: give one number for each example, shape (n,).")
    if len(column) == 0:
        raise InputError(f"{name} is empty: give at least one example.")
    if column.dtype.kind not in "iuf":
        raise InputError(f"{name} has type {column.dtype}: give numbers.")
    return column


def _read(rows: _Rows, rng: np.random.Generator) -> tuple[Bools, Floats, tuple[Floats, ...]]:
    """Check all rows: which targets are known (n,), |residual| / spread of those, and some rows drawn from them."""
    drawn = np.arange(rows.num_rows)
    if len(drawn) > MOST_ROWS:
        drawn = np.sort(rng.choice(len(drawn), MOST_ROWS, replace=False))
    known, excess, count = np.empty(rows.num_rows, dtype=bool), np.empty(rows.num_rows), 0
    sample = []
    for block in rows.blocks():
        _check(block)
        here = slice(block.start, block.start + len(block.targets))
        known[here] = ~np.isnan(block.targets)
        part = block.differences(0.0)[known[here]]
        excess[count : count + len(part)] = part
        count += len(part)
        chosen = drawn[np.searchsorted(drawn, here.start) : np.searchsorted(drawn, here.stop)]
        chosen = chosen[known[chosen]] - block.start
        sample.append((block.targets[chosen], block.predictions[chosen], block.spread[chosen]))
    if not count:
        raise InputError("no target is known, so there is nothing to audit: give at least one that is not NaN.")
    return known, excess[:count], tuple(np.concatenate(column) for column in zip(*sample, strict=True))


def _check(block: _Block) -> None:
    """Raise InputError for the first number of a block that is none, or too large."""
    for name, column, may_miss in (("targets", block.targets, True), ("predictions", block.predictions, False)):
        is_bad = ~(np.abs(column) <= LARGEST)
        if may_miss:
            is_bad &= ~np.isnan(column)
        if is_bad.any():
            row = int(is_bad.argmax())
            remedy = "give finite numbers below 1e140" + (", NaN where a target is unknown." if may_miss else ".")
            raise InputError(f"{name} row {block.start + row} is {column[row]}: {remedy}")
    _check_spread(block.spread, block.start)


def _check_spread(spread: Floats, start: int) -> None:
    is_bad = ~((spread > TINY) & (spread <= LARGEST))
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(f"spread row {start + row} is {spread[row]}: give finite numbers above 0.")


def _noise(sample: tuple[Floats, ...], num_known: int, rng: np.random.Generator) -> TargetNoise:
    targets, predictions, spread = sample
    if len(targets) < LEAST_ROWS:
        note = f"{num_known} known targets are too few to say how many are wrong: give {LEAST_ROWS} or more."
        return TargetNoise(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, np.inf, MOST_FREEDOM, (note,))
    found = estimate_target_noise(targets, predictions, spread, rng)
    if num_known <= MOST_ROWS:
        return found
    return found._replace(notes=(f"The share was estimated on {len(targets):,} rows drawn at random.", *found.notes))


def _threshold(rows: _Rows, num_known: int, noise: TargetNoise, false_share: float) -> float:
    """The lowest difference from which on at most ``false_share`` of the targets are right ones."""
    if noise.scale == 0:
        return float(np.nextafter(0, 1))
    if not np.isfinite(noise.scale):
        return np.inf
    bars = noise.quantile(TAILS)  # (tails,), rising
    reached = np.zeros(len(bars) + 1, dtype=np.int64)
    for block in rows.blocks():
        differences = block.differences(noise.centre)
        places = np.searchsorted(bars, differences[~np.isnan(differences)], side="right")
        reached += np.bincount(places, minlength=len(reached))
    num_reached = np.cumsum(reached[::-1])[::-1][1:]  # (tails,) how many reach each bar
    is_enough = (num_reached > 0) & ((1 - noise.rate) * num_known * TAILS <= false_share * num_reached)
    return float(bars[is_enough.argmax()]) if is_enough.any() else np.inf


def _issues(rows: _Rows, centre: float, threshold: float) -> tuple[Bools, Floats, Floats, Floats]:
    """Which rows are issues (n,); targets, predictions and differences of those, in their order."""
    is_issue, parts = np.zeros(rows.num_rows, dtype=bool), [np.empty((3, 0))]
    for block in rows.blocks():
        differences = block.differences(centre)
        chosen = differences >= threshold
        is_issue[block.start : block.start + len(chosen)] = chosen
        parts.append(np.stack([block.targets[chosen], block.predictions[chosen], differences[chosen]]))
    given, suggested, differences = np.concatenate(parts, axis=1)
    return is_issue, given, suggested, differences


def _scores(rows: _Rows, excess: Floats, typical: float, rank_by: str, num_threads: int) -> Floats:
    """Scores of the known rows, in the place of ``excess``."""
    if rank_by == "outre":
        outre_scores(rows.known, len(excess), num_threads, excess)
        return excess
    if rank_by == "residual":
        start = 0
        for _, residuals in rows.known():
            excess[start : start + len(residuals)] = np.exp(-np.abs(residuals))
            start += len(residuals)
        return excess
    np.divide(excess, -max(typical, TINY), out=excess)
    return np.exp(excess, out=excess)
