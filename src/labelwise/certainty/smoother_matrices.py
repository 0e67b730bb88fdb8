"""Smoother matrices of tree ensembles, kept as the trees' leaves: memory grows with n + m, never with n x m.

Tree b predicts with the mean outcome of the training rows in a leaf. All its leaves' means together are one sparse
matrix M_b (leaves, n), whose row l holds w_i / sum_j w_j for the training rows i in leaf l; a query takes the row of
its leaf. So the forest's row is the mean of B sparse rows, and a boosting round is one sparse product with the
residuals. Rows of S are made a block at a time, when something must be summed over them.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, eye_array

from labelwise.certainty.leaf_means import Leaves
from labelwise.errors import InputError

# Weights held at once while rows of S are made: 2^22 of 8 bytes (and 4 for the column) stay under 100 MB.
BLOCK_WEIGHTS = 2**22

Floats = NDArray[np.float64]


class Smoother(ABC):
    """The matrix S (m, n) whose row s(x) gives the weight of each training outcome in the prediction at query x.

    ``S @ y`` predicts from outcomes (n,) or (n, columns). ``shape`` is (m, n), ``num_trees`` is B. Nothing of size
    m x n is made except by ``toarray``. ``is_average``: entries are not negative and sum to 1.
    """

    is_average: ClassVar[bool]

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self.num_trees, num_queries = leaves.query.shape
        self.shape = (num_queries, leaves.means.shape[1])

    @abstractmethod
    def rows(self, start: int, stop: int) -> Any:
        """Rows start to stop of S, (stop - start, n) float64: sparse for a forest, dense for boosting."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges (start, stop) that cover all queries, each small enough for its rows to be held at once."""

    @abstractmethod
    def column_means(self) -> Floats:
        """Mean weight (n,) of each training outcome over the queries. Cost: B (n + m)."""

    @abstractmethod
    def staged_effective_parameters(self) -> Floats:
        """Effective parameters (B,) of the first 1, 2, ..., B trees. Cost: see the class."""

    @abstractmethod
    def _staged(self, outcomes: Floats) -> Iterator[Floats]:
        """Predictions (m, columns) of the first 1, 2, ..., B trees, from outcomes (n, columns). May reuse memory."""

    def __matmul__(self, outcomes: ArrayLike) -> Floats:
        """Predictions (m,) or (m, columns) from outcomes (n,) or (n, columns), finite numbers.

        Raises InputError for other shapes and values. Cost: B (n + m) columns.
        """
        values = self._check(outcomes)
        last = deque(self._staged(values.reshape(self.shape[1], -1)), maxlen=1)[0]
        return last.reshape(self.shape[0], *values.shape[1:])

    def staged_predict(self, outcomes: ArrayLike) -> Iterator[Floats]:
        """Yield the predictions of the first 1, 2, ..., B trees; as ``S @ outcomes`` otherwise."""
        values = self._check(outcomes)
        for predicted in self._staged(values.reshape(self.shape[1], -1)):
            yield predicted.reshape(self.shape[0], *values.shape[1:]).copy()

    def toarray(self) -> Floats:
        """All of S as a dense (m, n) float64 array, for small m and n."""
        dense = np.empty(self.shape)
        for start, stop in self.blocks():
            rows = self.rows(start, stop)
            dense[start:stop] = rows if isinstance(rows, np.ndarray) else rows.toarray()
        return dense

    def _check(self, outcomes: ArrayLike) -> Floats:
        num_rows = self.shape[1]
        try:
            values = np.asarray(outcomes, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                "outcomes are not numbers: give one column for each class, 1 where a row has it."
            ) from error
        if values.ndim not in (1, 2) or len(values) != num_rows:
            raise InputError(f"outcomes have shape {values.shape}: give one for each of the {num_rows} training rows.")
        is_bad = ~np.isfinite(values)
        if is_bad.any():
            row = int(is_bad.reshape(num_rows, -1).any(axis=1).argmax())
            raise InputError(f"outcome of training row {row} is not finite: give the outcomes the model was fitted on.")
        return values


