import io
import json
from inspect import signature

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_rel

from labelwise.errors import InputError
from labelwise.reproductions import reproduce, reproduction, slugs
from labelwise.reproductions.inputs import data_folder
from labelwise.reproductions.result import (
    Comparison,
    Result,
    clearly_above,
    library_version,
    paired_interval,
    print_result,
    summarise,
)


def make_result(**changes: object) -> Result:
    fields = {
        "slug": "toy",
        "claim": "[better] is better",
        "data": "toy data",
        "fault": "25% flips",
        "metric": "accuracy",
        "baselines": {"ce": summarise([0.5, 0.6])},
        "methods": {"elr": summarise([0.7, 0.9])},
        "difference": 0.25,
        "interval": [0.1, 0.4],
        "holds": True,
        "seeds": 2,
        "seconds": 1.25,
        "version": library_version(),
        "details": {"part": {"value": 0.5, "none": None, "row": [1, 2]}},
        "notes": ["a note"],
    }
    return Result(**(fields | changes))


def test_summary_by_hand() -> None:
    found = summarise([1, 2, 4])
    assert found.mean == pytest.approx(7 / 3)
    assert found.std == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert found.values == [1.0, 2.0, 4.0]
    assert summarise([3]).std is None
    with pytest.raises(InputError):
        summarise([])


def test_paired_interval_is_the_paired_t_tests() -> None:
    rng = np.random.default_rng(0)
    method, baseline = rng.random((2, 7))
    expected = ttest_rel(method, baseline).confidence_interval(0.95)
    found = paired_interval(method, baseline)
    assert found.difference == pytest.approx(np.mean(method - baseline))
    assert found.interval == pytest.approx([expected.low, expected.high])


def test_paired_interval_boundaries() -> None:
    assert paired_interval([0.5], [0.25]) == (0.25, None)
    assert paired_interval([1.0, 1.0], [0.5, 0.5]) == (0.5, [0.5, 0.5])
    for bad in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(InputError, match="one value a seed"):
            paired_interval(*bad)


def test_clearly_above() -> None:
    assert clearly_above(Comparison(0.2, [0.1, 0.3]))
    assert not clearly_above(Comparison(0.2, [-0.1, 0.5]))
    assert not clearly_above(Comparison(0.2, [0.1, 0.3]), margin=0.15)
    assert clearly_above(Comparison(0.2, None))
    assert not clearly_above(Comparison(0.0, None))


def test_saved_and_loaded_again(tmp_path) -> None:
    result = make_result(interval=None)
    path = tmp_path / "deep" / "toy.json"
    result.save(path)
    assert Result.load(path) == result
    assert json.loads(path.read_text())["methods"]["elr"]["values"] == [0.7, 0.9]
    assert [each.name for each in path.parent.iterdir()] == ["toy.json"]


def test_nan_is_not_saved_and_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "toy.json"
    make_result().save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        make_result(difference=float("nan")).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"slug": "x"}'])
def test_what_is_no_record_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a saved reproduction"):
        Result.load(path)


@pytest.mark.parametrize("holds", [True, False])
def test_printed(holds: bool) -> None:
    console = Console(file=io.StringIO(), width=120)
    print_result(make_result(holds=holds), console)
    text = console.file.getvalue()
    assert ("claim holds" in text) == holds
    assert ("claim does not hold" in text) == (not holds)
    for part in (
        "[better] is better",
        "0.8000",
        "0.0707",
        "+0.2500",
        "+0.1000 to +0.4000",
        "part, value: 0.5000",
        "a note",
    ):
        assert part in text


def test_printed_with_one_seed() -> None:
    console = Console(file=io.StringIO(), width=120)
    one = {"baselines": {"ce": summarise([0.5])}, "methods": {"elr": summarise([0.7])}}
    print_result(make_result(interval=None, seeds=1, **one), console)
    assert "no interval from one seed" in console.file.getvalue()


def test_unknown_slug_and_seed_count_are_refused() -> None:
    with pytest.raises(InputError, match="label-errors"):
        reproduce("no-such")
    with pytest.raises(InputError, match="seeds is 0"):
        reproduce("label-errors", seeds=0)


@pytest.mark.parametrize("slug", slugs())
def test_every_reproduction_keeps_the_protocol(slug: str) -> None:
    module = reproduction(slug)
    assert slug == module.SLUG
    assert module.CLAIM
    assert module.DEFAULT_SEEDS >= 3
    assert list(signature(module.run).parameters) == ["seeds", "data_dir", "quick"]


def test_missing_data_name_the_remedy(tmp_path) -> None:
    with pytest.raises(InputError, match="--data-dir"):
        data_folder(None, "label-errors")
    with pytest.raises(InputError, match="--data-dir"):
        data_folder(tmp_path, "label-errors")
    (tmp_path / "label-errors").mkdir()
    assert data_folder(tmp_path, "label-errors") == tmp_path / "label-errors"
