import base64
import dataclasses
import io
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from labelwise.errors import InputError
from labelwise.report import figures
from labelwise.report.findings import PredictionSets, ReliabilityBins

from .sample import audit_findings, learn_findings, noise_matrix, trust_findings


def decoded(picture):
    uri, width, height, magnified = figures.picture_uri(picture)
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert image.size == (width, height)
    return np.asarray(image), magnified


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3), (5, 9, 4), (1, 1), (256, 256)])
def test_pictures_keep_every_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels, _ = decoded(picture)
    np.testing.assert_array_equal(pixels, picture)


def test_small_pictures_are_magnified_and_large_ones_shrunk():
    assert decoded(np.zeros((32, 32), np.uint8))[1]
    pixels, magnified = decoded(np.zeros((1000, 500, 3), np.uint8))
    assert pixels.shape == (256, 128, 3)
    assert not magnified


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8), np.uint8), np.zeros(8, np.uint8)]
)
def test_unfit_pictures_are_refused(picture):
    with pytest.raises(InputError, match="uint8 pixels of shape"):
        figures.picture_uri(picture)


def test_matrix_rows_are_true_classes():
    matrix = np.array([[0.9, 0.3], [0.1, 0.7]])  # [given, true]
    audit = dataclasses.replace(audit_findings(), noise_matrix=matrix, class_names=("cat", "dog"))
    cells = figures.matrix_cells(audit)
    assert [[cell.text for cell in row] for row in cells] == [["90", "10"], ["30", "70"]]
    assert [[cell.shade for cell in row] for row in cells] == [["kept8", "flip3"], ["flip8", "kept6"]]
    (first, second) = figures.top_confusions(audit, 5)
    assert (first.true, first.given, first.share) == ("dog", "cat", "30.0%")
    assert (second.true, second.given) == ("cat", "dog")


def test_matrix_survives_empty_classes_and_no_noise():
    matrix = np.array([[1.0, math.nan], [0.0, math.nan]])
    audit = dataclasses.replace(audit_findings(), noise_matrix=matrix, class_names=("a", "b"))
    assert [[cell.text for cell in row] for row in figures.matrix_cells(audit)] == [["100", "0"], ["–", "–"]]
    assert figures.top_confusions(audit, 5) == []


def test_many_classes_become_a_list_of_confusions():
    matrix = noise_matrix(1000)
    names = tuple(map(str, range(1000)))
    audit = dataclasses.replace(audit_findings(), noise_matrix=matrix, class_names=names)
    assert figures.matrix_cells(audit) is None
    found = figures.top_confusions(audit, 20)
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    worst = sorted(((off[g, t], t, g) for g in range(1000) for t in range(1000)), reverse=True)[:20]
    assert [(c.true, c.given) for c in found] == [(str(t), str(g)) for _, t, g in worst]


def test_no_class_no_matrix():
    audit = dataclasses.replace(audit_findings(), noise_matrix=np.zeros((0, 0)), class_names=())
    assert figures.matrix_cells(audit) is None
    assert figures.top_confusions(audit, 5) == []


def test_matrix_that_does_not_fit_its_names_is_refused():
    audit = dataclasses.replace(audit_findings(), noise_matrix=noise_matrix(3))
    with pytest.raises(InputError, match="10 class names"):
        figures.matrix_cells(audit)


def test_every_drawing_is_xml_with_a_name_and_no_inline_style():
    drawn = [
        figures.noise_interval(audit_findings()),
        figures.accuracy_bars(learn_findings()),
        figures.coverage_lanes(trust_findings()),
        figures.set_sizes(trust_findings()),
        *figures.curves(learn_findings()),
        *figures.reliability(trust_findings()),
    ]
    for figure in drawn:
        root = ElementTree.fromstring(figure.svg)
        assert root.find("title").text
        assert root.find("desc").text
        assert "style=" not in figure.svg
        assert "nan" not in figure.svg
        assert all(len(row) == len(figure.header) for row in figure.rows)


