"""Progress of a job as rich bars, on stderr."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """One bar a piece of work; a finished one becomes a line with its summary."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.what = ""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def start(self, what: str, total: int) -> None:
        """Show a new bar of ``total`` parts (0: unknown)."""
        self._remove()
        self.what = what
        self.task = self.bars.add_task(what, total=total or None, note="")

    def advance(self, note: str = "") -> None:
        """Move the bar by one part."""
        if self.task is not None:
            self.bars.update(self.task, advance=1, note=note)

    def finish(self, summary: str) -> None:
        """Turn the bar into a line."""
        self._remove()
        self.console.print(f"  [green]✓[/] {self.what:<16} [dim]{summary}[/]", highlight=False)

    def _remove(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
