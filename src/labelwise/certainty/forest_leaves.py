"""What a fitted model tells of its trees: the leaf of every row, how often each row was drawn, how trees are combined.

Nothing is taken on trust: where trees keep the weight of their leaves, it is compared with that of the rows given, so
other training rows than those of ``fit``, forgotten weights and rows kept back are found out.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Init = Literal["zero", "mean"]
Ids = NDArray[np.int32]
Floats = NDArray[np.float64]

# Weights of leaves are sums of counts or of float64 weights; what is off by more was not grown on these rows.
MASS_TOLERANCE = 1e-6


class FittedTrees(NamedTuple):
    """Trees b = 1..B of a model: leaf ids of n training rows and m queries, and the training rows' weights a tree.

    learning_rate None: predictions are the mean over trees; otherwise a sum of boosting rounds that starts from `init`.
    """

    leaves_train: Sequence[Ids]
    leaves_query: Sequence[Ids]
    weights: Iterator[Floats]
    learning_rate: float | None = None
    init: Init = "mean"


def fitted_trees(estimator: Any, X_train: Any, X_query: Any, sample_weight: ArrayLike | None = None) -> FittedTrees:
    """Read the trees of a fitted model; sample_weight (n,): the weights given to ``fit``.

    Takes scikit-learn's trees, random forests, extra trees, bagging of trees, gradient boosting and histogram gradient
    boosting with squared error, and any model whose ``apply`` gives leaf ids (rows,) or (rows, trees), which is taken
    for an average of trees. Raises InputError for models that are not fitted, not linear in the outcomes (other
    losses, medians in leaves, monotonic constraints), or were not grown on these rows. Cost: one ``apply`` each.
    """
    _refuse_unfitted(estimator)
    _refuse_non_linear(estimator)
    given = _check_sample_weight(sample_weight)
    if hasattr(estimator, "_bin_mapper"):
        return _histogram_boosting(estimator, X_train, X_query, given)
    if hasattr(estimator, "estimators_features_"):
        return _bagging(estimator, X_train, X_query, given)
    if not hasattr(estimator, "apply"):
        raise InputError(
            f"{type(estimator).__name__} has no `apply`, which gives the leaf of each row: "
            "give a fitted model of trees, or leaf ids to forest_smoother_from_leaves."
        )
    train, query = (_apply(estimator, X, name) for X, name in ((X_train, "X_train"), (X_query, "X_query")))
    trees = _grown_trees(estimator)
    if not hasattr(estimator, "learning_rate"):
        return FittedTrees(train, query, _weights(trees, train, _draws(estimator, train), given))
    if not hasattr(estimator, "init_") or not trees:
        raise InputError(
            f"{type(estimator).__name__} is boosted in a way that is not known here: "
            "give its leaves and learning rate to boosting_smoother."
        )
    weights = _weights(trees, train, None, given)
    return FittedTrees(train, query, weights, float(estimator.learning_rate), _boosting_init(estimator))


def _refuse_unfitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(estimator, "fit"):
        return
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InputError(f"{type(estimator).__name__} is not fitted: call fit first.") from error


def _refuse_non_linear(estimator: Any) -> None:
    name = type(estimator).__name__
    loss = getattr(estimator, "loss", None)
    if hasattr(estimator, "learning_rate") and loss not in (None, "squared_error"):
        raise InputError(
            f"{name} has the loss {loss!r}, whose predictions are not linear in the outcomes: "
            "use squared error (for two classes on outcomes 0 and 1)."
        )
    for each in (estimator, *_grown_trees(estimator)[:1]):
        if getattr(each, "criterion", None) == "absolute_error":
            raise InputError(f"{name} has medians in its leaves (absolute_error), no averages: use squared_error.")
        if getattr(each, "monotonic_cst", None) is not None:
            raise InputError(f"{name} clips its leaves (monotonic_cst): fit it without to see it as a smoother.")
    if getattr(estimator, "l2_regularization", 0):
        raise InputError(f"{name} shrinks its leaves (l2_regularization): fit it with 0 to see it as a smoother.")


def _apply(model: Any, X: Any, name: str) -> list[Ids]:
    """Leaf ids (rows,), a tree each; raises InputError where the model cannot read X."""
    try:
        ids = np.asarray(model.apply(X))
    except ValueError as error:
        raise InputError(f"{name} cannot be read by {type(model).__name__}: {error}") from error
    if ids.ndim not in (1, 2):
        raise InputError(f"{type(model).__name__}.apply gives shape {ids.shape}: (rows,) or (rows, trees) are known.")
    return list(np.ascontiguousarray(ids.reshape(len(ids), -1).T, dtype=np.int32))


def _grown_trees(estimator: Any) -> list[Any]:
    """The model's scikit-learn trees, or none where it keeps others."""
    trees = [estimator] if hasattr(estimator, "tree_") else list(np.ravel(getattr(estimator, "estimators_", [])))
    return trees if all(hasattr(tree, "tree_") for tree in trees) else []


