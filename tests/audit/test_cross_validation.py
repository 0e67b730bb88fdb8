import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import shuffle

from labelwise.audit.cross_validation import PrunedClassifier, cross_val_pred_probs
from labelwise.errors import InputError


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers which rows (the only feature is the row number) and labels each fit saw; predicts their frequencies."""

    fits: list[dict[int, int]] = []  # noqa: RUF012 - shared by all clones, which is how the test sees them

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares_ = counts / counts.sum()
        self.seen_ = dict(zip(np.asarray(X)[:, 0].astype(int).tolist(), np.asarray(y).tolist(), strict=True))
        self.fits.append(self.seen_)
        return self

    def predict_proba(self, X):
        for row in np.asarray(X)[:, 0].astype(int):
            assert row not in self.seen_, "predicted by a model that was trained on it"
        return np.tile(self.shares_, (len(X), 1))


@pytest.fixture
def recorder() -> Recorder:
    Recorder.fits = []
    return Recorder()


def rows(n: int) -> np.ndarray:
    return np.arange(n)[:, None]


def test_nobody_is_predicted_by_a_model_that_saw_it(recorder: Recorder) -> None:
    labels = np.random.default_rng(0).integers(-1, 4, 103)
    pred_probs = cross_val_pred_probs(recorder, rows(103), labels, cv=5)
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1)
    assert len(recorder.fits) == 5
    labelled = {row: label for row, label in enumerate(labels.tolist()) if label >= 0}
    for seen in recorder.fits:
        assert seen.items() <= labelled.items()
    # Each labelled row is held out exactly once.
    assert all(sum(row in seen for seen in recorder.fits) == 4 for row in labelled)


def test_folds_are_stratified(recorder: Recorder) -> None:
    labels = np.repeat([0, 1, 2, -1], [50, 20, 7, 30])
    cross_val_pred_probs(recorder, rows(len(labels)), labels, cv=5)
    for k, count in enumerate([50, 20, 7]):
        held_out = [count - sum(label == k for label in seen.values()) for seen in recorder.fits]
        assert max(held_out) - min(held_out) <= 1


def test_a_class_missing_from_a_fold_gets_zero(recorder: Recorder) -> None:
    labels = np.array([0] * 10 + [1] * 10 + [3])
    pred_probs = cross_val_pred_probs(recorder, rows(21), labels, cv=5)
    assert pred_probs.shape == (21, 4)
    assert pred_probs[20, 3] == 0  # the only example of class 3 was held out
    assert (pred_probs[:, 2] == 0).all()
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1)


def test_groups_stay_together(recorder: Recorder) -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 30, 200)
    labels = rng.integers(0, 3, 200)
    cross_val_pred_probs(recorder, rows(200), labels, cv=4, groups=groups)
    held_out = [set(range(200)) - set(seen) for seen in recorder.fits]
    for part in held_out:
        assert {groups[i] for i in part}.isdisjoint(groups[i] for i in set(range(200)) - part)
    sizes = [len(part) for part in held_out]
    assert max(sizes) < 1.3 * min(sizes)
    shares = [np.bincount(labels[list(part)], minlength=3) / len(part) for part in held_out]
    assert np.ptp(shares, axis=0).max() < 0.15


def test_as_good_as_scikit_learns() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = shuffle(X, y, random_state=0)  # the file is in order of the writers: folds that are runs of rows are harder
    model = make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0.1))
    ours = cross_val_pred_probs(model, X, y, cv=5)
    theirs = cross_val_predict(model, X, y, cv=5, method="predict_proba")
    assert (ours.argmax(1) == y).mean() == pytest.approx((theirs.argmax(1) == y).mean(), abs=0.02)


def test_every_kind_of_input_gives_the_same() -> None:
    rng = np.random.default_rng(2)
    X, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    expected = cross_val_pred_probs(LogisticRegression(), X, labels)
    for same in (X.tolist(), pd.DataFrame(X, index=np.arange(60)[::-1]), sparse.csr_array(X)):
        np.testing.assert_allclose(cross_val_pred_probs(LogisticRegression(), same, labels), expected, atol=1e-4)


def test_images_keep_their_shape() -> None:
    class Images(BaseEstimator):
        def fit(self, X, y):
            assert X.shape[1:] == (2, 3, 3)
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            assert X.shape[1:] == (2, 3, 3)
            return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    found = cross_val_pred_probs(Images(), np.zeros((20, 2, 3, 3)), np.arange(20) % 2)
    assert (found == 0.5).all()


def test_folds_follow_the_random_state() -> None:
    rng = np.random.default_rng(3)
    X, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    first, again, other = (
        cross_val_pred_probs(LogisticRegression(), X, labels, random_state=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_of_zeros_mean_no_knowledge() -> None:
    class Silent(BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            return np.zeros((len(X), len(self.classes_)))

    assert (cross_val_pred_probs(Silent(), rows(10), np.arange(10) % 2) == 0.5).all()


def test_one_class_is_certain() -> None:
    pred_probs = cross_val_pred_probs(LogisticRegression(), rows(10), np.ones(10, int))
    assert pred_probs.tolist() == [[0.0, 1.0]] * 10


def test_the_estimator_is_left_alone() -> None:
    model = LogisticRegression()
    cross_val_pred_probs(model, rows(20), np.arange(20) % 2)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1, 0], {}, "labels has 3 rows, X has 10"),
        (np.full(10, -1), {}, "no labelled row"),
        (np.full(10, 0.5), {}, "row 0 is 0.5"),
        (np.arange(10) % 2, {"cv": 1}, "cv is 1"),
        (np.arange(10) % 2, {"cv": 11}, "cv is 11 for 10"),
        (np.arange(10) % 2, {"groups": [0] * 10}, "1 groups for 5 folds"),
        (np.arange(10) % 2, {"groups": [0, 1]}, "groups has shape"),
        ([0] + [-1] * 9, {}, "no labelled example is left"),
        (np.arange(10) % 4, {"num_classes": 3}, "row 3 is 3"),
    ],
)
def test_bad_input_is_refused(labels: object, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_val_pred_probs(GaussianNB(), rows(10), labels, **options)


def noisy_digits(seed: int = 0):
    X, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(true))
    X, true = X[order] / 16, true[order]
    is_flipped = rng.random(len(true)) < 0.25
    return X, true, np.where(is_flipped, (true + 1) % 10, true), is_flipped


def test_pruned_classifier_finds_flips_and_trains_better() -> None:
    X, true, given, is_flipped = noisy_digits()
    train, test = slice(0, 1000), slice(1000, None)
    base = LogisticRegression(max_iter=500)
    model = PrunedClassifier(base).fit(X[train], given[train])
    hits = model.label_issues_ & is_flipped[train]
    assert hits.sum() / model.num_pruned_ > 0.7
    assert model.score(X[test], true[test]) > base.fit(X[train], given[train]).score(X[test], true[test]) + 0.03
    np.testing.assert_allclose(model.predict_proba(X[test]).sum(axis=1), 1)
    assert model.pred_probs_.shape == (1000, 10)


def test_pruned_classifier_takes_names_and_any_integers() -> None:
    X, _, given, _ = noisy_digits()
    X, given = X[:400], given[:400]
    names = np.array([f"digit {k}" for k in range(10)])
    numbers = PrunedClassifier(GaussianNB(var_smoothing=0.1), cv=3).fit(X, given)
    named = PrunedClassifier(GaussianNB(var_smoothing=0.1), cv=3).fit(X, names[given])
    spaced = PrunedClassifier(GaussianNB(var_smoothing=0.1), cv=3).fit(X, given * 10 + 7)
    np.testing.assert_array_equal(named.predict(X), names[numbers.predict(X)])
    np.testing.assert_array_equal(spaced.predict(X), numbers.predict(X) * 10 + 7)


def test_unlabelled_rows_are_predicted_and_not_trained_on(recorder: Recorder) -> None:
    labels = np.array([0, 1] * 10 + [-1] * 5)
    model = PrunedClassifier(recorder, filter_by="both").fit(rows(25), labels)
    assert model.classes_.tolist() == [0, 1]
    assert not model.label_issues_[20:].any()
    np.testing.assert_allclose(model.pred_probs_[20:].sum(axis=1), 1)
    assert all(max(seen) < 20 for seen in recorder.fits)


def test_pruned_classifier_is_a_scikit_learn_estimator() -> None:
    X, _, given, _ = noisy_digits()
    X, given = X[:300], given[:300]
    model = PrunedClassifier(LogisticRegression(C=0.5), cv=3, filter_by="both")
    copy = clone(model)
    assert copy.get_params()["estimator__C"] == 0.5
    assert (copy.cv, copy.filter_by) == (3, "both")
    copy.set_params(estimator__C=2.0)
    assert copy.estimator.C == 2.0
    assert model.estimator.C == 0.5
    scores = cross_val_score(make_pipeline(StandardScaler(), model), X, given, cv=2)
    assert scores.min() > 0.4
    with pytest.raises(ValueError, match="not fitted"):
        model.predict(X)


def test_a_class_pruned_away_keeps_its_column(recorder: Recorder) -> None:
    labels = np.array([0] * 12 + [1] * 12 + [2])
    X = np.concatenate([np.zeros(12), np.ones(12), np.zeros(1)])[:, None] + np.random.default_rng(0).normal(
        0, 0.01, (25, 1)
    )
    model = PrunedClassifier(GaussianNB(var_smoothing=1e-3), filter_by="predicted_neq_given").fit(X, labels)
    assert model.label_issues_.tolist() == [False] * 24 + [True]
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(X).shape == (25, 3)
    assert (model.predict_proba(X)[:, 2] == 0).all()


def test_labels_without_any_known_are_refused() -> None:
    with pytest.raises(InputError, match="no labelled row"):
        PrunedClassifier(GaussianNB()).fit(rows(5), np.full(5, -1))
