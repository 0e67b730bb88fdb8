"""Cards tell what is there: names, defaults, golden files."""

import inspect
import json
from pathlib import Path

import pytest

from labelwise.card import Card
from labelwise.methods import METHOD_FILES, cards, recipes

GOLDEN = Path(__file__).parent / "golden"


def test_slugs_and_numbers_are_unique() -> None:
    slugs = [card.slug for card in cards()]
    numbers = [card.number for card in cards() if card.number is not None]
    assert len(set(slugs)) == len(slugs) == len(METHOD_FILES)
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


def test_every_recipe_stands_on_one_card() -> None:
    named = [name for card in cards() for name in card.recipe]
    assert sorted(named) == sorted(recipes())


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.slug)
def test_a_card_is_complete_and_true(card: Card) -> None:
    row = card.to_dict()
    for field in ("slug", "title", "task", "fault", "idea", "paper", "link", "cost"):
        assert row[field], field
    assert card.link.startswith("https://")
    assert json.loads(json.dumps(row)) == row
    if card.number is None:
        assert card.golden is None
    else:
        assert card.authors_code
        assert (GOLDEN / str(card.golden)).is_file()
        assert json.loads((GOLDEN / str(card.golden)).read_text())["method"] == str(card.golden).removesuffix(".json")


@pytest.mark.parametrize("card", [card for card in cards() if card.recipe], ids=lambda card: card.slug)
def test_defaults_are_those_of_the_code(card: Card) -> None:
    signatures = [inspect.signature(recipes()[name]).parameters for name in card.recipe]
    for option, value in card.defaults.items():
        found = [parameters[option].default for parameters in signatures if option in parameters]
        assert value in found, option
