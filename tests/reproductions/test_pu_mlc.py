"""The PU-MLC reproduction: its parts share no digit, its measures by hand, its verdict."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labelwise.data.mosaics import Mosaics
from labelwise.networks.local_global import LocalGlobalConv2d
from labelwise.reproductions import pu_mlc
from labelwise.reproductions.pu_mlc import (
    FROZEN,
    IGNORE,
    LGCONV,
    METHOD,
    NEGATIVE,
    NEGATIVE_MIXUP,
    Draw,
    Sizes,
    draw_data,
    find_gains,
    freeze,
    measure,
    start_again,
    verdict,
)
from labelwise.training.recipe import Recipe


def test_quick_run_is_a_whole_record() -> None:
    result = pu_mlc.run(seeds=1, data_dir=None, quick=True)
    record = json.loads(result.to_json())
    assert result.interval is None
    assert any("quick form" in note for note in result.notes)
    assert result.difference == pytest.approx(result.methods[METHOD].mean - result.baselines[NEGATIVE].mean)
    known = record["details"]["a tenth known"]
    assert set(known) >= {NEGATIVE, NEGATIVE_MIXUP, METHOD, IGNORE, FROZEN, LGCONV}
    assert all(0 <= value <= 100 for arm in known.values() for value in arm.values())
    assert set(record["details"]["half of the positives overlooked"]) == {NEGATIVE, METHOD}


def test_parts_share_no_digit_and_the_start_is_trained() -> None:
    draw = draw_data(0, Sizes(60, 40, 50, 1))
    cells = [
        {image[i : i + 8, j : j + 8].tobytes() for image in part.images for i in (0, 8) for j in (0, 8)}
        for part in draw[:3]
    ]
    blank = np.zeros((8, 8), dtype=np.float32).tobytes()
    assert cells[0] & cells[1] == cells[0] & cells[2] == cells[1] & cells[2] == {blank}
    again = draw_data(0, Sizes(60, 40, 50, 1))
    assert np.array_equal(draw.test.images, again.test.images)
    assert torch.equal(draw.start.head.weight, again.start.head.weight)
    network = start_again(draw.start)
    assert not torch.equal(network.head.weight, draw.start.head.weight)
    assert all(
        torch.equal(one, other)
        for one, other in zip(network.extractor.parameters(), draw.start.extractor.parameters(), strict=True)
    )


@pytest.mark.parametrize("wide", [False, True])
def test_frozen_arms_train_the_last_convolution_and_branches_alone(wide: bool) -> None:
    network = freeze(pu_mlc.small_network(), wide)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    plain = {name for name in trained if "branch" not in name}
    assert {name.split(".")[-1] for name in plain} == {"weight", "bias"}
    assert len(plain) == 4  # of the last convolution and of the head
    assert any(name.startswith("extractor.4") for name in plain)
    converted = [module for module in network.modules() if isinstance(module, LocalGlobalConv2d)]
    assert len(converted) == (2 if wide else 0)
    assert all(parameter.requires_grad for module in converted for parameter in module.branch.parameters())


class Told(Recipe):
    """Says what its pictures say."""

    def __init__(self) -> None:
        super().__init__(lambda: nn.Linear(1, 1))

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, 0, 0]


def test_measures_by_hand() -> None:
    def told(logits: list[list[float]], labels: list[list[int]]) -> Mosaics:
        return Mosaics(np.array(logits, dtype=np.float32)[:, None], np.array(labels))

    # At a logit of 0 one of two said is right and one of two present is found; at -1 all are found, one wrongly.
    test = told([[2, -0.5], [1, -3]], [[1, 1], [0, 0]])
    validation = told([[-0.9, -2], [-1.1, -4]], [[1, 0], [0, 0]])
    found = measure(Told(), Draw(test, validation, test, pu_mlc.small_network()))
    assert found == {
        "map": 100.0,
        "micro_f1": pytest.approx(50.0),
        "macro_f1": pytest.approx(100 * (2 / 3) / 2),
        "micro_f1_best_threshold": pytest.approx(80.0),
    }


def arms(**maps: list[float]) -> dict[str, dict[str, list[float]]]:
    names = (*maps, *(value for name, value in vars(pu_mlc).items() if name.startswith("NO_")), FROZEN, LGCONV, IGNORE)
    return {arm: dict.fromkeys(pu_mlc.MEASURES, maps.get(arm, [50.0, 50.0, 50.0])) for arm in names}


@pytest.mark.parametrize(
    ("partial", "overlooked", "holds"),
    [
        ({}, {}, True),
        ({METHOD: [60.0, 61.0, 40.0]}, {}, False),
        ({NEGATIVE_MIXUP: [70.0, 71.0, 72.0]}, {}, False),
        ({}, {METHOD: [10.0, 50.0, 30.0]}, False),
    ],
)
def test_each_part_of_the_verdict_counts(partial: Any, overlooked: Any, holds: bool) -> None:
    base = {NEGATIVE: [50.0, 51.0, 49.0], NEGATIVE_MIXUP: [52.0, 51.0, 50.0], METHOD: [70.0, 71.0, 69.0]}
    second = {NEGATIVE: [30.0, 31.0, 29.0], METHOD: [50.0, 51.0, 49.0]}
    gains = find_gains(arms(**(base | partial)), arms(**(second | overlooked)))
    assert verdict(gains) is holds
    assert not math.isnan(gains["map by temperature"].difference)
