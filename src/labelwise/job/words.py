"""What came of a run, in a few sentences for the terminal."""

from typing import Any


def summary(metrics: dict[str, Any]) -> list[str]:
    """Return the main findings; what was measured on given labels says so."""
    found = []
    if metrics.get("noise_rate_estimated") is not None:
        low, high = metrics["noise_rate_interval"]
        sentence = f"About {metrics['noise_rate_estimated']:.0%} of the labels look wrong ({low:.0%} to {high:.0%})"
        known = metrics.get("noise_rate_true")
        found.append(sentence + ("." if known is None else f"; {known:.1%} truly are."))
        found.append(f"{metrics['suspects']:,} suspects are listed, worst first, in suspects.csv.")
    if metrics.get("corrected_share") is not None and metrics.get("wrongly_changed_share") is not None:
        found.append(
            f"Of the wrong labels {metrics['corrected_share']:.1%} are corrected to the true one; "
            f"of the right ones {metrics['wrongly_changed_share']:.1%} are changed by mistake."
        )
    suffix, on = ("", "true") if metrics.get("accuracy_robust") is not None else ("_on_noisy_labels", "given")
    if metrics.get(f"accuracy_robust{suffix}") is not None:
        found.append(
            f"Accuracy on {on} test labels: {metrics[f'accuracy_robust{suffix}']:.1%} with {metrics['recipe']}, "
            f"{metrics[f'accuracy_baseline{suffix}']:.1%} with cross-entropy "
            f"({metrics[f'accuracy_early_stopped{suffix}']:.1%} stopped early)."
        )
    if metrics.get("set_size_mean") is not None:
        coverage = metrics.get("coverage")
        measured = "" if coverage is None else f"; {coverage:.1%} of them do"
        found.append(
            f"Prediction sets hold {metrics['set_size_mean']:.2f} classes on average and promise the true one "
            f"{metrics['coverage_promised']:.0%} of the time{measured}."
        )
    return found
