"""Packages that can be called, for a front-door function and a package that share a name.

Once any module of a package is imported, Python puts the package in the place of the function.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that passes a call on to one of its functions."""

    _function: tuple[str, str]

    def __call__(self, *args: Any, **options: Any) -> Any:
        home, name = self._function
        return getattr(import_module(home), name)(*args, **options)


def make_callable(package: str, home: str, function: str) -> None:
    """Let a call of ``package`` (its ``__name__``) call ``function`` of the module ``home``, imported when called."""
    module = sys.modules[package]
    module.__class__ = _CallablePackage
    module._function = (home, function)  # type: ignore[attr-defined]
