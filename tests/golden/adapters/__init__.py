"""One module a golden file: `run(case, root) -> {expected key: computed value}` for all keys of `case["expected"]`.

An adapter picks the function to call by the case's fields and params, never by its name, and raises `UnknownCase` for
fields, params or expected keys it does not know. `root` is the folder that file names in the case are relative to.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class UnknownCase(Exception):
    """The case has fields, params or expected keys for which the adapter has no function."""


def check_known(found: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Raise UnknownCase if something found is not known."""
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise UnknownCase(f"unknown {kind}: {', '.join(unknown)}")


def compute(case: Mapping[str, Any], functions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Call the function of each expected key, and no other."""
    check_known(case["expected"], functions, "expected keys")
    return {key: functions[key]() for key in case["expected"]}
