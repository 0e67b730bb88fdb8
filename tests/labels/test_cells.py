"""Cells that a reader must be able to take apart."""

import itertools

from labelwise.labels.cells import set_cell


def read_set_cell(cell: str) -> list[str]:
    """Character by character: a backslash makes the next one part of the name, a bar ends the name."""
    names, characters = [""], iter(cell)
    for character in characters:
        if character == "|":
            names.append("")
        else:
            names[-1] += next(characters) if character == "\\" else character
    return names


def test_set_cells_can_be_read_back() -> None:
    names = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product("a|\\", repeat=size)]
    cells = {tuple(some): set_cell(some) for count in (1, 2) for some in itertools.product(names, repeat=count)}
    assert len(set(cells.values())) == len(cells)
    assert all(read_set_cell(cell) == list(some) for some, cell in cells.items())
    assert set_cell(["cat", "dog"]) == "cat|dog"
    assert set_cell(["a|b", "c\\d"]) == r"a\|b|c\\d"
    assert set_cell([]) == ""
