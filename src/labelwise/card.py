"""A method's card: what the command, the docs and the report say of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Card:
    """One published method or baseline.

    ``number`` is None for a baseline; ``recipe`` names what ``Classifier(recipe)`` or the task's estimator takes
    (several names where the paper has variants); ``defaults`` are the recipe's options as they stand in the code.
    ``use`` is a line of Python for a method that is no recipe.
    """

    number: int | None
    slug: str
    title: str
    task: str
    fault: str
    recipe: tuple[str, ...]
    idea: str
    paper: str
    link: str
    authors_code: str
    licence: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""
    use: str = ""

    @property
    def golden(self) -> str | None:
        """File name of the golden numbers, or None for a baseline."""
        return None if self.number is None else f"{self.number:02d}-{self.slug}.json"

    def to_dict(self) -> dict[str, Any]:
        """Return all of the card as plain values."""
        return asdict(self) | {"recipe": list(self.recipe), "defaults": dict(self.defaults), "golden": self.golden}
