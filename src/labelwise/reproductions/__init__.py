"""One paper's claim a file, run by `labelwise reproduce`.

Each module has `SLUG`, `CLAIM`, `DEFAULT_SEEDS` and `run(seeds, data_dir, quick) -> Result`; seeds 0 to seeds - 1 are
run.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

from labelwise.errors import InputError

if TYPE_CHECKING:
    from labelwise.reproductions.result import Result

# slug -> module, imported when it is run: some need torch.
REPRODUCTIONS = MappingProxyType(
    {
        "label-errors": "label_errors",
        "elr": "elr",
        "nacl": "nacl",
        "compress-features": "compress_features",
        "pu-mlc": "pu_mlc",
        "conr": "conr",
        "erase": "erase",
        "adele": "adele",
        "cw-bass": "cw_bass",
        "forest-smoothers": "forest_smoothers",
        "local-graph-clustering": "local_clustering",
        "lp-icp": "lp_icp",
        "c-mixup": "c_mixup",
        "quantity-quality": "quantity_quality",
        "label-critic": "label_critic",
        "llp-bp": "llp_bp",
        "t-jepa": "t_jepa",
        "ps-kd": "ps_kd",
    }
)


def slugs() -> tuple[str, ...]:
    """The slugs of all reproductions."""
    return tuple(REPRODUCTIONS)


def reproduction(slug: str) -> ModuleType:
    """The module of a reproduction. Raises InputError for an unknown slug."""
    if slug not in REPRODUCTIONS:
        raise InputError(f"there is no reproduction {slug!r}: choose one of {', '.join(slugs())}.")
    return import_module(f"labelwise.reproductions.{REPRODUCTIONS[slug]}")


def reproduce(
    slug: str, seeds: int | None = None, data_dir: str | Path | None = None, *, quick: bool = False
) -> Result:
    """Run one paper's claim against its baseline at equal budget.

    seeds: how many; None takes the reproduction's default. data_dir: the folder that holds the data sets it needs, by
    default that of the environment variable LABELWISE_DATA. quick: a small form for a smoke test, whose verdict means
    little. Raises InputError for an unknown slug, fewer than one seed, or data that are missing.
    """
    module = reproduction(slug)
    count = module.DEFAULT_SEEDS if seeds is None else seeds
    if count < 1:
        raise InputError(f"seeds is {count}: give at least 1.")
    folder = data_dir or os.environ.get("LABELWISE_DATA")
    return module.run(seeds=count, data_dir=Path(folder) if folder else None, quick=quick)