class ForestSmoother(Smoother):
    """Smoother of an average of trees: row = mean of the trees' rows, entries not negative, sum 1.

    A tree that has no training row in a query's leaf has no say there: the mean runs over the others. A query on
    which no tree has a say gets a row of zeros. Cost of all rows and of their norms: one multiply-add for each query,
    tree, and training row in that tree's leaf of the query (m B for fully grown trees).
    """

    is_average = True

    def __init__(self, leaves: Leaves) -> None:
        super().__init__(leaves)
        sizes = np.diff(leaves.means.indptr)  # (all leaves,)
        has_say = np.zeros(self.shape[0], dtype=np.int64)  # trees with training rows in the query's leaf
        self._row_cost = np.zeros(self.shape[0], dtype=np.int64)
        for tree, query in enumerate(leaves.query):
            size = sizes[query + leaves.starts[tree]]  # (m,)
            has_say += size > 0
            self._row_cost += size
        self._share = 1.0 / np.maximum(has_say, 1)  # (m,)

    def rows(self, start: int, stop: int) -> csr_array:
        """Rows start to stop of S, sparse (stop - start, n)."""
        leaf = self._leaves.query[:, start:stop] + self._leaves.starts[:-1, None]  # (B, rows)
        share = np.repeat(self._share[start:stop], self.num_trees)
        indptr = np.arange(0, leaf.size + 1, self.num_trees)
        queries = csr_array((share, leaf.T.ravel(), indptr), shape=(stop - start, self._leaves.means.shape[0]))
        return queries @ self._leaves.means

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges (start, stop) of queries whose rows hold some 4 million weights together."""
        # No row is longer than n, however many trees put weight on the same training row.
        held = np.cumsum(np.minimum(self._row_cost, self.shape[1]) + self.num_trees)
        cuts = np.searchsorted(held, np.arange(BLOCK_WEIGHTS, held[-1], BLOCK_WEIGHTS))
        bounds = np.unique([0, *cuts.tolist(), self.shape[0]]).tolist()
        return pairwise(bounds)

    def column_means(self) -> Floats:
        """Mean weight (n,) of each training outcome over the queries."""
        summed = np.zeros(self.shape[1])
        for tree, query in enumerate(self._leaves.query):
            means = self._leaves.of_tree(tree)
            summed += means.T @ np.bincount(query, weights=self._share, minlength=means.shape[0])
        return summed / self.shape[0]

    def staged_effective_parameters(self) -> Floats:
        """Effective parameters (B,) of the first 1, 2, ..., B trees, at the cost of all rows."""
        squares = np.zeros(self.num_trees)
        step = max(1, BLOCK_WEIGHTS // self.shape[1])
        for start in range(0, self.shape[0], step):
            squares += self._staged_squares(start, min(start + step, self.shape[0]))
        return squares * self.shape[1] / self.shape[0]

    def _staged_squares(self, start: int, stop: int) -> Floats:
        """Sums of squared weights (B,) of the rows start to stop after each tree."""
        num_rows = stop - start
        summed = np.zeros((num_rows, self.shape[1]))
        squared, has_say, found = np.zeros(num_rows), np.zeros(num_rows), np.empty(self.num_trees)
        for tree in range(self.num_trees):
            new = self._leaves.of_tree(tree)[self._leaves.query[tree, start:stop]]  # sparse (rows, n)
            lengths = np.diff(new.indptr)
            row = np.repeat(np.arange(num_rows), lengths)
            old = summed[row, new.indices]
            summed[row, new.indices] = old + new.data
            # (old + new)^2 - old^2: only what this tree touches changes.
            squared += np.bincount(row, weights=(2 * old + new.data) * new.data, minlength=num_rows)
            has_say += lengths > 0
            found[tree] = (squared / np.maximum(has_say, 1) ** 2).sum()
        return found

    def _staged(self, outcomes: Floats) -> Iterator[Floats]:
        summed = np.zeros((self.shape[0], outcomes.shape[1]))
        has_say = np.zeros((self.shape[0], 1))
        for tree, query in enumerate(self._leaves.query):
            means = self._leaves.of_tree(tree)
            summed += (means @ outcomes)[query]
            has_say += (np.diff(means.indptr) > 0)[query, None]
            yield summed / np.maximum(has_say, 1)


class BoostingSmoother(Smoother):
    """Smoother of gradient boosting with squared error: rows need not sum to 1, entries may be negative.

    With E_k = I - S_k on the training rows, round k adds rate x M_k[leaf] E_{k-1} to a query's row and leaves
    E_k = E_{k-1} - rate x M_k[leaf] E_{k-1}. ``start`` (n,) is the row before the first round. Cost of `rows`: B n for
    each query; of the staged parameters: B n (n + m).
    """

    is_average = False

    def __init__(self, leaves: Leaves, learning_rate: float, start: Floats) -> None:
        super().__init__(leaves)
        self._rate = learning_rate
        self._start = start

    def rows(self, start: int, stop: int) -> Floats:
        """Rows start to stop of S, dense (stop - start, n)."""
        return self._transposed(start, stop, eye_array(stop - start, format="csr")).T

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges (start, stop) of queries whose rows hold some 4 million weights together."""
        step = max(1, BLOCK_WEIGHTS // self.shape[1])
        return ((start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step))

    def column_means(self) -> Floats:
        """Mean weight (n,) of each training outcome over the queries."""
        num_queries = self.shape[0]
        return self._transposed(0, num_queries, np.full((num_queries, 1), 1 / num_queries))[:, 0]

    def staged_effective_parameters(self) -> Floats:
        """Effective parameters (B,) of the first 1, 2, ..., B rounds: all columns of S, a block at a time."""
        num_queries, num_train = self.shape
        squares = np.zeros(self.num_trees)
        step = max(1, BLOCK_WEIGHTS // (num_queries + num_train))
        for first in range(0, num_train, step):
            columns = np.arange(first, min(first + step, num_train))
            ones = np.zeros((num_train, len(columns)))
            ones[columns, np.arange(len(columns))] = 1.0
            squares += [float((predicted**2).sum()) for predicted in self._staged(ones)]
        return squares * num_train / num_queries

    def _staged(self, outcomes: Floats) -> Iterator[Floats]:
        base = self._start @ outcomes  # (columns,)
        residual = outcomes - base  # (n, columns)
        predicted = np.tile(base, (self.shape[0], 1))
        for tree, query in enumerate(self._leaves.query):
            step = self._rate * (self._leaves.of_tree(tree) @ residual)  # (leaves, columns)
            predicted += step[query]
            residual -= step[self._leaves.train[tree]]
            yield predicted

    def _transposed(self, start: int, stop: int, weights: Any) -> Floats:
        """Rows start to stop of S, transposed, times weights (stop - start, columns): (n, columns).

        Goes back through the rounds: what a later round takes from the residuals flows to the outcomes behind them.
        """
        flow = np.zeros((self.shape[1], weights.shape[1]))
        for tree in reversed(range(self.num_trees)):
            means = self._leaves.of_tree(tree)
            num_leaves = means.shape[0]
            asked = _leaf_indicator(self._leaves.query[tree, start:stop], num_leaves) @ weights
            owed = _leaf_indicator(self._leaves.train[tree], num_leaves) @ flow
            flow += self._rate * (means.T @ (asked - owed))
        total = np.asarray(weights.sum(axis=0)) - flow.sum(axis=0)  # (columns,)
        return flow + self._start[:, None] * total


def _leaf_indicator(leaf: NDArray[np.int32], num_leaves: int) -> Any:
    """Sparse (leaves, rows): 1 where the row is in the leaf."""
    return csr_array((np.ones(len(leaf)), leaf, np.arange(len(leaf) + 1)), shape=(len(leaf), num_leaves)).T
