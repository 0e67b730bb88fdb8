"""Encoders from raw inputs to float32 model inputs; their state is JSON and arrays, never a pickle."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelwise.data.examples import Examples
from labelwise.errors import InputError

MAX_CATEGORIES = 50
_CLIP_QUANTILES = (0.005, 0.995)
_BLOCK_ROWS = 4096
_SMALLEST_STD = 1e-12

State: TypeAlias = tuple[dict[str, Any], dict[str, NDArray[Any]]]


class Encoder(Protocol):
    """fit, transform, and a state of JSON and arrays. ``notes`` says what fitting left out."""

    kind: ClassVar[str]
    notes: list[str]

    def fit(self, inputs: Any) -> "Encoder":
        """Learn from the raw inputs of n examples; returns self."""
        ...

    def transform(self, inputs: Any) -> NDArray[np.float32]:
        """Raw inputs of m examples to float32 (m, ...)."""
        ...

    def to_state(self) -> State:
        """(JSON-able dict, named arrays) from which `encoder_from_state` rebuilds the encoder."""
        ...


def encoder_for(examples: Examples, *, text_model: str | None = None) -> Encoder:
    """The encoder, not yet fitted, for the kind of the examples; ``text_model`` is a folder of a sentence encoder."""
    if examples.kind == "texts":
        return SentenceEncoder(text_model) if text_model else TextEncoder()
    return _ENCODERS[examples.kind]()


def encoder_from_state(state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Encoder:
    """Rebuild a fitted encoder from what ``to_state`` gave; raises InputError for a kind it does not know."""
    encoder = _ENCODERS.get(state.get("kind", ""))
    if encoder is None:
        raise InputError(f"the encoder state is of the unknown kind {state.get('kind')!r}: the model file is damaged")
    try:
        return encoder.from_state(state, arrays)
    except (KeyError, TypeError) as error:
        raise InputError(f"the encoder state lacks {error}: the model file is damaged") from error


class ImageEncoder:
    """uint8 (n, H, W, C) to float32 (n, C, H, W), each channel with mean 0 and deviation 1 over the fitted pictures."""

    kind: ClassVar[str] = "images"

    def __init__(self) -> None:
        self.mean = np.zeros(0)  # (C,)
        self.std = np.ones(0)  # (C,)
        self.notes: list[str] = []

    def fit(self, inputs: NDArray[np.uint8]) -> "ImageEncoder":
        """Count every pixel value once: exact integer histograms (C, 256), so the order of rows does not matter."""
        _need_rows(inputs)
        channels = inputs.shape[-1]
        histogram = np.stack([np.bincount(inputs[..., c].ravel(), minlength=256) for c in range(channels)])
        share = histogram / histogram.sum(axis=1, keepdims=True)  # (C, 256)
        values = np.arange(256.0)
        self.mean = share @ values
        self.std = _safe_std(np.sqrt(np.maximum(share @ values**2 - self.mean**2, 0)))
        return self

    def transform(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Standardised pictures, float32 (n, C, H, W)."""
        _need_shape(inputs.shape[-1:], self.mean.shape, "channels")
        scaled = inputs.astype(np.float32)
        scaled -= self.mean.astype(np.float32)
        scaled /= self.std.astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(scaled, -1, 1))

    def to_state(self) -> State:
        """See `Encoder.to_state`."""
        return {"kind": self.kind}, {"mean": self.mean, "std": self.std}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "ImageEncoder":
        """The inverse of ``to_state``."""
        encoder = cls()
        encoder.mean, encoder.std = arrays["mean"], arrays["std"]
        return encoder


