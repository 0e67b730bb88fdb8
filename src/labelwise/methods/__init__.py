"""The methods: one file each, found by name."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from labelwise.callable_package import make_callable
from labelwise.card import Card
from labelwise.errors import InputError

if TYPE_CHECKING:
    from labelwise.training.recipe import Recipe

make_callable(__name__, __name__, "cards")

# Every file with a card, in the order of the cards' numbers; baselines first.
METHOD_FILES = (
    "methods.classification.cross_entropy",
    "methods.classification.label_smoothing",
    "methods.classification.mixup",
    "methods.segmentation.cross_entropy",
    "methods.segmentation.logit_margin",
    "methods.regression.squared_error",
    "methods.multilabel.cross_entropy",
    "methods.graphs.cross_entropy",
    "methods.bags.dllp",
    "methods.classification.elr",
    "methods.segmentation.nacl",
    "methods.classification.compress_features",
    "methods.multilabel.pu_mlc",
    "methods.regression.conr",
    "methods.graphs.erase",
    "methods.segmentation.adele",
    "methods.segmentation.cw_bass",
    "methods.graphs.local_clustering",
    "certainty.label_powerset",
    "methods.regression.c_mixup",
    "audit.card",
    "certainty.forest_smoothers",
    "audit.critic.card",
    "methods.classification.log_confidence",
    "methods.bags.llp_bp",
    "methods.pretraining.t_jepa",
    "methods.classification.ps_kd",
)


def cards() -> list[Card]:
    """Return the card of every method and baseline."""
    return [_module(name).CARD for name in METHOD_FILES]


def recipes(task: str | None = None) -> dict[str, type["Recipe"]]:
    """Return every recipe by its name, or those of one task as the cards name it."""
    found: dict[str, type[Recipe]] = {}
    for name in METHOD_FILES:
        module = _module(name)
        if task in (None, module.CARD.task):
            found |= getattr(module, "RECIPES", {})
    return found


def find_recipe(name: str, task: str | None = None) -> type["Recipe"]:
    """Return the recipe of that name (and task); raises InputError, naming those there are."""
    known = recipes(task)
    if name not in known:
        kind = "" if task is None else f" for {task}"
        raise InputError(f"there is no recipe {name!r}{kind}; choose one of {', '.join(known)}")
    return known[name]


def _module(name: str) -> ModuleType:
    return import_module(f"labelwise.{name}")
