"""Label errors in test sets, found by confident learning, and what they do to a ranking of models.

Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021 Datasets and Benchmarks. Three parts: the study's own counts, recomputed from its published arrays and votes;
finding known flips in the digits data; a ranking of two models, fixed beforehand, that turns over on the mislabelled
part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.confident_learning import find_label_issues, label_quality_scores, num_label_issues
from labelwise.audit.cross_validation import cross_val_pred_probs
from labelwise.audit.stability import BenchmarkStudy, prevalence
from labelwise.audit.votes import (
    VoteRecords,
    aggregate_multilabel_votes,
    aggregate_votes,
    is_label_error,
    read_multilabel_votes,
    read_votes,
)
from labelwise.errors import InputError
from labelwise.reproductions.inputs import data_folder
from labelwise.reproductions.result import (
    Comparison,
    Result,
    clearly_above,
    library_version,
    paired_interval,
    summarise,
)

SLUG = "label-errors"
CLAIM = (
    "Confident learning finds label errors in test sets better than disagreement with the prediction, "
    "about half of what it flags are errors to human eyes, "
    "and a ranking of models can turn over as the share of such errors grows."
)
DEFAULT_SEEDS = 10

BASELINE, METHOD = "predicted_neq_given", "prune_by_noise_rate"
FLIP_SHARE = 0.25
# Digits that look alike: class k is mistaken for FLIPPED_TO[k].
FLIPPED_TO = np.array([6, 7, 3, 5, 9, 8, 0, 2, 1, 4])

# What the paper and its site report: data set -> (examples reviewed, errors validated).
PUBLISHED = {
    "mnist": (100, 15),
    "cifar10": (275, 54),
    "cifar100": (2235, 585),
    "caltech256": (2360, 458),
    "imagenet": (5440, 2916),
    "quickdraw": (2500, 1870),
    "20news": (93, 82),
    "imdb": (1310, 725),
    "amazon": (1000, 732),
    "audioset": (307, 275),
}
COUNTED = ("cifar10", "20news", "imdb")  # for these the estimated count is the number reviewed
PUBLISHED_RATIO = 0.51
PUBLISHED_IMAGENET_PREVALENCE = 0.0294

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all three parts. quick: smaller forests. Without any data folder the first part is left out, and `notes`
    says so.

    Raises InputError when a data folder is given that lacks label-errors/. About 2 s a seed.
    """
    start = time.perf_counter()
    exact, notes = _exact_part(data_dir)
    finding = [find_flips(seed, num_trees=20 if quick else 100) for seed in range(seeds)]
    ranking = [rank_models(seed, systematic=True) for seed in range(seeds)]
    control = [rank_models(seed, systematic=False) for seed in range(seeds)]

    f1 = {name: [each[f"f1_{name}"] for each in finding] for name in (BASELINE, METHOD)}
    found = paired_interval(f1[METHOD], f1[BASELINE])
    checks = exact["checks"] | _finding_checks(finding, found) | _ranking_checks(ranking)
    pruned = {name: [each[f"accuracy_pruned_{name}"] for each in finding] for name in (BASELINE, METHOD)}
    notes.append(
        "the two ranked models were fixed beforehand: this shows that a ranking can turn over, not that it must; "
        "the control has as many errors, drawn at random"
    )
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the sign of the difference alone")
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="label-errors arrays and votes of ten test sets; scikit-learn digits"
        if exact["run"]
        else "scikit-learn digits",
        fault="label errors in test sets; 25% class-conditional flips; systematic errors of whole clusters",
        metric="F1 of finding the flipped labels",
        baselines={BASELINE: summarise(f1[BASELINE])},
        methods={METHOD: summarise(f1[METHOD])},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "checks": checks,
            "study": exact["measured"],
            "finding": _columns(finding),
            "accuracy_after_pruning_method_minus_baseline": paired_interval(pruned[METHOD], pruned[BASELINE])._asdict(),
            "ranking_systematic_errors": _columns(ranking),
            "ranking_random_errors_control": _columns(control),
        },
        notes=notes,
    )


def lowest_margins(labels: Ints, pred_probs: Floats, k: int) -> Ints:
    """The k rows whose given label has the lowest margin to the best other class, lowest first; ties to the lower
    row.
    """
    scores = label_quality_scores(labels, pred_probs, method="normalized_margin")
    return np.argsort(scores, kind="stable")[:k]


