"""Local-global convolution: attention that sums to 1, sizes, what is converted, and that a network stays as it was."""

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.networks.build import build_network
from labelwise.networks.local_global import GlobalBranch2d, LocalGlobalConv2d, convert_to_lgconv


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (1, 1)])
def test_output_has_the_size_of_the_convolution(stride: int, size: tuple[int, int]) -> None:
    conv = nn.Conv2d(8, 12, 3, stride=stride, padding=1)
    x = drawn(2, 8, *size)
    assert LocalGlobalConv2d(conv)(x).shape == conv(x).shape == GlobalBranch2d(8, 12, stride)(x).shape
    dilated = nn.Conv2d(8, 4, 3, stride=stride, padding=2, dilation=2)
    if min(size) > 1:
        assert LocalGlobalConv2d(dilated, num_heads=2)(x).shape == dilated(x).shape


def test_pooling_weights_sum_to_one_and_gates_are_open_by_a_share() -> None:
    weights, gates = GlobalBranch2d(8, 8, num_heads=4).attention(5 * drawn(3, 8, 4, 5))
    assert weights.shape == gates.shape == (3, 4, 20)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 4))
    assert ((gates > 0) & (gates < 1)).all()


def test_a_silent_branch_leaves_the_convolution_alone() -> None:
    conv = nn.Conv2d(8, 6, 3, padding=1)
    wide = LocalGlobalConv2d(conv).eval()
    x = drawn(2, 8, 5, 5)
    torch.testing.assert_close(wide(x), conv(x), atol=1e-2, rtol=0)
    nn.init.zeros_(wide.branch.norm.weight)
    assert torch.equal(wide(x), conv(x))
    wide.train()
    assert torch.equal(wide(x), conv(x))


def test_a_far_pixel_is_seen_through_the_branch_only() -> None:
    wide = LocalGlobalConv2d(nn.Conv2d(8, 8, 3, padding=1)).eval()
    nn.init.ones_(wide.branch.norm.weight)
    x = drawn(1, 8, 9, 9)
    far = x.clone()
    far[0, :, 8, 8] += 10
    assert torch.equal(wide.conv(x)[0, :, 0, 0], wide.conv(far)[0, :, 0, 0])
    assert not torch.allclose(wide(x)[0, :, 0, 0], wide(far)[0, :, 0, 0], atol=1e-3)


def test_conversion_goes_through_all_children_and_leaves_alone_what_does_not_fit() -> None:
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
    kept = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # three channels do not divide by the heads
        block,
        nn.Conv2d(8, 8, 3),  # shrinks the picture by its border
        nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 3, padding=1, stride=(1, 2)),
        kept,
        nn.Conv2d(8, 16, 3, padding=1, stride=2),
    )
    x = drawn(2, 3, 12, 12)
    before = network(x)
    converted = convert_to_lgconv(network, num_heads=4, ignore=[kept])
    assert converted == [block[0], network[6]]
    assert isinstance(kept[0], nn.Conv2d)
    torch.testing.assert_close(network.eval()(x), before, atol=1e-2, rtol=0)
    assert convert_to_lgconv(network, num_heads=4, ignore=[kept]) == []


def test_a_timm_backbone_is_converted_and_runs() -> None:
    network = build_network("resnet18", (3, 32, 32), 4)
    converted = convert_to_lgconv(network)
    assert len(converted) == 16  # all 3x3 convolutions of the blocks, not the stem
    assert network(drawn(2, 3, 32, 32)).shape == (2, 4)


def test_the_branch_takes_type_and_gradient() -> None:
    wide = LocalGlobalConv2d(nn.Conv2d(8, 8, 3, padding=1).double())
    x = drawn(2, 8, 4, 4).double()
    wide(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in wide.parameters())
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("conv", "options", "message"),
    [
        (nn.Conv2d(6, 8, 3, padding=1), {}, "6 channels do not divide by num_heads 8"),
        (nn.Conv2d(8, 8, 3, padding=1), {"num_heads": 0}, "num_heads 0"),
        (nn.Conv2d(8, 8, 3, padding=1), {"reduction_ratio": 9}, "reduction_ratio is 9"),
        (nn.Conv2d(8, 8, 3), {}, "no global branch"),
        (nn.Conv2d(8, 8, 5, padding=2), {}, "no global branch"),
        (nn.Conv2d(8, 8, 3, padding="same"), {}, "no global branch"),
    ],
)
def test_what_is_refused(conv: nn.Conv2d, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LocalGlobalConv2d(conv, **options)