def _draws(estimator: Any, leaves: Sequence[Ids]) -> Sequence[NDArray[Any]] | None:
    """Training rows drawn for each tree, or None where every tree saw all rows once."""
    if not getattr(estimator, "bootstrap", False):
        return None
    if not hasattr(estimator, "estimators_samples_"):
        raise InputError(
            f"{type(estimator).__name__} does not say which rows its trees drew: "
            "give leaf ids and counts to forest_smoother_from_leaves."
        )
    drawn = estimator.estimators_samples_
    largest, num_rows = max(int(rows.max()) for rows in drawn), len(leaves[0])
    if largest >= num_rows:
        raise InputError(f"X_train has {num_rows} rows, but the model drew row {largest}: give the X_train of fit.")
    return drawn


def _weights(
    trees: Sequence[Any], leaves: Sequence[Ids], drawn: Sequence[NDArray[Any]] | None, given: Floats | None
) -> Iterator[Floats]:
    """Weights (n,) of the training rows, a tree at a time, each compared with what its leaves weigh."""
    for number, leaf in enumerate(leaves):
        counts = np.ones(len(leaf)) if drawn is None else np.bincount(drawn[number], minlength=len(leaf)).astype(float)
        if given is not None and len(given) != len(leaf):
            raise InputError(f"sample_weight has {len(given)} values for {len(leaf)} training rows: give one each.")
        # Draws may have followed the weights (then counts are all), or every drawn row been weighed.
        candidates = [counts if given is None else counts * given]
        if drawn is not None:
            candidates.append(counts)
        if not trees:
            yield candidates[0]
            continue
        mass = trees[number].tree_.weighted_n_node_samples  # (nodes,)
        fitting = [each for each in candidates if _weighs(each, leaf, mass)]
        if not fitting:
            raise InputError(
                f"tree {number} was not grown on these rows with these weights: give the X_train of fit, and its "
                "sample_weight if there was one (for class_weight: the weight of each row's class). A model that kept "
                "rows back (subsample, early stopping) does not say which."
            )
        yield fitting[0]


def _weighs(weights: Floats, leaf: Ids, mass: Floats) -> bool:
    found = np.bincount(leaf, weights=weights, minlength=len(mass))
    return len(found) == len(mass) and bool(np.allclose(found[leaf], mass[leaf], rtol=MASS_TOLERANCE, atol=0.0))


def _bagging(estimator: Any, X_train: Any, X_query: Any, given: Floats | None) -> FittedTrees:
    trees = _grown_trees(estimator)
    if not trees:
        raise InputError(f"{type(estimator).__name__} does not bag decision trees: give a model of trees.")
    train, query = _dense(X_train, estimator, "X_train"), _dense(X_query, estimator, "X_query")
    leaves_train, leaves_query = (
        [
            _apply(tree, X[:, chosen], name)[0]
            for tree, chosen in zip(trees, estimator.estimators_features_, strict=True)
        ]
        for X, name in ((train, "X_train"), (query, "X_query"))
    )
    drawn = estimator.estimators_samples_
    return FittedTrees(leaves_train, leaves_query, _weights(trees, leaves_train, drawn, given))


def _histogram_boosting(estimator: Any, X_train: Any, X_query: Any, given: Floats | None) -> FittedTrees:
    if estimator.do_early_stopping_:
        raise InputError("the model kept rows back for early stopping: fit it with early_stopping=False.")
    leaves_train, leaves_query = (
        _histogram_leaves(estimator, X, name) for X, name in ((X_train, "X_train"), (X_query, "X_query"))
    )
    num_train = len(leaves_train[0])
    counted = estimator._predictors[0][0].nodes["count"]
    if not _weighs(np.ones(num_train), leaves_train[0], counted):
        raise InputError("the trees were not grown on these rows: give the X_train of fit.")
    weights = _weights((), leaves_train, None, given)
    return FittedTrees(leaves_train, leaves_query, weights, float(estimator.learning_rate))


def _histogram_leaves(estimator: Any, X: Any, name: str) -> list[Ids]:
    """Leaves of scikit-learn's histogram trees, which offer no ``apply``: each tree predicts its nodes' numbers."""
    try:
        rows = estimator._preprocess_X(X, reset=False)
        categories = estimator._bin_mapper.make_known_categories_bitsets()
        leaves = []
        for (predictor,) in estimator._predictors:
            numbered = copy(predictor)
            numbered.nodes = predictor.nodes.copy()
            numbered.nodes["value"] = np.arange(len(predictor.nodes))
            leaves.append(numbered.predict(rows, *categories, 1).astype(np.int32))
    except ValueError as error:
        raise InputError(f"{name} cannot be read by {type(estimator).__name__}: {error}") from error
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"the leaves of this version's {type(estimator).__name__} cannot be had ({error}): "
            "use GradientBoostingRegressor."
        ) from error
    return leaves


def _boosting_init(estimator: Any) -> Init:
    init = estimator.init
    if init is None:
        return "mean"
    if isinstance(init, str) and init == "zero":
        return "zero"
    raise InputError(f"the model starts from {init!r}: only init='zero' and init=None (the mean) are smoothers here.")


def _dense(X: Any, estimator: Any, name: str) -> NDArray[Any]:
    dense = np.asarray(X)
    if dense.ndim != 2 or dense.shape[1] != estimator.n_features_in_:
        raise InputError(f"{name} has shape {dense.shape}: give rows of {estimator.n_features_in_} numbers.")
    return dense


def _check_sample_weight(sample_weight: ArrayLike | None) -> Floats | None:
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("sample_weight holds what is no weight: give one finite number of at least 0 for each row.")
    return weights
