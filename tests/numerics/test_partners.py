"""Partners drawn without the n x n matrix against the matrix itself."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.neighbors import KernelDensity

from labelwise.errors import InputError
from labelwise.methods.regression.c_mixup import label_similarity_matrix
from labelwise.numerics.partners import CMixupSampler, part_into_boxes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels(kind: str, n: int = 60) -> torch.Tensor:
    drawn = torch.randn(n, 3, dtype=torch.float64, generator=generator(1))
    return {
        "one": drawn[:, 0],
        "three": drawn,
        "ties": drawn[:, :1].round(),
        "equal": torch.ones(n),
        "far": torch.cat([drawn[:3, 0], 8 + drawn[3:, 0]]),
        "skewed": drawn[:, 0].exp() ** 2,
    }[kind]


@pytest.mark.parametrize("kind", ["one", "three", "ties", "equal", "far", "skewed"])
@pytest.mark.parametrize("bandwidth", [0.01, 0.3, 2.0, float("inf")])
def test_frequencies_are_those_of_the_matrix(kind: str, bandwidth: float) -> None:
    y = labels(kind)
    draws = 4000
    sampler = CMixupSampler(y, bandwidth, generator())
    exact = label_similarity_matrix(y, bandwidth)
    p_values = []
    for row in (0, 1, 30, 59):
        partners = sampler.sample_partners(torch.full((draws,), row))
        counts = torch.bincount(partners, minlength=len(y)).double().numpy()
        expected = draws * exact[row].numpy()
        torch.testing.assert_close(sampler.probabilities(row), exact[row])
        assert counts[expected == 0].sum() == 0
        # Cells of few expected draws are pooled, as the chi-square law needs.
        rare = expected < 5
        pooled = [np.append(each[~rare], each[rare].sum()) for each in (counts, expected)]
        pooled = [each if expected[rare].sum() > 5 else each[:-1] for each in pooled]
        if len(pooled[1]) > 1:
            p_values.append(chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue)
    assert all(p > 1e-4 for p in p_values)


def test_p_values_of_a_wrong_bandwidth_are_small() -> None:
    y = labels("one")
    partners = CMixupSampler(y, 0.33, generator()).sample_partners(torch.zeros(20_000, dtype=torch.int64))
    counts = torch.bincount(partners, minlength=60).double().numpy()
    expected = 20_000 * label_similarity_matrix(y, 0.3)[0].numpy()
    assert (
        chisquare(
            counts[expected > 5], expected[expected > 5] * counts[expected > 5].sum() / expected[expected > 5].sum()
        ).pvalue
        < 1e-4
    )


def test_rows_are_drawn_independently() -> None:
    y = labels("one", 10)
    sampler = CMixupSampler(y, 1.0, generator())
    pairs = torch.stack([sampler.sample_partners(torch.tensor([0, 1])) for _ in range(3000)])
    exact = label_similarity_matrix(y, 1.0)
    joint = torch.zeros(10, 10, dtype=torch.float64)
    joint.index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(3000, dtype=torch.float64), accumulate=True)
    expected = (3000 * exact[0].outer(exact[1])).numpy()
    enough = expected > 5
    found = joint.numpy()[enough]
    assert chisquare(found, expected[enough] * found.sum() / expected[enough].sum()).pvalue > 1e-4


def test_the_matrix_is_a_normalised_kernel_density() -> None:
    y = labels("three", 12)
    found = label_similarity_matrix(y, 0.7).numpy()
    density = np.stack([np.exp(KernelDensity(bandwidth=0.7).fit(row[None]).score_samples(y)) for row in y.numpy()])
    np.testing.assert_allclose(found, density / density.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 17, 64, 1000])
@pytest.mark.parametrize("outputs", [1, 3])
def test_boxes_hold_every_row_once(n: int, outputs: int) -> None:
    y = torch.randn(n, outputs, generator=generator()).round(decimals=1)
    boxes = part_into_boxes(y)
    assert sorted(boxes.rows.tolist()) == list(range(n))
    assert int(boxes.sizes.sum()) == n
    assert int(boxes.sizes.min()) > 0
    assert len(boxes.sizes) <= 2 * n**0.5
    for start, size, low, high in zip(*boxes[1:], strict=True):
        inside = y[boxes.rows[start : start + size]]
        assert torch.equal(inside.amin(dim=0), low)
        assert torch.equal(inside.amax(dim=0), high)


def test_boundary_rows() -> None:
    assert (
        CMixupSampler(torch.tensor([3.0]), 1.0, generator()).sample_partners(torch.zeros(4).long()).tolist() == [0] * 4
    )
    sampler = CMixupSampler(torch.tensor([0.0, 1e9, -1e9, 1e-3]), 1e-6, generator())
    rows = torch.arange(4).repeat(50)
    assert torch.equal(sampler.sample_partners(rows), rows)
    assert sampler.sample_partners(rows[:0]).shape == (0,)
    tiny = CMixupSampler(torch.tensor([0.0, 1.0, 0.0]), 1e-320, generator()).sample_partners(torch.zeros(100).long())
    assert set(tiny.tolist()) == {0, 2}
    chunked = CMixupSampler(labels("one"), 0.5, generator(), chunk_size=7)
    assert chunked.sample_partners(torch.arange(60)).shape == (60,)


def test_the_generator_fixes_the_partners() -> None:
    sampler, rows = CMixupSampler(labels("one"), 0.5), torch.arange(60)
    first, again, other = (sampler.sample_partners(rows, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="generator"):
        sampler.sample_partners(rows)


@pytest.mark.parametrize(
    ("y", "bandwidth", "message"),
    [
        ([], 1.0, "at least one row"),
        ([[[1.0]]], 1.0, r"shape \(1, 1, 1\)"),
        ([1.0, float("nan")], 1.0, "labels row 1 is"),
        ([[1.0, 2.0], [float("inf"), 0.0]], 1.0, "labels row 1 is"),
        ([1.0, 2.0], 0.0, "bandwidth is 0"),
        ([1.0, 2.0], -1.0, "bandwidth is -1"),
        ([1.0, 2.0], float("nan"), "bandwidth is nan"),
    ],
)
def test_what_is_refused(y: list, bandwidth: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CMixupSampler(torch.tensor(y), bandwidth)
    with pytest.raises(InputError, match=message):
        label_similarity_matrix(torch.tensor(y), bandwidth)
