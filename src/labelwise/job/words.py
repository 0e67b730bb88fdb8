"""What came of a run, in a few sentences for the terminal."""

from typing import Any

UNITS = {"regression": "numbers", "bags": "counts", "segmentation": "pixels"}


def summary(metrics: dict[str, Any]) -> list[str]:
    """Return the main findings; what was measured on given labels says so."""
    return [*_audit(metrics), *_learn(metrics), *_trust(metrics)]


def _audit(metrics: dict[str, Any]) -> list[str]:
    found = []
    known = metrics.get("noise_rate_true")
    if metrics.get("noise_rate_estimated") is not None:
        low, high = metrics["noise_rate_interval"]
        unit = UNITS.get(metrics.get("task", ""), "labels")
        sentence = f"About {metrics['noise_rate_estimated']:.0%} of the {unit} look wrong ({low:.0%} to {high:.0%})"
        found.append(sentence + ("." if known is None else f"; {known:.1%} truly are."))
    if metrics.get("suspect_pixels_share") is not None:
        found.append(
            f"{metrics['suspect_pixels']:,} pixels ({metrics['suspect_pixels_share']:.1%}) look wrong, in "
            f"{metrics['suspects']:,} images" + ("." if known is None else f"; {known:.1%} truly are wrong.")
        )
    if metrics.get("suspects_missing") is not None:
        found.append(
            f"{metrics['suspects_missing']:,} labels look missing and {metrics['suspects_wrong']:,} look wrong, "
            f"{metrics['suspects_share']:.2%} of all entries" + ("." if known is None else f"; {known:.2%} truly are.")
        )
    if "suspects" in metrics:
        found.append(f"{metrics['suspects']:,} suspects are listed, worst first, in suspects.csv.")
    if metrics.get("corrected_share") is not None and metrics.get("wrongly_changed_share") is not None:
        found.append(
            f"Of the wrong labels {metrics['corrected_share']:.1%} are corrected to the true one; "
            f"of the right ones {metrics['wrongly_changed_share']:.1%} are changed by mistake."
        )
    if metrics.get("found_share") is not None:
        found.append(f"Of those that are wrong, {metrics['found_share']:.1%} are under suspicion.")
    return found


def _learn(metrics: dict[str, Any]) -> list[str]:
    found = []
    suffix, on = ("", "true") if metrics.get("accuracy_robust") is not None else ("_on_noisy_labels", "given")
    if metrics.get(f"accuracy_early_stopped{suffix}") is not None:
        found.append(
            f"Accuracy on {on} test labels: {metrics[f'accuracy_robust{suffix}']:.1%} with {metrics['recipe']}, "
            f"{metrics[f'accuracy_baseline{suffix}']:.1%} with cross-entropy "
            f"({metrics[f'accuracy_early_stopped{suffix}']:.1%} stopped early)."
        )
    suffix, on = ("", "true") if metrics.get("score_robust") is not None else ("_on_noisy_labels", "given")
    if metrics.get(f"score_robust{suffix}") is not None:
        found.append(
            f"{metrics['metric'][:1].upper()}{metrics['metric'][1:]} on {on} test labels: "
            f"{metrics[f'score_robust{suffix}']:.3f} with {metrics['recipe']}, "
            f"{metrics[f'score_baseline{suffix}']:.3f} with {metrics['baseline']} "
            f"({metrics[f'score_early_stopped{suffix}']:.3f} stopped early)."
        )
    return found


def _trust(metrics: dict[str, Any]) -> list[str]:
    found = []
    coverage = metrics.get("coverage", metrics.get("coverage_on_noisy_labels"))
    measured = "" if coverage is None else f"; {coverage:.1%} of them do"
    if metrics.get("set_size_mean") is not None:
        measured = "" if metrics.get("coverage") is None else measured
        found.append(
            f"Prediction sets hold {metrics['set_size_mean']:.2f} classes on average and promise the true one "
            f"{metrics['coverage_promised']:.0%} of the time{measured}."
        )
    if metrics.get("interval_half_width") is not None:
        found.append(
            f"Predictions plus and minus {metrics['interval_half_width']:.4g} promise to hold the number "
            f"{metrics['coverage_promised']:.0%} of the time{measured}."
        )
    if metrics.get("label_sets_median") is not None:
        found.append(
            f"Sets of label-sets promise to hold the right one {metrics['coverage_promised']:.0%} of the time"
            f"{measured}; half of them hold at most {metrics['label_sets_median']:.0f}."
        )
    return found
