"""The command, run in this process: a second import of torch would cost more than the work."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from labelwise import cli

INTERNAL_ERROR = 70


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence on stderr of a command that refused; fails where there is none or more."""
        progress, sentences = [], []
        for line in self.err.splitlines():
            (progress if line.startswith("  ✓ ") else sentences).append(line)
        assert self.status not in (0, INTERNAL_ERROR), self
        assert len(sentences) == 1, self.err
        assert sentences[0].startswith("labelwise: "), self.err
        assert "Traceback" not in self.err
        assert len(sentences[0]) < 900
        return sentences[0]


def labelwise(*arguments: object) -> Ended:
    """Run ``labelwise ARGUMENTS``; its end as a status, as a shell would see it."""
    out, err = io.StringIO(), io.StringIO()
    words = ["labelwise", *map(str, arguments)]
    status = 0
    with patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """Run a command that must end well; return what it printed."""
    ended = labelwise(*arguments)
    assert ended.status == 0, ended.err
    return ended.out


def flags(options: dict[str, object]) -> list[str]:
    """``{"label": "x"}`` as words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def result_files(folder: Path) -> set[str]:
    """Names of all files of a run but the tensors, whose name depends on their content."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("model/tensors-")}