def review_rows(records: VoteRecords, votes_file: Path) -> Ints:
    """Row numbers (n,) of the reviewed examples; names are looked up in the data set's index file."""
    if all(isinstance(each, int) for each in records.ids):
        return np.asarray(records.ids, dtype=np.int64)
    index_name = votes_file.name.replace("_mturk.json", "_test_set_index_to_filename.json")
    index_file = votes_file.parent.parent / "dataset_indexing" / index_name
    if not index_file.is_file():
        raise InputError(f"{votes_file} names its examples but there is no {index_file}: give that list of names.")
    names = json.loads(index_file.read_text(encoding="utf-8"))
    row_of = {Path("test", name).with_suffix("").as_posix(): row for row, name in enumerate(names)}
    unknown = [each for each in records.ids if each not in row_of]
    if unknown:
        raise InputError(
            f"{votes_file} names {unknown[0]!r}, which {index_file} does not list: give the list that does."
        )
    return np.asarray([row_of[each] for each in records.ids], dtype=np.int64)


def find_flips(seed: int, num_trees: int = 100) -> dict[str, float]:
    """Flip a quarter of the digits' training labels, find the flips from a forest's probabilities, prune, train
    again.
    """
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    X, true = load_digits(return_X_y=True)
    X_train, X_test, true_train, y_test = train_test_split(
        X / 16, true, train_size=0.6, random_state=seed, stratify=true
    )
    rng = np.random.default_rng(seed)
    is_flipped = rng.random(len(true_train)) < FLIP_SHARE
    given = np.where(is_flipped, FLIPPED_TO[true_train], true_train)
    forest = RandomForestClassifier(num_trees, random_state=seed)
    pred_probs = cross_val_pred_probs(forest, X_train, given, cv=5, random_state=seed)

    def accuracy(kept: NDArray[np.bool_]) -> float:
        model = LogisticRegression(max_iter=2000).fit(X_train[kept], given[kept])
        return float(model.score(X_test, y_test))

    measured = {"accuracy_noisy": accuracy(np.ones(len(given), dtype=bool))}
    for name in (BASELINE, METHOD):
        is_issue = find_label_issues(given, pred_probs, filter_by=name)
        hits = int((is_issue & is_flipped).sum())
        measured[f"precision_{name}"] = hits / max(int(is_issue.sum()), 1)
        measured[f"recall_{name}"] = hits / int(is_flipped.sum())
        measured[f"f1_{name}"] = 2 * hits / int(is_issue.sum() + is_flipped.sum())
        measured[f"accuracy_pruned_{name}"] = accuracy(~is_issue)
    return measured


def rank_models(seed: int, *, systematic: bool) -> dict[str, Any]:
    """Compare 3 nearest neighbours with a stiff logistic regression on digits whose labels are wrong in train and test.

    systematic: whole clusters of a class are mislabelled; otherwise as many examples, drawn at random.
    """
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.neighbors import KNeighborsClassifier

    X, true = load_digits(return_X_y=True)
    X = X / 16
    rng = np.random.default_rng(seed)
    is_wrong = _cluster_errors(X, true, seed, rng)
    if not systematic:
        is_wrong = rng.permutation(is_wrong)
    given = np.where(is_wrong, FLIPPED_TO[true], true)
    train, test = train_test_split(np.arange(len(true)), train_size=0.5, random_state=seed, stratify=true)
    study = BenchmarkStudy(given[test], true[test], ~is_wrong[test], is_wrong[test])
    models = {"knn": KNeighborsClassifier(3), "logistic": LogisticRegression(C=0.02, max_iter=2000)}
    preds = {name: model.fit(X[train], given[train]).predict(X[test]) for name, model in models.items()}

    measured: dict[str, Any] = {"error_share": study.noise_prevalence}
    for name, predicted in preds.items():
        for part, value in study.accuracies(predicted)._asdict().items():
            measured[f"{part}_{name}"] = value
    crossing = study.crossover(preds["knn"], preds["logistic"])
    return measured | {"crossover_prevalence": crossing.prevalence}


def study_counts(folder: Path) -> dict[str, dict[str, Any]]:
    """Recompute the study's counts from its arrays and votes: data set -> measured numbers. A few seconds."""
    measured: dict[str, dict[str, Any]] = {name: _validated(folder, name) for name in PUBLISHED}
    for name in ("mnist", *COUNTED):
        labels = _load(folder / "original_test_labels" / f"{name}_test_set_original_labels.npy").astype(np.int64)
        pred_probs = _load(folder / "cross_validated_predicted_probabilities" / f"{name}_test_set_pyx.npy")
        votes_file = _votes_file(folder, name)
        rows = review_rows(read_votes(votes_file), votes_file)
        measured[name]["estimated_errors"] = num_label_issues(labels, pred_probs, method="uncalibrated_trace")
        measured[name]["reviewed_in_lowest_margins"] = int(
            np.isin(rows, lowest_margins(labels, pred_probs, len(rows))).sum()
        )
    measured["imagenet"] |= _imagenet_study(folder)
    return measured


