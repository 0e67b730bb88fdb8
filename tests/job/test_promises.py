"""What the main job promises on real data, from the first row to the report. Minutes long, so marked slow."""

from pathlib import Path
from typing import Any

import pytest

from labelwise.job.options import Options
from labelwise.job.run import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run_job(tmp_path: Path, **options: Any) -> dict[str, Any]:
    outcome = run(Options(out=str(tmp_path / "out"), **options))
    assert (tmp_path / "out" / "report.html").exists()
    return outcome.metrics


def test_digits_with_two_fifths_of_the_labels_redrawn(tmp_path: Path) -> None:
    found = run_job(tmp_path)
    assert abs(found["noise_rate_estimated"] - found["noise_rate_true"]) <= 0.03
    low, high = found["noise_rate_interval"]
    assert low <= found["noise_rate_true"] <= high
    assert found["accuracy_robust"] >= found["accuracy_baseline"] + 0.10
    assert found["corrected_share"] >= 0.85
    assert found["coverage"] >= found["coverage_promised"] - 0.03  # sampling error of 360 test rows, two deviations


def test_features_of_photographs_with_labels_by_people(tmp_path: Path, data_dir: Path) -> None:
    found = run_job(tmp_path, source="cifar10n-features:worst_label:10000", data_dir=str(data_dir))
    assert abs(found["noise_rate_estimated"] - found["noise_rate_true"]) <= 0.05
    assert found["accuracy_robust"] >= found["accuracy_baseline"] + 0.05


def test_photographs_with_labels_by_people(tmp_path: Path, data_dir: Path) -> None:
    found = run_job(tmp_path, source="cifar10n", limit=4000, data_dir=str(data_dir))
    assert found["rows"] == 4000
    assert found["accuracy_robust"] > 0.25  # a guess gets 0.10; in so few epochs cross-entropy has not memorised yet
    assert found["seconds"] < 900


def test_a_table_of_people(tmp_path: Path, data_dir: Path) -> None:
    found = run_job(tmp_path, source="adult", data_dir=str(data_dir))
    assert found["rows"] == 48_842
    assert found["accuracy_robust_on_noisy_labels"] > 0.82  # the larger class is 76%
