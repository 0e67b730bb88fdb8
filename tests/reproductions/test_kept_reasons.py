"""What kept results say decided follows from their own numbers."""

from pathlib import Path
from typing import Any

import pytest

from labelwise.reproductions import adele, c_mixup, conr, cw_bass, nacl
from labelwise.reproductions.result import Result

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize(
    ("file", "module", "part"),
    [("02-nacl", nacl, None), ("06-conr", conr, None), ("25-c-mixup", c_mixup, "each set")],
)
def test_reasons_follow_from_the_numbers(file: str, module: Any, part: str | None) -> None:
    kept = Result.load(RESULTS / f"{file}.json")
    found = module.reasons(kept.details if part is None else kept.details[part])
    assert found
    assert [note for note in kept.notes if note in found] == found


def test_reasons_of_cw_bass_follow_from_its_numbers() -> None:
    kept = Result.load(RESULTS / "10-cw-bass.json")
    arms = {arm: summary.values[0] for arm, summary in (kept.baselines | kept.methods).items()}
    (found,) = cw_bass.reasons(arms, kept.details["parts_on_seed_0"])
    assert found in kept.notes


def test_the_seeds_of_adele_are_those_of_its_numbers() -> None:
    kept = Result.load(RESULTS / "09-adele.json")
    assert adele.seed_note(dict(kept.baselines) | dict(kept.methods)) in kept.notes
