import json
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from labelwise.data.encode import (
    ArrayEncoder,
    Encoder,
    ImageEncoder,
    SentenceEncoder,
    TableEncoder,
    TextEncoder,
    encoder_for,
    encoder_from_state,
)
from labelwise.data.examples import Examples
from labelwise.errors import InputError


def table(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "spike": np.where(np.arange(n) == 7, 1e6, 0.0),
            "constant": 3.0,
            "job": np.array([f"job {min(v, 80)}" for v in rng.geometric(0.04, n)], dtype=object),
            "name": np.array([f"id {v}" for v in range(n)], dtype=object),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), unit="D"),
        }
    )
    frame.loc[::10, "age"] = np.nan
    frame.loc[::7, "job"] = None
    frame.loc[5, "since"] = pd.NaT
    return frame


TEXTS = np.array(["the cat sat", "a dog ran home", "the cat ran", "dogs and cats", "", "7 8 9"] * 3, dtype=object)
PICTURES = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
ARRAYS = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)

FITTED: dict[str, tuple[Any, Any]] = {
    "images": (ImageEncoder, PICTURES),
    "arrays": (ArrayEncoder, ARRAYS),
    "volumes": (ArrayEncoder, ARRAYS.reshape(25, 2, 4)),
    "table": (TableEncoder, table()),
    "texts": (TextEncoder, TEXTS),
    "sparse texts": (lambda: TextEncoder(dim=64, reduce=None), TEXTS),
}


@pytest.mark.parametrize("name", FITTED)
def test_state_of_json_and_arrays_restores_the_encoder(name: str) -> None:
    make, inputs = FITTED[name]
    encoder: Encoder = make().fit(inputs)
    encoded = encoder.transform(inputs)
    state, arrays = encoder.to_state()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    restored = encoder_from_state(json.loads(json.dumps(state, allow_nan=False)), arrays)
    assert encoded.dtype == np.float32
    assert len(encoded) == len(inputs)
    assert np.isfinite(encoded).all()
    assert np.array_equal(restored.transform(inputs), encoded)
    assert np.array_equal(make().fit(inputs).transform(inputs), encoded)


@pytest.mark.parametrize("name", FITTED)
def test_blocks_encode_as_the_whole(name: str) -> None:
    make, inputs = FITTED[name]
    encoder = make().fit(inputs)
    halves = [inputs[:4], inputs[4:]]
    if isinstance(inputs, pd.DataFrame):
        halves = [inputs.iloc[:4].reset_index(drop=True), inputs.iloc[4:].reset_index(drop=True)]
    whole = encoder.transform(inputs)
    assert np.allclose(np.concatenate([encoder.transform(half) for half in halves]), whole, atol=1e-6)


@pytest.mark.parametrize("name", FITTED)
def test_no_rows_are_refused(name: str) -> None:
    make, inputs = FITTED[name]
    with pytest.raises(InputError, match="no row"):
        make().fit(inputs[:0])