class ArrayEncoder:
    """float32 (n, ...) with mean 0 and deviation 1: a feature each for (n, d), all values together for more axes."""

    kind: ClassVar[str] = "arrays"

    def __init__(self) -> None:
        self.mean = np.zeros(0)  # (d,) or (1,)
        self.std = np.ones(0)
        self.shape: tuple[int, ...] = ()
        self.notes: list[str] = []

    def fit(self, inputs: NDArray[np.float32]) -> "ArrayEncoder":
        """Mean and deviation in float64, two passes."""
        _need_rows(inputs)
        self.shape = tuple(inputs.shape[1:])
        rows = inputs if inputs.ndim == 2 else inputs.reshape(-1, 1)
        self.mean = rows.mean(axis=0, dtype=np.float64)
        std = _column_std(rows, self.mean)
        self.std = _safe_std(std)
        constant = int((std <= _SMALLEST_STD).sum())
        self.notes = [f"{constant} of {rows.shape[1]} features are constant"] if constant else []
        return self

    def transform(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised values, float32 of the same shape."""
        _need_shape(inputs.shape[1:], self.shape, "columns")
        scaled = np.array(inputs, dtype=np.float32)
        scaled -= self.mean.astype(np.float32)
        scaled /= self.std.astype(np.float32)
        return scaled

    @property
    def spread(self) -> NDArray[np.float64] | None:
        """Deviation (d,) that each feature had before; None where an example is no plain row of features."""
        return self.std if len(self.shape) == 1 else None

    def to_state(self) -> State:
        """See `Encoder.to_state`."""
        return {"kind": self.kind, "shape": list(self.shape)}, {"mean": self.mean, "std": self.std}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "ArrayEncoder":
        """The inverse of ``to_state``."""
        encoder = cls()
        encoder.shape = tuple(state["shape"])
        encoder.mean, encoder.std = arrays["mean"], arrays["std"]
        return encoder


class TableEncoder:
    """A frame of numbers, dates and categories to float32 (n, features).

    Numbers: missing cells take the median, values are clipped to the 0.5% and 99.5% quantiles, then standardised.
    Dates: year, month, weekday and day count, each standardised. Categories: one column for each of the 50 most
    frequent that occur at least twice, one for the rest. Columns with missing cells get an indicator; constant
    columns are left out, with a note.
    """

    kind: ClassVar[str] = "table"

    def __init__(self) -> None:
        self.columns: list[dict[str, Any]] = []
        self.notes: list[str] = []

    @property
    def feature_names(self) -> list[str]:
        """A name for each output column."""
        return [name for column in self.columns for name in _feature_names(column)]

    @property
    def spread(self) -> NDArray[np.float64] | None:
        """Deviation that each output column had before; None where one is a date, a category or has missing cells."""
        if any(column["type"] != "number" or column["missing"] for column in self.columns):
            return None
        return np.array([part["std"] for column in self.columns for part in column["parts"]])

    def fit(self, inputs: Any) -> "TableEncoder":
        """Learn medians, quantiles, scales and categories of a frame of n rows."""
        _need_rows(inputs)
        self.columns = [_fit_column(str(name), inputs[name]) for name in inputs.columns]
        dropped = [column["name"] for column in self.columns if not _feature_names(column)]
        self.columns = [column for column in self.columns if _feature_names(column)]
        self.notes = [f"the column {name!r} is constant or all different and is not used" for name in dropped]
        if not self.columns:
            raise InputError("every feature column is constant or has a different word in each row: nothing to learn")
        return self

    def transform(self, inputs: Any) -> NDArray[np.float32]:
        """Features, float32 (n, features); a category never seen counts as the rest."""
        absent = [column["name"] for column in self.columns if column["name"] not in inputs.columns]
        if absent:
            raise InputError(f"the column {absent[0]!r} is absent: give the same columns as in training")
        encoded = np.zeros((len(inputs), len(self.feature_names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            parts = _encode_column(column, inputs[column["name"]])  # (n, parts)
            encoded[:, start : start + parts.shape[1]] = parts
            start += parts.shape[1]
        return encoded

    def to_state(self) -> State:
        """See `Encoder.to_state`."""
        return {"kind": self.kind, "columns": self.columns}, {}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "TableEncoder":
        """The inverse of ``to_state``."""
        encoder = cls()
        encoder.columns = state["columns"]
        return encoder


def _fit_column(name: str, series: Any) -> dict[str, Any]:
    missing = bool(series.isna().any())
    if series.dtype.kind in "mM":
        return {"name": name, "type": "date", "missing": missing, "parts": _fit_parts(_date_parts(series))}
    if series.dtype.kind in "biuf":
        return {"name": name, "type": "number", "missing": missing, "parts": _fit_parts({"": floats(series)})}
    kept, other = frequent_categories(series)
    if len(kept) + other < 2 and not (kept and missing):
        kept, other = [], False
    return {"name": name, "type": "category", "missing": missing, "categories": kept, "other": other}


def frequent_categories(series: Any) -> tuple[list[str], bool]:
    """The 50 most frequent categories of those that occur at least twice, and whether there are others."""
    counts = series.astype(object).value_counts()
    # Ties in frequency are settled by name: the order of the rows must not matter.
    ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    kept = [str(category) for category, count in ranked[:MAX_CATEGORIES] if count > 1]
    return kept, len(kept) < len(ranked)


def category_codes(series: Any, categories: list[str]) -> NDArray[np.int64]:
    """Positions (n,) of texts in ``categories``: -1 where missing, ``len(categories)`` where none of them."""
    import pandas as pd

    codes = pd.Index(categories, dtype=object).get_indexer(series.to_numpy(dtype=object))
    codes[(codes < 0) & ~series.isna().to_numpy()] = len(categories)
    return codes.astype(np.int64)


def floats(series: Any) -> NDArray[np.float64]:
    """A column of numbers (n,), NaN where missing."""
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _date_parts(series: Any) -> dict[str, NDArray[np.float64]]:
    """Year, month, weekday and days since 1970, each float64 (n,) with NaN where missing."""
    days = floats((series - np.datetime64(0, "s")).dt.days)
    parts = {"year": series.dt.year, "month": series.dt.month, "weekday": series.dt.day_of_week}
    return {name: floats(values) for name, values in parts.items()} | {"day": days}


def _fit_parts(parts: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    fitted = [_fit_part(name, values[~np.isnan(values)]) for name, values in parts.items()]
    return [part for part in fitted if part["std"] > 0]


def _fit_part(name: str, known: NDArray[np.float64]) -> dict[str, Any]:
    if not len(known):
        return {"part": name, "fill": 0.0, "low": 0.0, "high": 0.0, "mean": 0.0, "std": 0.0}
    low, high = np.quantile(known, _CLIP_QUANTILES)
    if low == high:
        low, high = known.min(), known.max()
    clipped = np.clip(known, low, high)
    scale = max(abs(low), abs(high), np.finfo(np.float64).tiny)  # squares of huge values would overflow
    numbers = {
        "fill": np.median(known),
        "low": low,
        "high": high,
        "mean": (clipped / scale).mean() * scale,
        "std": (clipped / scale).std() * scale if low < high else 0.0,
    }
    return {"part": name} | {key: float(value) for key, value in numbers.items()}


def _feature_names(column: dict[str, Any]) -> list[str]:
    name = column["name"]
    if column["type"] == "category":
        names = [f"{name}={category}" for category in column["categories"]]
        names += [f"{name}=(other)"] if column["other"] else []
    else:
        names = [f"{name}.{part['part']}".rstrip(".") for part in column["parts"]]
    if column["missing"] and (names or column["type"] != "category"):
        names.append(f"{name}=(missing)")
    return names


def _encode_column(column: dict[str, Any], series: Any) -> NDArray[np.float64]:
    missing = series.isna().to_numpy()  # (n,)
    if column["type"] == "category":
        codes = category_codes(series, column["categories"])
        width = len(column["categories"]) + column["other"]
        encoded = (codes[:, None] == np.arange(width)).astype(np.float64)  # (n, width)
    else:
        parts = _date_parts(series) if column["type"] == "date" else {"": floats(series)}
        encoded = np.empty((len(series), len(column["parts"])))
        for place, part in enumerate(column["parts"]):
            values = np.where(missing, part["fill"], parts[part["part"]])
            encoded[:, place] = (np.clip(values, part["low"], part["high"]) - part["mean"]) / part["std"]
    return np.column_stack([encoded, missing]) if column["missing"] else encoded


class TextEncoder:
    """Texts to float32 (n, d): hashed counts of words and word pairs, weighted by TF-IDF, rows of length 1.

    With ``reduce`` the rows are projected on that many leading singular directions (latent semantic analysis,
    Deerwester et al. 1990), brought back to one length and scaled so that an entry has mean square 1; d is smaller
    when the texts are few. Memory of the components: reduce x dim float32. ``reduce=None`` gives d = dim.
    """

    kind: ClassVar[str] = "texts"

    def __init__(self, dim: int = 4096, reduce: int | None = 256, seed: int = 0) -> None:
        self.dim = dim
        self.reduce = reduce
        self.seed = seed
        self.idf = np.ones(0, dtype=np.float32)  # (dim,)
        self.components = np.zeros((0, dim), dtype=np.float32)  # (d, dim)
        self.notes: list[str] = []

    def fit(self, inputs: Sequence[str]) -> "TextEncoder":
        """Learn the document frequencies, then the directions by a seeded randomised SVD."""
        _need_rows(inputs)
        counts = self._counts(inputs)  # sparse (n, dim)
        frequency = np.bincount(counts.indices, minlength=self.dim)
        if not frequency.any():
            raise InputError("no text holds a word of two letters or more: is this the text column?")
        self.idf = (np.log((1 + len(inputs)) / (1 + frequency)) + 1).astype(np.float32)
        if self.reduce is None:
            return self
        from sklearn.utils.extmath import randomized_svd

        rank = max(1, min(self.reduce, len(inputs) - 1, int((frequency > 0).sum()) - 1))
        _, _, directions = randomized_svd(self._weighted(counts), rank, n_iter=4, random_state=self.seed)
        self.components = np.ascontiguousarray(directions, dtype=np.float32)
        return self

    def transform(self, inputs: Sequence[str]) -> NDArray[np.float32]:
        """Text vectors, float32 (n, d); a text without a known word is a row of zeros."""
        width = self.dim if self.reduce is None else len(self.components)
        encoded = np.zeros((len(inputs), width), dtype=np.float32)
        for start in range(0, len(inputs), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            weighted = self._weighted(self._counts(inputs[rows]))
            encoded[rows] = weighted.toarray() if self.reduce is None else self._project(weighted)
        return encoded

    def _counts(self, texts: Sequence[str]) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(
            n_features=self.dim, ngram_range=(1, 2), alternate_sign=False, norm=None, dtype=np.float32
        )
        return hashing.transform(texts)

    def _weighted(self, counts: Any) -> Any:
        """Sublinear term frequency times idf, rows of length 1; sparse (n, dim)."""
        from sklearn.preprocessing import normalize

        weighted = counts.copy()
        weighted.data = (1 + np.log(weighted.data)) * self.idf[weighted.indices]
        return normalize(weighted, copy=False)

    def _project(self, weighted: Any) -> NDArray[np.float32]:
        projected = np.asarray(weighted @ self.components.T, dtype=np.float32)  # (n, d)
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        scale = np.sqrt(len(self.components)) / np.where(norms > 0, norms, 1)  # (n, 1)
        return projected * scale.astype(np.float32)

    def to_state(self) -> State:
        """See `Encoder.to_state`."""
        arrays: dict[str, NDArray[Any]] = {"idf": self.idf, "components": self.components}
        return {"kind": self.kind, "dim": self.dim, "reduce": self.reduce, "seed": self.seed}, arrays

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "TextEncoder":
        """The inverse of ``to_state``."""
        encoder = cls(state["dim"], state["reduce"], state["seed"])
        encoder.idf, encoder.components = arrays["idf"], arrays["components"]
        return encoder


class SentenceEncoder:
    """Texts to float32 (n, d) with a sentence-transformers model from a local folder; nothing is downloaded.

    The rows of length 1 are scaled so that an entry has mean square 1. The state holds the folder, not the weights.
    """

    kind: ClassVar[str] = "sentences"

    def __init__(self, model: str) -> None:
        self.model = model
        self.notes: list[str] = []
        self._loaded: Any = None

    def fit(self, inputs: Sequence[str]) -> "SentenceEncoder":
        """Only checks that the model is there."""
        self._load()
        return self

    def transform(self, inputs: Sequence[str]) -> NDArray[np.float32]:
        """Sentence vectors, float32 (n, d)."""
        vectors = self._load().encode(list(inputs), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32) * np.float32(np.sqrt(np.shape(vectors)[1]))

    def _load(self) -> Any:
        if self._loaded is not None:
            return self._loaded
        from pathlib import Path

        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise InputError("a sentence encoder needs the text extra: pip install 'labelwise[text]'") from error
        if not Path(self.model).is_dir():
            raise InputError(f"the sentence encoder {self.model} is not a folder: give the folder of its weights")
        self._loaded = SentenceTransformer(self.model, local_files_only=True)
        return self._loaded

    def to_state(self) -> State:
        """See `Encoder.to_state`."""
        return {"kind": self.kind, "model": self.model}, {}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "SentenceEncoder":
        """The inverse of ``to_state``."""
        return cls(state["model"])


_ENCODERS: dict[str, Any] = {
    encoder.kind: encoder for encoder in (ImageEncoder, ArrayEncoder, TableEncoder, TextEncoder, SentenceEncoder)
}


def _need_rows(inputs: Any) -> None:
    if len(inputs) == 0:
        raise InputError("there is no row to fit the encoder on: give at least one")


def _need_shape(given: tuple[int, ...], fitted: tuple[int, ...], what: str) -> None:
    if tuple(given) != tuple(fitted):
        raise InputError(f"the inputs have {what} {tuple(given)} where the encoder was fitted on {tuple(fitted)}")


def _safe_std(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviations with 1 for constant features: they become 0, not NaN."""
    return np.where(std > _SMALLEST_STD, std, 1.0)


def _column_std(rows: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros_like(mean)
    step = max(1, (1 << 20) // len(mean))
    for start in range(0, len(rows), step):
        total += ((rows[start : start + step] - mean) ** 2).sum(axis=0)
    return np.sqrt(total / len(rows))
