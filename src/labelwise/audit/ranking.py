"""Does a benchmark's ranking of models hold once its labels are corrected? Many models on one `BenchmarkStudy`.

Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021, section 5. The bootstrap is paired: each draw resamples examples once for all models, so that what is hard for all
of them does not blur their differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.stability import Accuracies, BenchmarkStudy, rank_correlation
from labelwise.errors import InputError

Floats = NDArray[np.float64]
NUM_PREVALENCES = 101
# Hits of so many examples of different kinds are held at a time while resampling.
COUNTS_AT_ONCE = 1 << 22
# On fewer correctable examples no two models can be told apart, even where one is right on all and the other on none:
# a two-sided sign test of 5 gives 2 / 2 ** 5 = 0.06, of 6 it gives 0.03.
MIN_CORRECTABLE = 6


class RankedModel(NamedTuple):
    """One model: accuracies, and its rank by them, 1 = best; ties share the better rank.

    low, high: ends of the interval of the corrected accuracy. outside: how many predictions are of `outside_classes`.
    """

    name: str
    accuracies: Accuracies
    original_rank: int
    corrected_rank: int
    low: float
    high: float
    outside: int


class RankedPair(NamedTuple):
    """Two models, the one that leads on the original labels (or was named first, where they tie) and the other.

    original, corrected: the leader's lead in accuracy. low, high: ends of the interval of its lead on corrected labels.
    holds: share of the draws in which the other does not overtake it, None where `Ranking.holds` is. prevalence,
    removed_fraction: where the two swap places, as in `Crossover`.
    """

    leader: str
    other: str
    original: float
    corrected: float
    low: float
    high: float
    holds: float | None
    prevalence: float | None
    removed_fraction: float | None


class Ranking(NamedTuple):
    """What became of a ranking.

    models: best first on original labels. pairs: all of them, in that order. holds: whether no model overtakes another
    on corrected labels; probability: in what share of the draws; both None, which says that it cannot be told, on
    fewer than MIN_CORRECTABLE correctable examples. Rank correlations over models: of accuracies on all examples,
    original against corrected; of accuracies on correctable examples, given against corrected labels; of corrected
    accuracies, benign against correctable examples; None where undefined. grid: noise prevalences from 0 to 1
    (prevalences,); curves, low, high: expected corrected accuracies at them, one row a model, (models, prevalences).
    """

    models: list[RankedModel]
    pairs: list[RankedPair]
    noise_prevalence: float
    benign: int
    correctable: int
    unknown: int
    holds: bool | None
    probability: float | None
    correlation: float | None
    correlation_correctable: float | None
    correlation_benign_correctable: float | None
    grid: Floats
    curves: Floats
    low: Floats
    high: Floats

    @property
    def verdict(self) -> Literal["holds", "does not hold", "cannot tell"]:
        """What `holds` says, in words."""
        if self.holds is None:
            return "cannot tell"
        return "holds" if self.holds else "does not hold"


class _Draws(NamedTuple):
    """Hits of each model on resampled examples, benign and correctable ones apart: (draws, models), and their sizes."""

    benign: Floats
    correctable: Floats
    num_benign: int
    num_correctable: int

    def accuracies(self) -> Floats:
        """Corrected accuracies (draws, models). Whole numbers are added before they are divided: ties stay ties."""
        return (self.benign + self.correctable) / (self.num_benign + self.num_correctable)

    def bands(self, grid: Floats, tails: tuple[float, float]) -> Floats:
        """Ends of the intervals at noise prevalences ``grid`` (prevalences,): (2, models, prevalences)."""
        right = self.benign / max(self.num_benign, 1)
        mended = self.correctable / max(self.num_correctable, 1)
        ends = [
            np.quantile(np.outer(right[:, model], 1 - grid) + np.outer(mended[:, model], grid), tails, axis=0)
            for model in range(right.shape[1])
        ]
        return np.stack(ends, axis=1)


def rank_models(
    study: BenchmarkStudy,
    predictions: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    num_draws: int = 2000,
    confidence: float = 0.95,
) -> Ranking:
    """Rank models by original and by corrected labels, with percentile intervals of a paired bootstrap.

    predictions: name -> predicted classes (n,). Benign and correctable examples are resampled apart, each part at its
    full size: the intervals say how far other examples of these kinds would change the ranking, not what other
    reviewers would have decided. Raises InputError for fewer than two models, for shapes that do not fit, and where no
    example is benign or correctable. Cost: O(n) a model, then O(num_draws) times the number of different rows of hits,
    at most 2 ** models.
    """
    if len(predictions) < 2:
        raise InputError(f"there are predictions of {len(predictions)} models: give those of at least two to rank.")
    num_benign, num_correctable = study.sizes
    if num_benign + num_correctable == 0:
        raise InputError(
            f"none of the {len(study.given)} examples has a corrected label that was agreed on (all are unknown, -1): "
            "give corrected labels to rank the models by."
        )
    found = {name: study.accuracies(preds) for name, preds in predictions.items()}
    found = dict(sorted(found.items(), key=lambda each: -each[1].original))  # stable: of equals the first named leads
    draws = _draw(study, [predictions[name] for name in found], rng, num_draws)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    grid = np.linspace(0.0, 1.0, NUM_PREVALENCES)
    on_benign = np.array([each.benign for each in found.values()])  # (models,)
    on_correctable = np.array([each.correctable_corrected for each in found.values()])
    original, corrected = [each.original for each in found.values()], [each.corrected for each in found.values()]
    is_told = num_correctable >= MIN_CORRECTABLE
    low, high = draws.bands(grid, tails)
    return Ranking(
        models=_ranked_models(study, predictions, found, draws, tails),
        pairs=_ranked_pairs(study, found, draws, tails, is_told),
        noise_prevalence=study.noise_prevalence,
        benign=num_benign,
        correctable=num_correctable,
        unknown=len(study.given) - num_benign - num_correctable,
        holds=bool((np.diff(corrected) <= 0).all()) if is_told else None,
        probability=float((np.diff(draws.accuracies(), axis=1) <= 0).all(axis=1).mean()) if is_told else None,
        correlation=rank_correlation(original, corrected),
        correlation_correctable=study.rank_correlation([predictions[name] for name in found]),
        correlation_benign_correctable=rank_correlation(on_benign.tolist(), on_correctable.tolist()),
        grid=grid,
        curves=np.outer(on_benign, 1 - grid) + np.outer(on_correctable, grid),
        low=low,
        high=high,
    )


def outside_classes(study: BenchmarkStudy, preds: ArrayLike) -> NDArray[np.bool_]:
    """Which predictions (n,) are of classes that no example has, by its given label or by one agreed on."""
    is_known = study.benign_mask | study.correctable_mask
    return np.isin(preds, np.union1d(study.given, study.corrected[is_known]), invert=True)


def _ranked_models(
    study: BenchmarkStudy,
    predictions: Mapping[str, ArrayLike],
    found: Mapping[str, Accuracies],
    draws: _Draws,
    tails: tuple[float, float],
) -> list[RankedModel]:
    original, corrected = [each.original for each in found.values()], [each.corrected for each in found.values()]
    lows, highs = np.quantile(draws.accuracies(), tails, axis=0).tolist()
    return [
        RankedModel(
            name,
            accuracies,
            _rank(original, place),
            _rank(corrected, place),
            low=lows[place],
            high=highs[place],
            outside=int(outside_classes(study, predictions[name]).sum()),
        )
        for place, (name, accuracies) in enumerate(found.items())
    ]


def _ranked_pairs(
    study: BenchmarkStudy,
    found: Mapping[str, Accuracies],
    draws: _Draws,
    tails: tuple[float, float],
    is_told: bool,
) -> list[RankedPair]:
    pairs, drawn = [], draws.accuracies()
    for (a, leader), (b, other) in combinations(enumerate(found), 2):
        leads = drawn[:, a] - drawn[:, b]  # (draws,)
        low, high = np.quantile(leads, tails).tolist()
        pairs.append(
            RankedPair(
                leader=leader,
                other=other,
                original=found[leader].original - found[other].original,
                corrected=found[leader].corrected - found[other].corrected,
                low=low,
                high=high,
                holds=float((leads >= 0).mean()) if is_told else None,
                **study.crossover_of(found[leader], found[other])._asdict(),
            )
        )
    return pairs


def _rank(scores: list[float], model: int) -> int:
    return 1 + sum(other > scores[model] for other in scores)


def _draw(study: BenchmarkStudy, predictions: Sequence[ArrayLike], rng: np.random.Generator, num_draws: int) -> _Draws:
    hits = np.stack([np.asarray(preds) == study.corrected for preds in predictions], axis=1)  # (n, models)
    return _Draws(
        _resampled_hits(hits[study.benign_mask], rng, num_draws),
        _resampled_hits(hits[study.correctable_mask], rng, num_draws),
        *study.sizes,
    )


def _resampled_hits(hits: NDArray[np.bool_], rng: np.random.Generator, num_draws: int) -> Floats:
    """Number of hits (n, models) of each model in each draw of n examples with replacement, (draws, models).

    Examples with the same hits are alike, so their numbers in a draw are multinomial.
    """
    if len(hits) == 0:
        return np.zeros((num_draws, hits.shape[1]))
    kinds, counts = np.unique(hits, axis=0, return_counts=True)  # (kinds, models), (kinds,)
    block = max(1, COUNTS_AT_ONCE // len(kinds))
    parts = [
        rng.multinomial(len(hits), counts / len(hits), size=min(block, num_draws - start)) @ kinds.astype(np.float64)
        for start in range(0, num_draws, block)
    ]
    return np.concatenate(parts)
