"""Networks for masks: shapes for any size, levels that count, weights by name."""

import pytest
import timm
import torch

from labelwise.networks.unet import build_unet


@pytest.mark.parametrize("name", ["unet", "unet-8", "unet-8-16", "unet-5-7-9-11", "hourglass-8-16"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (2, 33, 40)])
def test_any_size_goes_in_and_comes_out(name: str, shape: tuple[int, int, int]) -> None:
    network = build_unet(name, shape, 4)
    inputs = torch.randn(2, *shape)
    assert network(inputs).shape == (2, 4, *shape[1:])
    assert network.features(inputs).shape == (2, network.num_features, *shape[1:])


@pytest.mark.parametrize(("name", "shape"), [("resnet10t", (1, 20, 33)), ("mobilenetv3_small_050", (3, 45, 64))])
def test_timm_encoders(name: str, shape: tuple[int, int, int]) -> None:
    whole = timm.create_model(name, pretrained=False)
    network = build_unet(f"unet-{name}", shape, 3, pretrained=whole).eval()
    with torch.no_grad():
        assert network(torch.randn(2, *shape)).shape == (2, 3, *shape[1:])
    mine = {key.replace(".", "_"): value for key, value in network.encoder.backbone.state_dict().items()}
    theirs = {key.replace(".", "_"): value for key, value in whole.state_dict().items()}
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_the_hourglass_lacks_the_skips() -> None:
    counts = {}
    for name in ("unet-4-4", "hourglass-4-4"):
        network = build_unet(name, (1, 8, 8), 2)
        counts[name] = sum(parameter.numel() for parameter in network.parameters())
    assert counts["unet-4-4"] - counts["hourglass-4-4"] == 4 * 4 * 9  # the channels the skip adds to one convolution


def test_prediction_does_not_depend_on_the_batch() -> None:
    network = build_unet("unet-8-8", (1, 9, 9), 3)
    inputs = torch.randn(4, 1, 9, 9)
    network(inputs)
    network.eval()
    torch.testing.assert_close(network(inputs)[:1], network(inputs[:1]))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 4), (1, 4, 4)])
def test_one_small_image_trains(shape: tuple[int, int, int]) -> None:
    network = build_unet("unet-4-4-4", shape, 2)  # a single pixel on the coarsest level
    before = {name: value.clone() for name, value in network.named_buffers() if "levels.2" in name}
    network(torch.randn(1, *shape)).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers() if name in before)
    network(torch.randn(2, *shape))
    moved = [name for name, value in network.named_buffers() if name in before and not torch.equal(value, before[name])]
    assert len(moved) == len(before) > 0
