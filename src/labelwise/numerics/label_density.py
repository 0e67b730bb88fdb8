"""How frequent a numeric label is, and weights that make rare ones count more (Yang et al., ICML 2021: LDS)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

SCHEMES = ("sqrt_inv", "inverse")
# Under `inverse` no bin counts for fewer or more labels than this.
LEAST, MOST = 5, 1000


def label_density_weights(
    labels: ArrayLike,
    scheme: str = "sqrt_inv",
    smoothing: tuple[int, float] | None = None,
    *,
    bin_width: float = 1.0,
) -> NDArray[np.float64]:
    """Return a weight for each of ``labels`` (n,) float, the inverse of its bin's count, with mean 1: (n,) float64.

    Bins are ``bin_width`` wide and start at its multiples. ``sqrt_inv`` takes the root of the counts, ``inverse``
    brings them between 5 and 1000. ``smoothing`` (size, sigma) averages the counts of ``size`` neighbouring bins (odd)
    with Gaussian weights of deviation ``sigma`` bins; beyond the lowest and the highest label bins count 0. Raises
    InputError. Cost: one pass over labels and bins.
    """
    values = np.asarray(labels, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f"labels have shape {values.shape}; give one number a row, and at least one row")
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise InputError(f"labels row {row} is {values[row]}; leave out rows whose label is not known")
    if scheme not in SCHEMES:
        raise InputError(f"scheme is {scheme!r}; choose one of {', '.join(SCHEMES)}")
    if not 0 < bin_width < np.inf:
        raise InputError(f"bin_width is {bin_width}; give a width above 0, in units of the labels")
    position = np.floor(values / bin_width)
    position = position - position.min()
    if position.max() > 10**7:
        raise InputError(f"labels span {position.max():.0f} bins; give a bin_width above {bin_width}")
    bins = position.astype(np.int64)  # (n,)
    counts = np.bincount(bins).astype(np.float64)  # (bins,)
    counts = np.sqrt(counts) if scheme == "sqrt_inv" else np.clip(counts, LEAST, MOST)
    if smoothing is not None:
        counts = _smooth(counts, *smoothing)
    weights = 1 / counts[bins]
    return weights / weights.mean()


def _smooth(counts: NDArray[np.float64], size: int, sigma: float) -> NDArray[np.float64]:
    if size < 1 or size % 2 == 0 or not 0 < sigma < np.inf:
        raise InputError(f"smoothing is {(size, sigma)}; give an odd number of bins and a deviation above 0")
    offsets = np.arange(size) - size // 2
    window = np.exp(-(offsets**2) / (2 * sigma**2))
    padded = np.pad(counts, size // 2)
    return np.convolve(padded, window / window.sum(), mode="valid")
