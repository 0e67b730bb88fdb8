"""The whole job of every task on small data with planted errors: files, numbers, report, resumption."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from labelwise.data.scenes import draw_scenes
from labelwise.errors import InputError
from labelwise.job.options import Options
from labelwise.job.run import Outcome, run
from labelwise.job.words import summary
from labelwise.review.items import Items

FILES = ("suspects.csv", "predictions.csv", "rejected.csv", "metrics.json", "report.html", "model/manifest.json")


def numbers(rng: np.random.Generator) -> dict[str, Any]:
    """One number in twenty is far from what its row says."""
    X = rng.normal(size=(240, 4)).astype(np.float32)
    truth = 10.0 * (X[:, 0] > 0) + 4.0 * (X[:, 1] > 0) + 0.5 * rng.normal(size=240)
    given = truth.copy()
    given[::20] += 60
    return {"X": X, "y": given, "truth": truth}


def several_labels(rng: np.random.Generator) -> dict[str, Any]:
    """Each of three labels is the sign of a column; the first is taken from a tenth of its rows."""
    X = rng.normal(size=(300, 4)).astype(np.float32)
    truth = (X[:, :3] > 0).astype(np.int64)
    given = truth.copy()
    lost = np.flatnonzero(truth[:, 0])[::10]
    given[lost, 0] = 0
    return {"X": X, "y": given, "truth": truth}


def masks(rng: np.random.Generator) -> dict[str, Any]:
    """Scenes of digits; in some masks the first kind is called the second."""
    scenes = draw_scenes(40, rng, size=32, kinds=(0, 1), noise=0.02, texture=0.0)
    given = scenes.masks.copy()
    given[::8][given[::8] == 1] = 2
    pixels = np.clip(255 * scenes.images, 0, 255).astype(np.uint8)
    return {"X": pixels, "y": given, "truth": scenes.masks}


def nodes(rng: np.random.Generator) -> dict[str, Any]:
    """Two communities; an eighth of the labels is that of the other one."""
    truth = np.arange(120) % 2
    pairs = np.array([(i, j) for i in range(120) for j in range(i)])
    same = truth[pairs[:, 0]] == truth[pairs[:, 1]]
    edges = pairs[rng.random(len(pairs)) < np.where(same, 0.2, 0.01)]
    X = (2 * truth[:, None] + rng.normal(size=(120, 3))).astype(np.float32)
    given = truth.copy()
    given[::8] = 1 - given[::8]
    return {"X": X, "y": given, "truth": truth, "edges": edges}


def bags(rng: np.random.Generator) -> dict[str, Any]:
    """Rows are positive where their first column is; within a bag the labels are shuffled."""
    X = rng.normal(size=(320, 3)).astype(np.float32)
    X += 1.5 * np.repeat(rng.normal(size=40), 8)[:, None].astype(np.float32)
    truth = (X[:, 0] > 0).astype(np.int64)
    bag = np.repeat(np.arange(40), 8)
    given = np.concatenate([rng.permutation(truth[bag == number]) for number in range(40)])
    return {"X": X, "y": given, "truth": truth, "bag": bag}


class Case(NamedTuple):
    """Data of one task, and what must come of it."""

    task: str
    make: Callable[[np.random.Generator], dict[str, Any]]
    epochs: int
    expected: Callable[[dict[str, Any]], bool]


CASES = {
    each.task: each
    for each in (
        Case("regression", numbers, 15, lambda m: m["found_share"] > 0.8 and m["wrongly_doubted_share"] < 0.05),
        Case("multilabel", several_labels, 15, lambda m: m["found_share"] > 0.7 and m["wrongly_changed_share"] < 0.1),
        Case(
            "segmentation",
            masks,
            20,
            lambda m: m["found_share"] > 0.3 and m["suspects_truly_wrong"] > 10 * m["noise_rate_true"],
        ),
        Case("nodes", nodes, 30, lambda m: m["corrected_share"] > 0.6 and m["wrongly_changed_share"] < 0.1),
        Case("bags", bags, 15, lambda m: m["accuracy_robust"] > 0.7),
    )
}


def job(task: str, folder: Path, *, resume: bool = False, **options: Any) -> Outcome:
    case = CASES[task]
    source = folder / "d.npz"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(source, **case.make(np.random.default_rng(0)))
    network = {"nodes": "gcn-16", "segmentation": "unet-8-16"}.get(task, "auto")
    chosen = {
        "network": network,
        "epochs": case.epochs,
        "folds": 2,
        "truth": "truth",
        "out": str(folder / "out"),
    } | options
    return run(Options(source=str(source), **chosen), resume=resume)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    root = tmp_path_factory.mktemp("tasks")
    return {task: job(task, root / task) for task in CASES}


@pytest.mark.parametrize("task", CASES)
def test_the_task_is_found_and_planted_errors_too(task: str, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[task].metrics
    assert found.get("task", "nodes") == task
    assert CASES[task].expected(found), found
    assert all(isinstance(sentence, str) and "None" not in sentence for sentence in summary(found))


@pytest.mark.parametrize("task", CASES)
def test_all_files_are_written_and_tell_the_same(task: str, outcomes: dict[str, Outcome]) -> None:
    folder, found = outcomes[task].folder, outcomes[task].metrics
    assert not [name for name in FILES if not (folder / name).is_file()]
    assert not (folder / ".work").exists()
    assert json.loads((folder / "metrics.json").read_text())["suspects"] == found["suspects"]
    with (folder / "suspects.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == found["suspects"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    with (folder / "predictions.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == found["rows"]
    page = (folder / "report.html").read_text()
    assert page.count("<section") >= 5
    assert "nan" not in page.replace("nance", "")
    assert ">None<" not in page


REVIEWED = ("regression", "multilabel", "segmentation", "nodes")


@pytest.mark.parametrize("task", REVIEWED)
def test_what_there_is_to_review_begins_with_the_suspects_as_listed(task: str, outcomes: dict[str, Outcome]) -> None:
    items = Items.open(outcomes[task].folder / "review.arrow")
    with (outcomes[task].folder / "suspects.csv").open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert int(items.suspect.sum()) == len(listed) > 0
    assert items.suspect[: len(listed)].all()
    assert items.task == task
    assert len(items) == (
        len(listed) if task in ("multilabel", "segmentation") else outcomes[task].metrics["rows_audited"]
    )
    for position, row in enumerate(listed):
        item = items.item(position)
        part = f"{item.part}: " if item.part else ""
        shown = [str(item.index), item.location, part + item.given, part + item.suggested, item.why]
        numbers = [float(cell) if task == "regression" else cell for cell in shown[2:4]]
        expected = [float(row[key]) if task == "regression" else row[key] for key in ("given", "suggested")]
        assert (shown[:2], numbers) == ([row["index"], row["location"]], expected)
        assert item.why == row["why"]
        assert item.score == pytest.approx(float(row["score"]), abs=1e-5)
        assert len({*item.neighbours} - {position}) == len(item.neighbours)
    rest = items.score[len(listed) :]
    assert (np.diff(rest) >= 0).all()


def test_bags_have_nothing_to_review(outcomes: dict[str, Outcome]) -> None:
    assert not (outcomes["bags"].folder / "review.arrow").exists()


def test_masks_to_review_are_the_given_and_the_corrected_ones(outcomes: dict[str, Outcome]) -> None:
    from PIL import Image

    folder = outcomes["segmentation"].folder
    given = np.load(folder.parent / "d.npz")["y"]
    items = Items.open(folder / "review.arrow")
    colours = np.array([[int(each[i : i + 2], 16) for i in (1, 3, 5)] for each in items.colours])
    assert len(np.unique(colours, axis=0)) == len(items.classes)
    for position in range(len(items)):
        item = items.item(position)
        corrected = np.array(Image.open(folder / "corrected-masks" / f"{item.index:06d}.png"))
        for name, mask in (("given_mask", given[item.index]), ("suggested_mask", corrected)):
            shown = np.array(Image.open(io.BytesIO(items.blob(position, name) or b"")))
            seen = (mask > 0) & (mask != 255)
            np.testing.assert_array_equal(shown[..., 3] == 255, seen)
            np.testing.assert_array_equal(shown[seen][:, :3], colours[mask[seen]])
        assert items.blob(position, "picture") is not None


def test_nearest_rows_to_review_are_the_nearest_of_all(outcomes: dict[str, Outcome]) -> None:
    folder = outcomes["regression"].folder
    X = np.load(folder.parent / "d.npz")["X"]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    items = Items.open(folder / "review.arrow")
    placed = X[items.index]
    gaps = np.linalg.norm(placed[:, None] - placed, axis=2)
    np.fill_diagonal(gaps, np.inf)
    shared = [len({*items.item(i).neighbours} & {*np.argsort(gaps[i])[:6].tolist()}) for i in range(len(items))]
    assert np.mean(shared) > 5  # the encoder's scale is close to the deviations, not the same


def test_suspects_of_numbers_are_the_planted_ones(outcomes: dict[str, Outcome]) -> None:
    with (outcomes["regression"].folder / "suspects.csv").open(newline="") as stream:
        found = {int(row["index"]) for row in csv.DictReader(stream)}
    planted = set(range(0, 240, 20))
    assert len(found & planted) > 0.8 * len(planted)
    with (outcomes["regression"].folder / "labels.csv").open(newline="") as stream:
        layer = {int(row["index"]): row for row in csv.DictReader(stream)}
    data = np.load(outcomes["regression"].folder.parent / "d.npz")
    assert [float(layer[row]["given"]) for row in layer] == pytest.approx(data["y"].tolist(), rel=1e-5)
    assert {row for row, cells in layer.items() if cells["changed"] == "1"} == found


def test_given_numbers_keep_all_their_digits_and_unknown_true_ones_count_nowhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2)).astype(np.float32)
    given = 1234567.25 + np.round(1000 * X[:, 0].astype(float), 3)
    truth = given.copy()
    truth[::3] = np.nan
    truth[1::30] += 500
    np.savez(tmp_path / "d.npz", X=X, y=given, truth=truth)
    done = run(Options(source=str(tmp_path / "d.npz"), truth="truth", out=str(tmp_path / "out"), epochs=2, folds=2))
    with (done.folder / "labels.csv").open(newline="") as stream:
        layer = list(csv.DictReader(stream))
    assert [float(row["given"]) for row in layer] == given.tolist()
    assert all(row["corrected"] == row["given"] for row in layer if row["changed"] == "0")
    assert done.metrics["noise_rate_true"] == pytest.approx(3 / 60)
    with (done.folder / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["part"] == "test"]
    inside = [
        float(row["low"]) <= truth[int(row["index"])] <= float(row["high"])
        for row in rows
        if not np.isnan(truth[int(row["index"])])
    ]
    assert done.metrics["coverage"] == pytest.approx(np.mean(inside))


def test_too_few_rows_for_a_promise_give_no_interval(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(34, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", X=X, y=X[:, 0])
    done = run(Options(source=str(tmp_path / "d.npz"), out=str(tmp_path / "out"), epochs=1, skip=("audit",)))
    assert not {"coverage_on_noisy_labels", "interval_half_width"} & set(done.metrics)
    assert "5 calibration rows are too few" in (done.folder / "report.html").read_text()
    with (done.folder / "predictions.csv").open(newline="") as stream:
        assert all(row["predicted"] and not row["low"] for row in csv.DictReader(stream))


def test_intervals_and_label_sets_hold_about_as_often_as_promised(outcomes: dict[str, Outcome]) -> None:
    for task in ("regression", "multilabel"):
        found = outcomes[task].metrics
        rows = found["rows_tested"]
        assert found["coverage"] > found["coverage_promised"] - 3 * np.sqrt(0.09 / rows) - 0.05


def test_corrected_masks_change_suspected_pixels_only(outcomes: dict[str, Outcome]) -> None:
    from PIL import Image

    folder = outcomes["segmentation"].folder
    given = np.load(folder.parent / "d.npz")["y"]
    changed = 0
    for file in (folder / "corrected-masks").iterdir():
        changed += int((np.array(Image.open(file)) != given[int(file.stem)]).sum())
    assert changed == outcomes["segmentation"].metrics["suspect_pixels"]


@pytest.mark.parametrize("task", CASES)
def test_a_run_cut_short_goes_on_to_the_same_bytes(
    task: str, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second piece of work fails; what was done before it is read, the rest made."""
    from labelwise.job.workspace import Workspace

    write, pieces = Workspace._write, []

    def cut(folder: Path, arrays: Any, values: Any) -> None:
        pieces.append(folder.name)
        if len(pieces) == 2:
            raise KeyboardInterrupt
        write(folder, arrays, values)

    whole = outcomes[task].folder
    shutil.copy(whole.parent / "d.npz", tmp_path / "d.npz")
    monkeypatch.setattr(Workspace, "_write", staticmethod(cut))
    with pytest.raises(KeyboardInterrupt):
        job(task, tmp_path)
    monkeypatch.setattr(Workspace, "_write", staticmethod(write))
    resumed = job(task, tmp_path, resume=True)
    for name in ("suspects.csv", "predictions.csv"):
        assert (resumed.folder / name).read_bytes() == (whole / name).read_bytes()
    weights = sorted(path.name for path in (whole / "model").glob("*.safetensors"))
    assert all((resumed.folder / "model" / n).read_bytes() == (whole / "model" / n).read_bytes() for n in weights)


