"""The compiled loop of mean distances to neighbours. It holds no lock, so threads run it side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Points whose distances are computed together, in vectors.
LANE = 256


# The distances inside the bracket may be added in any order.
@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def mean_distances(
    queries: NDArray[Any],
    order: NDArray[Any],
    points: NDArray[Any],
    weights: NDArray[Any],
    num: int,
    means: NDArray[Any],
) -> None:
    """Write means[i], the mean distance from queries[i] to its ``num`` nearest points, for i of ``order``.

    queries (n, 2); points (2, m), each standing for weights (m,) float points in its place, together ``num`` at least.
    Neighbours in ``order`` should be near each other: the distance of the last neighbour changes from one query to the
    next by no more than the queries are apart, so only the points in that bracket need be sorted.
    """
    num_points = points.shape[1]
    distances = np.empty(LANE)
    near, near_weight = np.empty(num_points), np.empty(num_points)
    radius, x_before, y_before = np.inf, 0.0, 0.0
    for i in order:
        x, y = queries[i, 0], queries[i, 1]
        # Room for rounding, of the distances and of the radius.
        reach = np.hypot(x - x_before, y - y_before) * (1 + 1e-9) + radius * 1e-12
        low, high = radius - reach, radius + reach
        if not np.isfinite(radius):
            low, high = -1.0, np.inf
        total = weight = 0.0
        num_near = 0
        for start in range(0, num_points, LANE):
            size = min(LANE, num_points - start)
            for j in range(size):
                dx, dy = points[0, start + j] - x, points[1, start + j] - y
                distances[j] = np.sqrt(dx * dx + dy * dy)
            for j in range(size):
                inside = weights[start + j] if distances[j] < low else 0.0
                total += inside * distances[j]
                weight += inside
            for j in range(size):
                near[num_near], near_weight[num_near] = distances[j], weights[start + j]
                num_near += low <= distances[j] <= high
        radius = low
        if weight < num:
            for j in np.argsort(near[:num_near]):
                taken = min(near_weight[j], num - weight)
                total += taken * near[j]
                weight += taken
                radius = near[j]
                if weight >= num:
                    break
        means[i] = total / num
        x_before, y_before = x, y