def test_pictures_have_mean_zero_and_deviation_one_a_channel() -> None:
    encoded = ImageEncoder().fit(PICTURES).transform(PICTURES)
    assert encoded.shape == (9, 3, 5, 4)
    assert np.allclose(encoded.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(encoded.std(axis=(0, 2, 3)), 1, atol=1e-5)
    spread = PICTURES.reshape(-1, 3).astype(float).std(axis=0)
    assert np.allclose(
        (encoded[0, :, 0, 0] - encoded[1, :, 0, 0]) * spread,
        PICTURES[0, 0, 0].astype(float) - PICTURES[1, 0, 0],
        atol=1e-3,
    )


def test_black_pictures_become_zero() -> None:
    black = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    assert (ImageEncoder().fit(black).transform(black) == 0).all()
    with pytest.raises(InputError, match="channels"):
        ImageEncoder().fit(black).transform(PICTURES)


def test_arrays_are_standardised_by_feature() -> None:
    inputs = np.column_stack([ARRAYS, np.full(50, 1e8, dtype=np.float32)])
    encoder = ArrayEncoder().fit(inputs)
    encoded = encoder.transform(inputs)
    assert np.allclose(encoded[:, :4], (ARRAYS - ARRAYS.mean(0)) / ARRAYS.std(0), atol=1e-5)
    assert (encoded[:, 4] == 0).all()
    assert encoder.notes == ["1 of 5 features are constant"]
    with pytest.raises(InputError, match="columns"):
        encoder.transform(ARRAYS)


def test_table_features() -> None:
    frame = table()
    encoder = TableEncoder().fit(frame)
    encoded = pd.DataFrame(encoder.transform(frame), columns=encoder.feature_names)
    missing = frame["age"].isna()
    assert (encoded["age=(missing)"] == missing).all()
    assert abs(encoded["age"][~missing].mean()) < 1e-6
    assert encoded["age"][~missing].std(ddof=0) == pytest.approx(1, abs=1e-6)
    clipped = frame["age"][~missing].clip(*frame["age"].quantile([0.005, 0.995]))
    assert np.allclose(encoded["age"][~missing], (clipped - clipped.mean()) / clipped.std(ddof=0), atol=1e-5)
    assert encoded["age"][missing].nunique() == 1
    assert {"since.year", "since.month", "since.weekday", "since.day", "since=(missing)"} <= set(encoded)
    assert encoded["spike"].nunique() == 2  # rarer than the clipped quantiles, and still seen
    assert [note for note in encoder.notes if "'constant'" in note]
    assert [note for note in encoder.notes if "'name'" in note]
    assert not [name for name in encoded if name.startswith(("constant", "name"))]


def test_categories_are_the_50_most_frequent_the_rest_and_missing() -> None:
    frame = table(3000)
    encoder = TableEncoder().fit(frame[["job"]])
    encoded = pd.DataFrame(encoder.transform(frame), columns=encoder.feature_names)
    counts = frame["job"].value_counts()
    assert len(counts) > 50
    assert encoded.shape[1] == 52
    assert (encoded.sum(axis=1) == 1).all()
    assert encoded["job=(missing)"].sum() == frame["job"].isna().sum()
    assert encoded["job=(other)"].sum() == counts[50:].sum()
    assert encoded[f"job={counts.index[0]}"].sum() == counts.iloc[0]


def test_table_meets_what_it_never_saw() -> None:
    encoder = TableEncoder().fit(pd.DataFrame({"n": [1.0, 2, 3, 4], "c": ["u", "u", "v", "v"]}))
    new = pd.DataFrame({"n": [np.nan, 1e300], "c": ["zebra", None]})
    encoded = encoder.transform(new)
    assert np.isfinite(encoded).all()
    assert encoded[0, 1:].tolist() == [0, 0]
    with pytest.raises(InputError, match="'c' is absent"):
        encoder.transform(new[["n"]])
    with pytest.raises(InputError, match="nothing to learn"):
        TableEncoder().fit(pd.DataFrame({"n": [1.0, 1.0]}))


def test_numbers_near_the_end_of_float64() -> None:
    frame = pd.DataFrame({"n": [1e300, -1e300, 1e300, np.nan]})
    assert np.isfinite(TableEncoder().fit(frame).transform(frame)).all()


def test_table_does_not_depend_on_the_order_of_rows() -> None:
    frame = table()
    mixed = frame.sample(frac=1, random_state=1)
    first, second = TableEncoder().fit(frame), TableEncoder().fit(mixed.reset_index(drop=True))
    assert first.feature_names == second.feature_names
    assert np.allclose(first.transform(frame)[mixed.index], second.transform(mixed.reset_index(drop=True)), atol=1e-5)


def test_texts_agree_with_sklearn() -> None:
    encoded = TextEncoder(dim=512, reduce=None).fit(TEXTS).transform(TEXTS)
    counts = HashingVectorizer(n_features=512, ngram_range=(1, 2), alternate_sign=False, norm=None).transform(TEXTS)
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray()
    assert np.allclose(encoded, expected, atol=1e-6)


def test_reduced_texts_keep_the_angles_of_full_rank() -> None:
    full = TextEncoder(reduce=None).fit(TEXTS).transform(TEXTS)
    encoder = TextEncoder().fit(TEXTS)
    reduced = encoder.transform(TEXTS)
    assert 5 <= reduced.shape[1] < len(TEXTS)
    assert np.allclose(reduced @ reduced.T / reduced.shape[1], full @ full.T, atol=1e-4)
    assert (reduced[4] == 0).all()
    with pytest.raises(InputError, match="no text holds a word"):
        TextEncoder().fit(np.array(["", "!"], dtype=object))


@pytest.mark.parametrize("texts", [["one"], ["same words", "same words"]])
def test_few_texts(texts: list[str]) -> None:
    encoded = TextEncoder().fit(texts).transform(texts)
    assert encoded.shape == (len(texts), 1)
    assert np.isfinite(encoded).all()


def test_encoder_for_each_kind() -> None:
    def examples(kind: Any) -> Examples:
        empty = np.zeros(0, dtype=np.int64)
        return Examples("x", kind, empty, empty, ("a", "b"), None, empty, [])

    kinds: list[Any] = ["images", "arrays", "table", "texts"]
    assert [encoder_for(examples(kind)).kind for kind in kinds] == kinds
    assert encoder_for(examples("texts"), text_model="folder").kind == "sentences"
    with pytest.raises(InputError, match="unknown kind"):
        encoder_from_state({"kind": "pickle"}, {})
    with pytest.raises(InputError, match="damaged"):
        encoder_from_state({"kind": "images"}, {})


def test_sentence_encoder_reads_a_local_folder_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    class Model:
        def __init__(self, path: str, local_files_only: bool) -> None:
            assert local_files_only

        def encode(self, texts: list[str], **options: Any) -> np.ndarray:
            return np.ones((len(texts), 4)) / 2

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    encoded = SentenceEncoder(str(tmp_path)).fit(TEXTS).transform(TEXTS)
    assert encoded.tolist() == [[1.0] * 4] * len(TEXTS)
    with pytest.raises(InputError, match="not a folder"):
        SentenceEncoder("someone/some-model").fit(TEXTS)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="text extra"):
        SentenceEncoder(str(tmp_path)).fit(TEXTS)
