"""A run that is killed at any moment and resumed ends with the bytes of one that was never stopped.

The runs are forked from a server that has imported all that is heavy, so that one costs a second, not ten.
"""

import functools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise import cli
from labelwise.training.checkpoint import load_checkpoint

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "labelwise.job.run",
        "jinja2",
        "sklearn.linear_model",
        "sklearn.pipeline",
        "sklearn.decomposition",
        "sklearn.ensemble",
    ]
)
DIED = -signal.SIGKILL
RUN = ("run", "--truth", "truth", "--epochs", "2", "--folds", "2", "--recipe", "label-smoothing")
TRAIN = ("train", "--epochs", "3", "--recipe", "elr")
WRITING = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0}  # event -> the argument that is the path


def labelwise(arguments: list[str], folder: str, die_at: int, by: signal.Signals) -> None:
    """The command in a process of its own, which sends itself ``by`` before its ``die_at``-th change of a file."""
    os.setsid()
    # What a shell starts in the background ignores interrupts, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(folder + ".log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    from labelwise.job import learning

    learning.CHECKPOINT_SECONDS = 0.0
    changes = 0

    def count(event: str, details: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes and event not in WRITING:
            return
        # Removing a whole folder names its files relative to an open folder.
        path = str(details[WRITING.get(event, 0)])
        if not path.startswith(folder + os.sep) and Path(path).is_absolute():
            return
        changes += 1
        if changes == die_at:
            os.kill(os.getpid(), by)

    sys.addaudithook(count)
    sys.argv = ["labelwise", *arguments]
    try:
        cli.main()
    finally:
        Path(folder + ".changes").write_text(str(changes))


def start(
    arguments: tuple[str, ...], source: Path, folder: Path, die_at: int = 0, by: signal.Signals = signal.SIGKILL
) -> BaseProcess:
    words = [arguments[0], str(source), *arguments[1:], "--out", str(folder)]
    process = FORKS.Process(target=labelwise, args=(words, str(folder), die_at, by))
    process.start()
    return process


def finish(arguments: tuple[str, ...], source: Path, folder: Path, die_at: int = 0) -> int | None:
    process = start(arguments, source, folder, die_at)
    process.join(120)
    return process.exitcode


def changes(folder: Path) -> int:
    """How many changes of files the last command that ended by itself made."""
    return int(Path(f"{folder}.changes").read_text())


def contents(folder: Path) -> dict[str, Any]:
    """All files by name; of metrics.json what does not depend on the clock, of the report that it is whole."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    if "metrics.json" in found:
        numbers = json.loads(found["metrics.json"])
        found["metrics.json"] = {name: numbers[name] for name in numbers if name not in ("seconds", "started")}
    if "report.html" in found:
        found["report.html"] = found["report.html"].rstrip().endswith(b"</html>")
    return found


def is_ours(name: str) -> bool:
    """Whether a file is a result, not the work that a resumed run goes on from, nor half a file under its own name."""
    return not any(part.startswith(".") for part in Path(name).parts)


def check_after_kill(folder: Path, expected: dict[str, Any]) -> None:
    """Whatever has the name of a result is that result."""
    found = {name: content for name, content in contents(folder).items() if is_ours(name)} if folder.exists() else {}
    assert found.items() <= expected.items()
    if "model/manifest.json" in found:
        load_checkpoint(folder / "model")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 3
    inputs = 2 * rng.normal(size=(3, 5))[truth] + rng.normal(size=(120, 5))
    given = np.where(rng.random(120) < 0.2, rng.integers(0, 3, 120), truth)
    path = tmp_path_factory.mktemp("data") / "points.npz"
    np.savez(path, X=inputs.astype(np.float32), y=given, truth=truth)
    return path


@pytest.fixture(scope="module")
def uninterrupted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    """The folder of a run with these arguments that nothing stopped."""
    root = tmp_path_factory.mktemp("whole")
    # Read by the server when it starts, and by no one later.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        ensure_running()

    @functools.cache
    def folder(arguments: tuple[str, ...]) -> Path:
        assert finish(arguments, source, root / arguments[0]) == 0, (root / f"{arguments[0]}.log").read_text()
        return root / arguments[0]

    return folder


Whole = Callable[[tuple[str, ...]], Path]


def test_what_a_run_leaves(uninterrupted: Whole) -> None:
    tables = {"suspects.csv", "labels.csv", "predictions.csv", "rejected.csv"}
    results = tables | {"review.arrow", "metrics.json", "report.html"}
    found = contents(uninterrupted(RUN))
    (tensors,) = (name for name in found if name.startswith("model/tensors-"))
    assert found.keys() == results | {"model/manifest.json", tensors}
    assert found["report.html"]


def test_a_run_that_dies_again_and_again_ends_with_the_same_bytes(
    source: Path, uninterrupted: Whole, tmp_path: Path
) -> None:
    expected = contents(uninterrupted(RUN))
    arguments, folder, kills = RUN, tmp_path / "run", 0
    # Later each time: a run that dies while it clears its finished work away begins afresh.
    while finish(arguments, source, folder, die_at=changes(uninterrupted(RUN)) * (kills + 2) // 6) == DIED:
        kills += 1
        assert kills < 10
        check_after_kill(folder, expected)
        arguments = (*RUN, "--resume")
    assert kills >= 2
    assert contents(folder) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arguments", [RUN, TRAIN], ids=["run", "train"])
def test_kills_at_random_moments(
    arguments: tuple[str, ...], source: Path, uninterrupted: Whole, tmp_path: Path
) -> None:
    expected = contents(uninterrupted(arguments))
    began = time.monotonic()
    assert finish(arguments, source, tmp_path / "measured") == 0
    seconds = time.monotonic() - began
    rng = np.random.default_rng(7)
    kills = 0
    for number in range(60):
        folder = tmp_path / str(number)
        process = start(arguments, source, folder)
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        kills += process.exitcode == DIED
        check_after_kill(folder, expected)
        assert finish((*arguments, "--resume"), source, folder) == 0
        assert contents(folder) == expected
        if kills == 24:
            return
    raise AssertionError(f"only {kills} runs were alive when they were to be killed")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("arguments", "stride"), [(RUN, 3), (TRAIN, 5)], ids=["run", "train"])
def test_kills_before_a_change_of_a_file(
    arguments: tuple[str, ...], stride: int, source: Path, uninterrupted: Whole, tmp_path: Path
) -> None:
    expected = contents(uninterrupted(arguments))
    for die_at in range(1, changes(uninterrupted(arguments)) + 1, stride):
        folder = tmp_path / str(die_at)
        assert finish(arguments, source, folder, die_at) == DIED
        check_after_kill(folder, expected)
        assert finish((*arguments, "--resume"), source, folder) == 0
        assert contents(folder) == expected, die_at


def test_an_interrupt_is_one_sentence_and_the_run_goes_on(source: Path, uninterrupted: Whole, tmp_path: Path) -> None:
    expected = contents(uninterrupted(RUN))
    folder = tmp_path / "run"
    # Half way: a signal from outside might come too late where the machine is busy and the run short.
    process = start(RUN, source, folder, changes(uninterrupted(RUN)) // 2, signal.SIGINT)
    process.join(120)
    assert process.exitcode == cli.INTERRUPTED
    last = Path(f"{folder}.log").read_text().splitlines()[-1]
    assert last == "labelwise: stopped; run, train and audit go on from here with --resume"
    assert finish((*RUN, "--resume"), source, folder) == 0
    assert contents(folder) == expected
