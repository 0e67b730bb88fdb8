import numpy as np
import pytest

from labelwise.audit.critic import dice, overlay, project_mask, project_volume, window_ct
from labelwise.audit.critic.projections import resize
from labelwise.errors import InputError


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_projection_is_the_loop_over_rays(axis: int) -> None:
    ct = np.random.default_rng(axis).uniform(-1200, 2500, (3, 4, 5))
    sums = {}
    for place in np.ndindex(ct.shape):
        ray = place[:axis] + place[axis + 1 :]
        sums[ray] = sums.get(ray, 0) + (min(max(ct[place], -500), 1500) + 500) / 2000
    image = project_volume(ct, axis=axis)["bone"]
    assert image.shape == tuple(length for number, length in enumerate(ct.shape) if number != axis)
    for ray, total in sums.items():
        assert image[ray] == pytest.approx(total / max(sums.values()))
    for each in project_volume(ct, axis=axis).values():
        assert each.min() >= 0
        assert each.max() == 1


def test_millimetres_follow_the_spacing_of_the_axes_that_are_left() -> None:
    ct = np.random.default_rng(0).normal(0, 500, (4, 5, 6))
    assert project_volume(ct, (2.5, 9.0, 0.6))["bone"].shape == (10, 3)
    assert project_volume(ct, (2.5, 1.5, 0.6), axis=0)["bone"].shape == (7, 3)
    assert project_volume(ct, (0.01, 1, 1))["bone"].shape == (1, 6)
    with pytest.raises(InputError, match="spacing"):
        project_volume(ct, (1.0, 0.0, 1.0))


def test_bilinear_keeps_a_ramp_and_nearest_makes_no_new_value() -> None:
    ramp = np.arange(8.0)[None].repeat(4, axis=0)
    wide = resize(ramp, (4, 16), "bilinear")
    np.testing.assert_allclose(wide[0, 1:-1], (np.arange(1, 15) + 0.5) / 2 - 0.5)
    assert set(resize(ramp, (7, 13), "nearest-exact").ravel()) <= set(range(8))


def test_integers_and_a_volume_of_air() -> None:
    ct = np.full((3, 3, 3), -1000, dtype=np.int16)
    assert all((image == 0).all() for image in project_volume(ct, contrast=True).values())
    ct[1, 1, 1] = 3000
    assert window_ct(ct)["skeleton"].max() == 1
    assert project_volume(ct)["skeleton"][1, 1] == 1


def test_contrast_blackens_and_brightens() -> None:
    ct = np.full((1, 1, 3), -500.0)
    ct[0, 0] = [-500, -460, 1500]
    np.testing.assert_allclose(project_volume(ct, contrast=True)["bone"], [[0, 0, 1]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_with_their_place(bad: float) -> None:
    ct = np.zeros((2, 3, 4))
    ct[1, 2, 3] = bad
    with pytest.raises(InputError, match=r"voxel \(1, 2, 3\)"):
        project_volume(ct)
    with pytest.raises(InputError, match="window 'x'"):
        window_ct(np.zeros((1, 1, 1)), {"x": (5, 5)})
    with pytest.raises(InputError, match="axis"):
        project_volume(np.zeros((1, 1, 1)), axis=3)


@pytest.mark.parametrize("floor", [0.0, 0.3, 0.5, 1.0])
def test_masks_are_nothing_or_above_the_floor(floor: float) -> None:
    mask = np.random.default_rng(1).random((5, 6, 7)) < 0.15
    values = project_mask(mask, floor=floor)
    meets = mask.any(axis=1)
    assert (values[~meets] == 0).all()
    assert (values[meets] > floor - 1e-12).all()
    assert values.max() == pytest.approx(1, abs=1e-7)
    assert (project_mask(np.zeros((2, 2, 2))) == 0).all()


@pytest.mark.parametrize(("window", "solid"), [("bone", False), ("skeleton", False), ("bone", True)])
def test_overlays_are_grey_but_on_the_mask(window: str, solid: bool) -> None:
    rng = np.random.default_rng(2)
    image, mask = rng.random((5, 6)), rng.random((5, 6)) < 0.4
    red, green, blue = overlay(image, mask, window, solid)
    for channel in (red, green, blue):
        np.testing.assert_array_equal(channel[~mask], image[~mask])
    assert (green[mask] == 0).all()
    assert (blue[mask] == 0).all()
    expected = np.ones_like(image) if solid else np.minimum(image + (0.5 if window == "skeleton" else 0), 1)
    np.testing.assert_allclose(red[mask], expected[mask])


def test_dice() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.random((2, 6, 6)) < 0.5
        assert dice(a, b) == dice(b, a)
        common, total = (
            len(set(zip(*np.nonzero(a), strict=True)) & set(zip(*np.nonzero(b), strict=True))),
            a.sum() + b.sum(),
        )
        assert dice(a, b) == pytest.approx(2 * common / total, rel=1e-6)
    assert dice(a, a) == pytest.approx(1, rel=1e-6)
    assert dice(a, ~a) == 0
    assert dice(a & False, a & False) == 0
    with pytest.raises(InputError, match="shapes"):
        dice(a, a[:3])
