"""Adapter of 27-label-errors.json: audit.confident_learning, audit.stability and audit.votes."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit import confident_learning as cl
from labelwise.audit import stability
from labelwise.audit.votes import aggregate_votes, is_label_error, read_votes
from labelwise.reproductions.label_errors import lowest_margins, review_rows

from . import UnknownCase, check_known, compute

FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, function(case["inputs"], case["params"], root))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


Functions = dict[str, Callable[[], Any]]


def confident_learning(inputs: Mapping[str, Any], params: Mapping[str, Any], root: Path | None) -> Functions:
    labels = np.asarray(inputs["labels"], dtype=np.int64)
    pred_probs = np.asarray(inputs["pred_probs"], dtype=np.float64)
    joint = partial(cl.confident_joint, labels, pred_probs)
    issues = partial(
        cl.find_label_issues,
        labels,
        pred_probs,
        min_examples_per_class=params.get("min_examples_per_class", 1),
        frac_noise=params.get("frac_noise", 1.0),
    )

    def latent(part: int) -> Any:
        return cl.estimate_latent(joint(calibrate=True), labels)[part]

    functions: Functions = {
        "confident_thresholds": lambda: cl.confident_thresholds(labels, pred_probs),
        "confident_joint": lambda: joint(calibrate=False),
        "off_diagonal_indices": lambda: np.sort(joint(calibrate=False, return_off_diagonal=True)[1]),
        "calibrated_confident_joint": lambda: cl.calibrate_confident_joint(joint(calibrate=False), labels),
        "joint": lambda: cl.estimate_joint(labels, pred_probs),
        "latent_prior": lambda: latent(0),
        "noise_matrix": lambda: latent(1),
        "inverse_noise_matrix": lambda: latent(2),
        "score_self_confidence_adjusted": lambda: cl.label_quality_scores(
            labels, pred_probs, method="self_confidence", adjust=True
        ),
        "ranked_normalized_margin": lambda: issues(filter_by="prune_by_noise_rate", rank_by="normalized_margin"),
        "num_issues_off_diagonal": lambda: cl.num_label_issues(labels, pred_probs, method="off_diagonal"),
        "num_issues_calibrated": lambda: cl.num_label_issues(labels, pred_probs, method="calibrated"),
    }
    for name in FILTERS:
        functions[f"issues_{name}"] = partial(issues, filter_by=name, rank_by=None)
    for name in SCORES:
        functions[f"score_{name}"] = partial(cl.label_quality_scores, labels, pred_probs, method=name)
    return functions


def benchmark_stability(inputs: Mapping[str, Any], params: Mapping[str, Any], root: Path | None) -> Functions:
    sizes = inputs["n_benign"], inputs["n_correctable"]
    accuracies = [inputs[f"acc_{part}_{model}"] for part in ("benign", "correctable") for model in "ab"]

    def prevalences() -> Any:
        return np.asarray([stability.prevalence(*sizes, fraction) for fraction in inputs["removed_fractions"]])

    def accuracy(model: str) -> Any:
        of_parts = inputs[f"acc_benign_{model}"], inputs[f"acc_correctable_{model}"]
        return stability.accuracy_at_prevalence(*of_parts, prevalences())

    return {
        "noise_prevalence": lambda: stability.prevalence(*sizes),
        "prevalence_after_removal": prevalences,
        "acc_a": lambda: accuracy("a"),
        "acc_b": lambda: accuracy("b"),
        "crossover_prevalence": lambda: stability.crossover(*accuracies, *sizes).prevalence,
        "crossover_removed_fraction": lambda: stability.crossover(*accuracies, *sizes).removed_fraction,
    }


def human_votes(inputs: Mapping[str, Any], params: Mapping[str, Any], root: Path | None) -> Functions:
    outcome = aggregate_votes(
        inputs["votes_given_guessed_both_neither"],
        inputs["given_label"],
        inputs["guessed_label"],
        params.get("min_agree", 3),
    )
    return {
        "is_label_error": lambda: outcome.is_error,
        "consensus": lambda: outcome.consensus,
        "corrected_label_or_minus1": lambda: outcome.corrected,
    }


def reviewed_data_set(inputs: Mapping[str, Any], params: Mapping[str, Any], root: Path | None) -> Functions:
    if root is None:
        raise FileNotFoundError("the case reads files but no root folder is known")
    pred_probs = np.load(root / inputs["pred_probs_file"], allow_pickle=False)
    labels = np.load(root / inputs["labels_file"], allow_pickle=False).astype(np.int64)
    records = read_votes(root / inputs["votes_file"])
    reviewed = len(records.ids)

    def off_diagonal_sum() -> int:
        joint = cl.confident_joint(labels, pred_probs, calibrate=params.get("calibrate", False))
        return int(joint.sum() - np.trace(joint))

    def reviewed_in_top_k() -> int:
        rows = review_rows(records, root / inputs["votes_file"])
        return int(np.isin(rows, lowest_margins(labels, pred_probs, reviewed)).sum())

    return {
        "n": lambda: pred_probs.shape[0],
        "num_classes": lambda: pred_probs.shape[1],
        "confident_joint_off_diagonal_sum": off_diagonal_sum,
        "num_label_errors": lambda: cl.num_label_issues(labels, pred_probs, method="uncalibrated_trace"),
        "lowest_margin_first5": lambda: lowest_margins(labels, pred_probs, 5),
        "reviewed": lambda: reviewed,
        "reviewed_in_top_k_by_margin": reviewed_in_top_k,
        "validated_errors": lambda: int(is_label_error(records.votes).sum()),
        "argmax_disagreements": lambda: int((pred_probs.argmax(axis=1) != labels).sum()),
    }


STABILITY_FIELDS = (
    "acc_benign_a",
    "acc_benign_b",
    "acc_correctable_a",
    "acc_correctable_b",
    "n_benign",
    "n_correctable",
    "removed_fractions",
)
VOTE_FIELDS = ("votes_given_guessed_both_neither", "given_label", "guessed_label")
KINDS = (
    (("labels", "pred_probs"), ("min_examples_per_class", "frac_noise"), confident_learning),
    (STABILITY_FIELDS, (), benchmark_stability),
    (VOTE_FIELDS, ("num_workers", "min_agree"), human_votes),
    (("pred_probs_file", "labels_file", "votes_file"), ("calibrate",), reviewed_data_set),
)
