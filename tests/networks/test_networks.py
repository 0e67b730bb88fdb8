"""Networks by name, standardisation, and pretrained weights from files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from labelwise.errors import InputError
from labelwise.networks.build import build_network, default_network, is_small
from labelwise.networks.network import Standardize
from labelwise.networks.pretrained import backbone_features, load_backbone, load_weights, restore_backbone

TINY = "test_resnet"  # timm's smallest


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (5,)),
        ("mlp", (3, 8, 8)),
        ("mlp-7", (1,)),
        ("mlp-7-3", (5,)),
        ("linear", (2, 4, 4)),
        ("cnn", (1, 8, 8)),
        ("cnn", (3, 28, 28)),
        ("cnn", (3, 33, 20)),
        ("cnn", (1, 1, 1)),
        ("cnn", (2, 4, 9)),
        (TINY, (3, 8, 8)),
        (TINY, (1, 40, 33)),
        (TINY, (4, 32, 32)),
    ],
)
def test_shapes(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(name, shape, 4).eval()
    inputs = torch.randn(2, *shape)
    assert network(inputs).shape == (2, 4)
    features = network.features(inputs)
    assert features.shape == (2, network.num_features)
    torch.testing.assert_close(network(inputs), network.head(features))
    network.train()(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_default_network() -> None:
    assert default_network((8, 1, 1)) == "cnn"
    assert default_network((8,)) == default_network((8, 2)) == "mlp"
    assert is_small("mlp-3")
    assert not is_small("mlp_mixer")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cnn", (5,), "needs pictures"),
        (TINY, (5,), "needs pictures"),
        ("mlp-0", (5,), "widths"),
        ("mlp-4-", (5,), "widths"),
        ("mlp--4", (5,), "widths"),
        ("mlp-many", (5,), "widths"),
        ("resnet_of_dreams", (3, 32, 32), "timm has "),
        ("zzz", (3, 32, 32), "neither"),
    ],
)
def test_names_that_fit_nothing_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(name, shape, 3)


def test_standardize() -> None:
    rng = torch.Generator().manual_seed(0)
    table = torch.randn(50, 3, generator=rng) * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([5.0, -3.0, 7.7])
    scaled = Standardize.fit(table)(table)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0)
    pictures = torch.randint(0, 256, (9, 2, 4, 4), generator=rng, dtype=torch.uint8)
    scaled = Standardize.fit(pictures)(pictures)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert torch.isfinite(Standardize.fit(table[:1])(table)).all()  # one row has no spread


def test_rounding_noise_is_not_blown_up() -> None:
    table = torch.full((10, 1), 1e6) + torch.tensor([0.0, 0.0625] * 5)[:, None]
    assert Standardize.fit(table)(table).abs().max() < 1


def test_rows_sorted_by_class_are_measured_evenly() -> None:
    table = torch.arange(10.0)[:, None].repeat_interleave(6, dim=0)
    few = Standardize.fit(table, rows=20)
    torch.testing.assert_close(few.mean, table.mean(dim=0))
    torch.testing.assert_close(few.scale, table.std(dim=0, correction=0))


def test_standardised_inputs_have_the_type_of_the_weights() -> None:
    table = torch.rand(9, 2)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert Standardize.fit(table).to(dtype)(table).dtype == dtype


# --- weights from a file


@pytest.fixture(scope="module")
def backbone() -> torch.nn.Module:
    import timm

    torch.manual_seed(5)
    return timm.create_model(TINY, pretrained=False)


def loaded_equals(path: Path, backbone: torch.nn.Module) -> bool:
    model = load_backbone(TINY, path)
    assert model is not None
    assert not model.training
    own = backbone.state_dict()
    return all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_weights_by_name_from_either_format(backbone: torch.nn.Module, tmp_path: Path) -> None:
    save_file(backbone.state_dict(), tmp_path / "w.safetensors")
    torch.save(backbone.state_dict(), tmp_path / "w.pth")
    torch.save({"state_dict": backbone.state_dict()}, tmp_path / "wrapped.pth")
    for name in ("w.safetensors", "w.pth", "wrapped.pth"):
        assert loaded_equals(tmp_path / name, backbone)


def test_weights_by_order_where_names_differ(backbone: torch.nn.Module, tmp_path: Path) -> None:
    renamed = {f"t{number:03d}": value for number, value in enumerate(backbone.state_dict().values())}
    torch.save(renamed, tmp_path / "w.pth")
    assert loaded_equals(tmp_path / "w.pth", backbone)
    counters_left_out = {name: value for name, value in renamed.items() if value.is_floating_point()}
    save_file(counters_left_out, tmp_path / "w.safetensors")
    model = load_backbone(TINY, tmp_path / "w.safetensors")
    assert model is not None
    floats = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in floats.items())


def test_weights_that_do_not_fit_are_refused(backbone: torch.nn.Module, tmp_path: Path) -> None:
    state = backbone.state_dict()
    first = next(iter(state))
    bad = {
        "fewer": dict(list(state.items())[3:]),
        "shape": {f"other{name}": value for name, value in state.items()} | {f"other{first}": torch.zeros(1)},
        "same names": state | {first: torch.zeros(2, 2)},
        "nothing": {"a": torch.zeros(1)},
    }
    for name, tensors in bad.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        with pytest.raises(InputError, match="do not fit"):
            load_weights(torch.nn.Sequential(backbone)[0], path)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("not tensors")
    torch.save(["a", 1], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")

    class Surprise:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"w": Surprise()}, tmp_path / "code.pth")
    for name in ("empty.pth", "text.safetensors", "list.pth", "numbers.pth", "code.pth", "missing.pth"):
        with pytest.raises(InputError, match=name):
            load_backbone(TINY, tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_without_weights_there_is_no_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.networks.pretrained._is_cached", lambda name: False)
    assert load_backbone(TINY) is None


def test_a_name_that_timm_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no_such_net"):
        load_backbone("no_such_net", tmp_path / "w.pth")


def test_features_do_not_depend_on_the_batch_or_the_layout(backbone: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(backbone.state_dict(), tmp_path / "w.pth")
    model = load_backbone(TINY, tmp_path / "w.pth")
    assert model is not None
    pictures = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)
    done: list[int] = []
    features = backbone_features(model, pictures, side=32, batch_size=2, progress=done.append)
    assert features.shape == (5, model.num_features)
    assert features.dtype == np.float32
    assert done == [2, 4, 5]
    np.testing.assert_allclose(backbone_features(model, pictures, side=32), features, rtol=1e-4, atol=1e-5)
    grey = pictures[..., :1]
    tripled = backbone_features(model, np.repeat(grey, 3, axis=3), side=32)
    for layout in (grey, grey[..., 0]):
        np.testing.assert_allclose(backbone_features(model, layout, side=32), tripled, rtol=1e-4, atol=1e-5)
    halves = pictures.astype(np.float32) / 255  # floating point means 0 to 1
    np.testing.assert_allclose(backbone_features(model, halves, side=32), features, rtol=1e-4, atol=1e-5)


def test_pictures_that_a_backbone_cannot_see_are_refused(backbone: torch.nn.Module) -> None:
    pictures = np.zeros((5, 8, 8, 3))
    pictures[3, 1, 1, 1] = 1.5
    with pytest.raises(InputError, match="picture 3 is out of range"):
        backbone_features(backbone, pictures, batch_size=2)
    for odd in (np.nan, -0.5):
        with pytest.raises(InputError, match="picture 0"):
            backbone_features(backbone, np.full((1, 8, 8), odd))
    with pytest.raises(InputError, match="2 channels"):
        backbone_features(backbone, pictures[..., :2])
    assert backbone_features(backbone, pictures[:0]).shape == (0, backbone.num_features)


def test_a_backbone_comes_back_from_its_state(backbone: torch.nn.Module, tmp_path: Path) -> None:
    save_file(backbone.state_dict(), tmp_path / "w.safetensors")
    before = torch.get_rng_state()
    first = load_backbone(TINY, tmp_path / "w.safetensors")
    again = restore_backbone(TINY, first.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert not again.training
    pictures = np.random.default_rng(0).random((3, 40, 40))
    assert np.array_equal(backbone_features(first, pictures), backbone_features(again, pictures))
    with pytest.raises(InputError, match="no timm model"):
        restore_backbone("local-dir:/tmp", {})


def test_a_pretrained_start_is_copied(backbone: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(backbone.state_dict(), tmp_path / "w.pth")
    start = load_backbone(TINY, tmp_path / "w.pth")
    network = build_network(TINY, (1, 32, 32), 3, pretrained=start)
    fresh = build_network(TINY, (1, 32, 32), 3)
    assert network.state_dict().keys() == fresh.state_dict().keys()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    network(torch.randn(4, 1, 32, 32)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    for shape in ((2, 32, 32), (4, 32, 32), (5,)):
        with pytest.raises(InputError, match="1 or 3 channels"):
            build_network(TINY, shape, 3, pretrained=start)
