"""All reproductions at once: each in a process of its own, whose failure is told and stops no other."""

from pathlib import Path

import pytest

from labelwise.errors import InputError
from labelwise.reproductions import all as together


def test_results_come_and_failures_are_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "slugs", lambda: ("local-graph-clustering", "label-errors", "lp-icp"))
    monkeypatch.setenv("LABELWISE_DATA", str(tmp_path))
    found: list[str] = []

    def run() -> None:
        found.extend(result.slug for result in together.reproduce_all(1, tmp_path, quick=True, jobs=2))

    with pytest.raises(InputError, match=r"1 of 3 were not run: label-errors \(.*--data-dir"):
        run()
    assert sorted(found) == ["local-graph-clustering", "lp-icp"]


def test_no_job_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="jobs is 0"):
        list(together.reproduce_all(1, quick=True, jobs=0))
