"""Does a benchmark's ranking of models hold once its labels are corrected? Many models on one `BenchmarkStudy`.

Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021, section 5. The bootstrap is paired: each draw resamples examples once for all models, so that what is hard for all
of them does not blur their differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.stability import Accuracies, BenchmarkStudy, rank_correlation
from labelwise.errors import InputError

Floats = NDArray[np.float64]
NUM_PREVALENCES = 101
# Hits of so many examples of different kinds are held at a time while resampling.
COUNTS_AT_ONCE = 1 << 22


class RankedModel(NamedTuple):
    """One model: accuracies, and its rank by them, 1 = best; ties share the better rank.

    low, high: ends of the interval of the corrected accuracy.
    """

    name: str
    accuracies: Accuracies
    original_rank: int
    corrected_rank: int
    low: float
    high: float


class RankedPair(NamedTuple):
    """Two models, the one that leads on the original labels (or was named first, where they tie) and the other.

    original, corrected: the leader's lead in accuracy. low, high: ends of the interval of its lead on corrected labels.
    holds: share of the draws in which the other does not overtake it. prevalence, removed_fraction: where the two swap
    places, as in `Crossover`.
    """

    leader: str
    other: str
    original: float
    corrected: float
    low: float
    high: float
    holds: float
    prevalence: float | None
    removed_fraction: float | None


class Ranking(NamedTuple):
    """What became of a ranking.

    models: best first on original labels. pairs: all of them, in that order. holds: whether no model overtakes another
    on corrected labels; probability: in what share of the draws. Rank correlations over models: of accuracies on all
    examples, original against corrected; of accuracies on correctable examples, given against corrected labels; of
    corrected accuracies, benign against correctable examples; None where undefined. grid: noise prevalences from 0 to 1
    (prevalences,); curves, low, high: expected corrected accuracies at them, one row a model, (models, prevalences).
    """

    models: list[RankedModel]
    pairs: list[RankedPair]
    noise_prevalence: float
    benign: int
    correctable: int
    unknown: int
    holds: bool
    probability: float
    correlation: float | None
    correlation_correctable: float | None
    correlation_benign_correctable: float | None
    grid: Floats
    curves: Floats
    low: Floats
    high: Floats


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
    reviewers would have decided. Raises InputError for fewer than two models and for shapes that do not fit.
    Cost: O(n) a model, then O(num_draws) times the number of different rows of hits, at most 2 ** models.
    """
    if len(predictions) < 2:
        raise InputError(f"there are predictions of {len(predictions)} models: give those of at least two to rank.")
    found = {name: study.accuracies(preds) for name, preds in predictions.items()}
    names = sorted(found, key=lambda name: -found[name].original)  # stable: of equals the first named leads
    ordered = [found[name] for name in names]
    original, corrected = [each.original for each in ordered], [each.corrected for each in ordered]
    on_benign = np.array([each.benign for each in ordered])[:, None]  # (models, 1)
    on_correctable = np.array([each.correctable_corrected for each in ordered])[:, None]

    hits = np.stack([np.asarray(predictions[name]) == study.corrected for name in names], axis=1)  # (n, models)
    num_benign, num_correctable = study.sizes
    benign = _resampled_hits(hits[study.benign_mask], rng, num_draws)  # (draws, models)
    correctable = _resampled_hits(hits[study.correctable_mask], rng, num_draws)
    here = (benign + correctable) / max(num_benign + num_correctable, 1)  # whole numbers, so that ties stay ties
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    lows, highs = np.quantile(here, tails, axis=0).tolist()

    grid = np.linspace(0.0, 1.0, NUM_PREVALENCES)
    bands = np.stack(
        [
            np.quantile(np.outer(right, 1 - grid) + np.outer(mended, grid), tails, axis=0)
            for right, mended in zip(
                benign.T / max(num_benign, 1), correctable.T / max(num_correctable, 1), strict=True
            )
        ],
        axis=1,
    )  # (2, models, prevalences)

    def compare(a: int, b: int) -> RankedPair:
        leads = here[:, a] - here[:, b]  # (draws,)
        low, high = np.quantile(leads, tails).tolist()
        return RankedPair(
            leader=names[a],
            other=names[b],
            original=original[a] - original[b],
            corrected=corrected[a] - corrected[b],
            low=low,
            high=high,
            holds=float((leads >= 0).mean()),
            **study.crossover_of(ordered[a], ordered[b])._asdict(),
        )

    return Ranking(
        models=[
            RankedModel(names[m], ordered[m], _rank(original, m), _rank(corrected, m), low=lows[m], high=highs[m])
            for m in range(len(names))
        ],
        pairs=[compare(a, b) for a, b in combinations(range(len(names)), 2)],
        noise_prevalence=study.noise_prevalence,
        benign=num_benign,
        correctable=num_correctable,
        unknown=len(study.given) - num_benign - num_correctable,
        holds=bool((np.diff(corrected) <= 0).all()),
        probability=float((np.diff(here, axis=1) <= 0).all(axis=1).mean()),
        correlation=rank_correlation(original, corrected),
        correlation_correctable=study.rank_correlation([predictions[name] for name in names]),
        correlation_benign_correctable=rank_correlation(on_benign[:, 0].tolist(), on_correctable[:, 0].tolist()),
        grid=grid,
        curves=(1 - grid) * on_benign + grid * on_correctable,
        low=bands[0],
        high=bands[1],
    )


def _rank(scores: list[float], model: int) -> int:
    return 1 + sum(other > scores[model] for other in scores)


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
