"""Which backbone suits the data, and the scale of the data: what must be known before a network is built."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.inputs import example_shape
from labelwise.networks.build import is_small
from labelwise.networks.network import Standardize
from labelwise.networks.nodes import Nodes
from labelwise.networks.pretrained import DEFAULT_BACKBONE, SMALLEST_FOR_BACKBONE, load_backbone

# Items of a data set are read one by one; so many tell mean and spread well enough.
ITEMS_TO_MEASURE = 1000


class Backbone(NamedTuple):
    """A pretrained timm model without its head."""

    name: str
    module: nn.Module


def find_backbone(
    inputs: Tensor | Dataset, *, network: str, weights: str | Path | None, download: bool, fine_tune: bool
) -> Backbone | None:
    """Return the pretrained backbone to start from, None where the data has no use for one or no weights are at hand.

    Raises InputError where ``weights`` are named but cannot be used.
    """
    shape = example_shape(inputs)
    if len(shape) != 3 or is_small(network):
        if weights is not None:
            raise InputError(
                f"weights are for a pretrained backbone on pictures, but network is {network!r} and an example has "
                f"shape {shape}: leave weights out, or give pictures and a timm name"
            )
        return None
    if isinstance(inputs, Dataset) and not fine_tune:
        if weights is not None:
            raise InputError(
                "a data set may draw its pictures anew, so features of frozen weights cannot be computed once: "
                "set fine_tune=True, or give X as an array"
            )
        return None
    if network == "auto" and weights is None and min(shape[1:]) < SMALLEST_FOR_BACKBONE:
        return None
    name = DEFAULT_BACKBONE if network == "auto" else network
    module = load_backbone(name, weights, download=download)
    return None if module is None else Backbone(name, module)


def standardize_for(inputs: Tensor | Dataset | Nodes | None, shape: tuple[int, ...]) -> Standardize:
    """Return the standardisation of inputs of one ``shape``; of None, one to load a state into."""
    if inputs is None:
        statistics = torch.zeros(shape[0], *[1] * (len(shape) - 1))
        return Standardize(statistics, statistics)
    if isinstance(inputs, Nodes):
        return Standardize.fit(inputs.features)
    if isinstance(inputs, Tensor):
        return Standardize.fit(inputs)
    count = len(inputs)  # type: ignore[arg-type]
    rows = range(0, count, max(1, -(-count // ITEMS_TO_MEASURE)))
    return Standardize.fit(torch.stack([torch.as_tensor(inputs[row][0]) for row in rows]))