def _exact_part(data_dir: Path | None) -> tuple[dict[str, Any], list[str]]:
    if data_dir is None:
        note = (
            "the study's own counts were not recomputed and the verdict rests on the digits alone: "
            "give the folder that holds label-errors/ with --data-dir or LABELWISE_DATA"
        )
        return {"run": False, "checks": {}, "measured": {}}, [note]
    measured = study_counts(data_folder(data_dir, "label-errors"))
    ratio = float(np.mean([each["validated"] / each["reviewed"] for each in measured.values()]))
    found = {name: (each["reviewed"], each["validated"]) for name, each in measured.items()}
    with_probs = ("mnist", *COUNTED)
    checks = {
        "published_reviewed_and_validated": found == PUBLISHED,
        "estimated_count_is_reviewed_count": all(
            measured[name]["estimated_errors"] == PUBLISHED[name][0] for name in COUNTED
        ),
        "lowest_margins_are_reviewed": all(
            measured[name]["reviewed_in_lowest_margins"] == PUBLISHED[name][0] for name in with_probs
        ),
        "half_of_flagged_are_errors": abs(ratio - PUBLISHED_RATIO) < 0.01,
        "imagenet_prevalence": round(measured["imagenet"]["noise_prevalence"], 4) == PUBLISHED_IMAGENET_PREVALENCE,
    }
    return {"run": True, "checks": checks, "measured": measured | {"mean_share_of_errors_in_flagged": ratio}}, []


def _validated(folder: Path, name: str) -> dict[str, Any]:
    if name == "audioset":
        multilabel = read_multilabel_votes(_votes_file(folder, name))
        is_error = aggregate_multilabel_votes(multilabel.votes, multilabel.given).is_error
    else:
        is_error = is_label_error(read_votes(_votes_file(folder, name)).votes)
    return {"reviewed": len(is_error), "validated": int(is_error.sum())}


def _imagenet_study(folder: Path) -> dict[str, Any]:
    """Counts only: the votes name photographs, and which row each one is was not published with them."""
    num_labels = len(_load(folder / "original_test_labels" / "imagenet_val_set_original_labels.npy"))
    records = read_votes(_votes_file(folder, "imagenet"))
    outcome = aggregate_votes(records.votes, records.given, records.guessed)
    benign, correctable = num_labels - int(outcome.is_error.sum()), int((outcome.consensus == "guessed").sum())
    return {"benign": benign, "correctable": correctable, "noise_prevalence": prevalence(benign, correctable)}


def _cluster_errors(X: Floats, true: Ints, seed: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Of each class's 8 k-means clusters the 2 smallest are wrong, each example with probability 0.7. (n,) bool."""
    from sklearn.cluster import KMeans

    is_wrong = np.zeros(len(true), dtype=bool)
    for k in np.unique(true):
        rows = np.flatnonzero(true == k)
        cluster = KMeans(8, n_init=10, random_state=seed).fit_predict(X[rows])
        smallest = np.argsort(np.bincount(cluster, minlength=8), kind="stable")[:2]
        chosen = rows[np.isin(cluster, smallest)]
        is_wrong[chosen] = rng.random(len(chosen)) < 0.7
    return is_wrong


def _finding_checks(finding: Sequence[Mapping[str, float]], found: Comparison) -> dict[str, bool]:
    gains = [each[f"accuracy_pruned_{METHOD}"] - each["accuracy_noisy"] for each in finding]
    return {
        "f1_gain_clear_and_at_least_0.02": clearly_above(found) and found.difference >= 0.02,
        "accuracy_gain_of_pruning_at_least_0.05": float(np.mean(gains)) >= 0.05,
    }


def _ranking_checks(ranking: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    return {
        "ranking_reverses_on_corrected_errors_in_every_seed": all(
            each["correctable_given_knn"] > each["correctable_given_logistic"]
            and each["correctable_corrected_knn"] < each["correctable_corrected_logistic"]
            for each in ranking
        ),
        "crossover_in_every_seed": all(
            each["crossover_prevalence"] is not None and 0 < each["crossover_prevalence"] < 1 for each in ranking
        ),
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _votes_file(folder: Path, name: str) -> Path:
    return folder / "mturk" / f"{name}_mturk.json"


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): give the unchanged label-errors data with --data-dir."
        ) from error