@pytest.mark.parametrize("task", CASES)
def test_steps_can_be_skipped(task: str, tmp_path: Path) -> None:
    done = job(task, tmp_path, skip=("audit", "learn", "trust"))
    assert not (done.folder / "suspects.csv").exists()
    assert not (done.folder / "predictions.csv").exists()
    assert (done.folder / "report.html").exists()


@pytest.mark.parametrize("task", CASES)
def test_a_recipe_of_another_task_is_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe"):
        job(task, tmp_path, recipe="co-teaching")


@pytest.mark.parametrize(
    ("task", "option"),
    [
        ("regression", {"bag": "bag"}),
        ("bags", {"edges": "edges.csv"}),
        ("multilabel", {"filter_by": "both"}),
    ],
)
def test_an_option_of_another_task_is_refused(task: str, option: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"no effect on the task {task}"):
        Options(**option).settled(task)


def test_bags_need_two_classes(tmp_path: Path) -> None:
    rows = np.arange(60)
    np.savez(tmp_path / "d.npz", X=rows[:, None].astype(np.float32), y=rows % 3, bag=rows // 6)
    with pytest.raises(InputError, match="3 classes"):
        run(Options(source=str(tmp_path / "d.npz"), out=str(tmp_path / "out")))


def test_too_few_bags_are_refused(tmp_path: Path) -> None:
    rows = np.arange(60)
    np.savez(tmp_path / "d.npz", X=rows[:, None].astype(np.float32), y=rows % 2, bag=rows // 20)
    with pytest.raises(InputError, match="3 bags"):
        run(Options(source=str(tmp_path / "d.npz"), out=str(tmp_path / "out")))


def test_a_limit_takes_whole_bags(tmp_path: Path) -> None:
    done = job("bags", tmp_path, limit=100, epochs=1, skip=("audit",))
    with (done.folder / "predictions.csv").open(newline="") as stream:
        bags = [row["bag"] for row in csv.DictReader(stream)]
    assert len(bags) == 96
    assert {bags.count(bag) for bag in bags} == {8}


def test_a_bag_in_training_and_in_test_is_refused(tmp_path: Path) -> None:
    rows = np.arange(80)
    split = np.where(rows % 4 == 0, "test", "train")
    X = rows[:, None].astype(np.float32)
    np.savez(tmp_path / "d.npz", X=X, y=rows % 2, bag=rows // 8, split=split)
    with pytest.raises(InputError, match="same split"):
        run(Options(source=str(tmp_path / "d.npz"), split="split", out=str(tmp_path / "out")))


def test_rows_of_bags_without_a_label_or_true_label_count_nowhere(tmp_path: Path) -> None:
    """Every known label, given and true, is positive in half the bags: so is the share that is scored."""
    rows = np.arange(160)
    bag = rows // 8
    truth = np.where(rows % 2, bag % 2, -1)
    given = np.where(rows % 4, bag % 2, -1)
    X = (10.0 * (bag % 2) - 5)[:, None].astype(np.float32)
    np.savez(tmp_path / "d.npz", X=X, y=given, bag=bag, truth=truth)
    done = run(Options(source=str(tmp_path / "d.npz"), truth="truth", out=str(tmp_path / "out"), epochs=40))
    assert done.metrics["score_robust"] > 0.9
    assert done.metrics["accuracy_robust"] == 1.0
    assert "20 bags hold rows without a label" in (done.folder / "report.html").read_text()


@pytest.mark.parametrize("task", ["regression", "multilabel", "bags"])
def test_the_saved_model_answers_as_the_run_did(task: str, outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    from labelwise.job.model import Model

    folder = outcomes[task].folder
    Model.load(folder / "model").predict_to_csv(str(folder.parent / "d.npz"), tmp_path / "new.csv", block_rows=100)
    with (tmp_path / "new.csv").open(newline="") as stream:
        new = list(csv.DictReader(stream))
    with (folder / "predictions.csv").open(newline="") as stream:
        old = list(csv.DictReader(stream))
    shared = [name for name in new[0] if name in old[0] and name not in ("index", "predicted")]
    assert len(shared) >= 1
    for name in shared:
        values = [[float(row[name]) for row in rows] for rows in (new, old)]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)


def test_an_alpha_that_a_model_cannot_heed_is_refused_with_the_reason(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    from labelwise.job.model import Model

    folder = outcomes["regression"].folder
    with pytest.raises(InputError, match="as its task is regression"):
        Model.load(folder / "model").predict_to_csv(str(folder.parent / "d.npz"), tmp_path / "new.csv", alpha=0.2)


@pytest.mark.parametrize("task", ["segmentation", "nodes"])
def test_a_model_without_rows_says_where_it_predicts(task: str, outcomes: dict[str, Outcome]) -> None:
    from labelwise.job.model import Model

    with pytest.raises(InputError, match=r"labelwise\.\w+\.load"):
        Model.load(outcomes[task].folder / "model")


def test_masks_of_an_earlier_run_do_not_stay(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    shutil.copy(outcomes["segmentation"].folder.parent / "d.npz", tmp_path / "d.npz")
    old = tmp_path / "out" / "corrected-masks"
    old.mkdir(parents=True)
    (old / "000999.png").write_bytes(b"of an earlier run")
    (old / "mine.png").write_bytes(b"not written by a run")
    job("segmentation", tmp_path)
    assert not (old / "000999.png").exists()
    assert (old / "mine.png").exists()