def test_interval_is_drawn_to_scale():
    audit = dataclasses.replace(
        audit_findings(), noise_rate=0.2, noise_rate_low=0.1, noise_rate_high=0.3, noise_rate_true=None
    )
    root = ElementTree.fromstring(figures.noise_interval(audit).svg)
    band, dot = root.find("rect"), root.find("circle")
    middle = float(band.get("x")) + float(band.get("width")) / 2
    assert float(dot.get("cx")) == pytest.approx(middle, abs=0.2)


@pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
def test_interval_survives_its_ends(rate):
    audit = dataclasses.replace(audit_findings(), noise_rate=rate, noise_rate_low=rate, noise_rate_high=rate)
    assert "nan" not in figures.noise_interval(audit).svg


def test_curves_leave_gaps_where_nothing_was_measured():
    learn = learn_findings(truth=False)
    line = (0.1, math.nan, 0.3, 0.4)
    run = dataclasses.replace(learn.runs[0], accuracy_given=line, train_loss=())
    (panel,) = figures.curves(dataclasses.replace(learn, runs=(run,)))
    path = ElementTree.fromstring(panel.svg).find("path").get("d")
    assert path.count("M") == 2
    assert path.count("L") == 1
    assert panel.rows[1] == ("2", "–")


def test_curves_survive_one_epoch_and_none():
    learn = learn_findings(truth=False)
    one = dataclasses.replace(learn.runs[0], accuracy_given=(0.5,), train_loss=(0.0,))
    assert len(figures.curves(dataclasses.replace(learn, runs=(one,)))) == 2
    assert figures.curves(dataclasses.replace(learn, runs=())) == []


def test_long_curves_have_a_short_table():
    learn = learn_findings(truth=False)
    run = dataclasses.replace(learn.runs[0], accuracy_given=tuple(np.linspace(0, 1, 1000)))
    table = figures.curves(dataclasses.replace(learn, runs=(run,)))[0].rows
    assert len(table) <= 25
    assert (table[0][0], table[-1][0]) == ("1", "1000")


def test_empty_reliability_bins_are_not_drawn():
    bins = ReliabilityBins((math.nan, 0.9), (math.nan, 0.8), (0, 4))
    trust = dataclasses.replace(trust_findings(), bins_before=bins, bins_after=None)
    (panel,) = figures.reliability(trust)
    assert panel.rows == (("90.0%", "80.0%", "4"),)


@pytest.mark.parametrize("largest", [0, 1, 9, 10, 57, 1000])
def test_set_sizes_add_up(largest):
    counts = np.zeros(largest + 1, int)
    counts[[0, largest]] += 2
    sets = PredictionSets("plain", tuple(counts.tolist()))
    table = figures.set_sizes(dataclasses.replace(trust_findings(), sets=(sets,))).rows
    assert sum(float(row[1].rstrip("%")) for row in table) == pytest.approx(100)
    assert len(table) <= 12
    assert sets.mean_size == pytest.approx(largest / 2)


def test_no_sets_no_figure():
    assert figures.set_sizes(dataclasses.replace(trust_findings(), sets=())) is None
    unmeasured = PredictionSets("plain", (0, 3))
    assert figures.coverage_lanes(dataclasses.replace(trust_findings(), sets=(unmeasured,))) is None
    assert PredictionSets("none", ()).mean_size == 0.0


def palettes():
    """The style sheet's colours in light and in dark."""
    css = (Path(figures.__file__).parents[1] / "palette.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[:2]
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in (light, dark)]


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def contrast(first, second):
    def luminance(channels):
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dim = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("colours", palettes(), ids=["light", "dark"])
def test_contrast_meets_wcag(colours):
    for ground in ("paper", "raised"):
        for ink in ("ink", "quiet", "right", "wrong"):
            assert contrast(rgb(colours[ink]), rgb(colours[ground])) >= 4.5, (ink, ground)
    for shape in ("plain", "right", "wrong"):
        assert contrast(rgb(colours[shape]), rgb(colours["paper"])) >= 3, shape
    darkest = {"wrong": 0.49, "right": 0.43}
    for colour, part in darkest.items():
        shade = part * rgb(colours[colour]) + (1 - part) * rgb(colours["paper"])
        assert contrast(rgb(colours["ink"]), shade) >= 4.5, colour
