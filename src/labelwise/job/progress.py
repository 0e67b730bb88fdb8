"""Who hears how far a job is."""

from typing import Protocol


class Progress(Protocol):
    """One bar a piece of work."""

    def start(self, what: str, total: int) -> None:
        """A piece of work of ``total`` parts begins."""

    def advance(self, note: str = "") -> None:
        """One part is done."""

    def finish(self, summary: str) -> None:
        """The piece of work is done; one line says what came of it."""


class Silent:
    """Nobody listens."""

    def start(self, what: str, total: int) -> None:
        """Say nothing."""

    def advance(self, note: str = "") -> None:
        """Say nothing."""

    def finish(self, summary: str) -> None:
        """Say nothing."""
