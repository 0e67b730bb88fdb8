"""The report's figures: small inline SVG drawn in the style sheet's colours, each with its numbers as a table.

Colours are classes, never attributes, so one drawing serves light, dark and print. Orange stands for what trusts
or breaks the labels, blue for what withstands or mends them; shape or dash says the same without colour.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from labelwise.data.pictures import thumbnail, to_png
from labelwise.errors import InputError
from labelwise.report.drawing import (
    WIDTH,
    Figure,
    Scale,
    anchor,
    apart,
    axis_x,
    axis_y,
    full_step,
    round_ticks,
    rounded,
    svg_of,
    tag,
    text_at,
)
from labelwise.report.findings import (
    AuditFindings,
    CheckFindings,
    LearnFindings,
    PredictionSets,
    ReliabilityBins,
    Scatter,
    TrainingRun,
    TrustFindings,
)
from labelwise.report.words import about, capitalised, count, measured, percent, short, wilson

MATRIX_CLASSES = 20
_LEVELS = 8
_TABLE_EPOCHS = 25
_TABLE_POINTS = 50
_PICTURE_SIDE = 256
_PIXELATED_BELOW = 100
_SIZE_BUCKETS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (11, 20), (21, 50), (51, 100))
_SIZES_SHOWN_SINGLY = 9


@dataclass(frozen=True)
class Cell:
    """One cell of the noise matrix: its text, its exact share and the style class of its shade."""

    text: str
    share: str
    shade: str


@dataclass(frozen=True)
class Confusion:
    """One way in which labels go wrong, and what share of the true class goes that way."""

    true: str
    given: str
    share: str


@dataclass(frozen=True)
class ClassBar:
    """One class with the count of its given labels, and its bar."""

    name: str
    count: int
    share: str
    bar: Markup


def picture_uri(picture: NDArray[np.uint8]) -> tuple[str, int, int, bool]:
    """PNG data URI of a uint8 picture, its width and height as embedded, and whether to magnify it unsmoothed.

    Takes (height, width) or (height, width, 1, 3 or 4); shrinks what is larger than 256 pixels. Raises InputError
    for any other shape or type.
    """
    pixels = np.asarray(picture)
    right_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))
    if pixels.dtype != np.uint8 or not right_shape or pixels.size == 0:
        raise InputError(
            f"a suspect's picture has shape {np.shape(picture)} and type {pixels.dtype}: "
            "pass uint8 pixels of shape (height, width) or (height, width, 1, 3 or 4)"
        )
    image = thumbnail(pixels, _PICTURE_SIDE)
    uri = "data:image/png;base64," + base64.b64encode(to_png(image)).decode("ascii")
    return uri, image.width, image.height, max(image.size) < _PIXELATED_BELOW


def noise_interval(audit: AuditFindings) -> Figure:
    """Estimated share of wrong labels with its interval, and the true share where it is known."""
    rate = audit.noise_rate or 0.0
    values = [rate, audit.noise_rate_high, audit.noise_rate_true or 0.0]
    top = min(1.0, max(0.2, math.ceil(max(filter(math.isfinite, values), default=0.0) * 12.5) / 10))
    x, y = Scale(0, top, 12, WIDTH - 16), 46
    drawing = [axis_x(x, 70, round_ticks(0, top), 58)]
    if math.isfinite(audit.noise_rate_low) and math.isfinite(audit.noise_rate_high):
        width = max(2.0, x(audit.noise_rate_high) - x(audit.noise_rate_low))
        drawing.append(tag("rect", class_="band wrong", x=x(audit.noise_rate_low), y=y - 10, width=width, height=20))
    drawing.append(tag("circle", class_="dot wrong", cx=x(rate), cy=y, r=5.5))
    drawing.append(text_at(x(rate), 22, f"estimate {percent(rate)}", "strong", anchor(x, rate)))
    rows = [("estimate", percent(rate))]
    rows += [("lower end", percent(audit.noise_rate_low)), ("upper end", percent(audit.noise_rate_high))]
    height = 92
    if audit.noise_rate_true is not None:
        true = audit.noise_rate_true
        height = 114
        drawing.append(tag("line", class_="truth", x1=x(true), x2=x(true), y1=y + 10, y2=96))
        drawing.append(text_at(x(true), 110, f"true {percent(true)}", "strong", anchor(x, true)))
        rows.append(("true", percent(true)))
    description = "; ".join(f"{name} {value}" for name, value in rows)
    svg = svg_of("noise", "Share of wrong labels", description, height, drawing)
    return Figure(svg, "Share of wrong labels, with its interval.", ("", "share of labels"), tuple(rows))


def accuracy_bars(learn: LearnFindings) -> Figure:
    """Final accuracies of the trusting model, the same stopped early, and the robust recipe."""
    shares = learn.metric == "accuracy"
    bars = [(f"{learn.baseline_name}, last epoch", learn.accuracy_baseline, "wrong")]
    if learn.accuracy_early_stopped is not None:
        bars.append((f"{learn.baseline_name}, stopped early", learn.accuracy_early_stopped, "wrong soft"))
    bars.append((f"{learn.robust_name}, last epoch", learn.accuracy_robust, "right"))
    x = Scale(0, 1, 0, WIDTH - 52)
    drawing, rows = [], []
    for position, (name, accuracy, kind) in enumerate(bars):
        y = 16 + 46 * position
        interval = wilson(accuracy, learn.measured_rows) if shares else None
        drawing.append(text_at(0, y, short(name, 46), "", "start"))
        drawing.append(tag("rect", class_="lane", x=0, y=y + 7, width=x(1), height=14, rx=2))
        drawing.append(tag("rect", class_=f"bar {kind}", x=0, y=y + 7, width=x(accuracy), height=14, rx=2))
        drawing.append(text_at(WIDTH, y + 19, measured(accuracy, learn.metric), "strong", "end"))
        if interval:
            ends = {"x1": x(interval[0]), "x2": x(interval[1]), "y1": y + 14, "y2": y + 14}
            drawing += [tag("line", class_="whisker under", **ends), tag("line", class_="whisker", **ends)]
        between = [" to ".join(map(percent, interval)) if interval else "–"] if shares else []
        rows.append((name, measured(accuracy, learn.metric), *between))
    description = "; ".join(f"{row[0]}: {row[1]}" for row in rows)
    title = f"{capitalised(learn.metric)} on {learn.measured_on}"
    svg = svg_of("accuracy", title, description, 46 * len(bars), drawing)
    whiskers = " Thin lines: 95% interval from the number of examples." if shares and learn.measured_rows else ""
    header = ("model", learn.metric, "95% interval") if shares else ("model", learn.metric)
    return Figure(svg, f"{title}.{whiskers}", header, tuple(rows))


def coverage_lanes(trust: TrustFindings) -> Figure | None:
    """How often each kind of set holds the label, beside the promise; None where nothing was measured."""
    measured = [each for each in trust.sets if _coverages(each)]
    if not measured:
        return None
    lowest = min([trust.coverage_promised, *(value for each in measured for value, _ in _coverages(each))])
    bottom = max(0.0, math.floor((lowest - 0.02) * 10) / 10)
    x, foot = Scale(bottom, 1, 12, WIDTH - 16), 30 + 46 * len(measured)
    promised = x(trust.coverage_promised)
    drawing = [
        axis_x(x, foot + 14, round_ticks(bottom, 1), foot),
        tag("line", class_="truth", x1=promised, x2=promised, y1=18, y2=foot),
        text_at(
            promised, 12, f"promised {about(trust.coverage_promised)}", "strong", anchor(x, trust.coverage_promised)
        ),
    ]
    rows = []
    for position, each in enumerate(measured):
        y = 36 + 46 * position
        drawing.append(text_at(12, y, short(each.name, 40), "halo", "start"))
        drawing.append(tag("line", class_="rule", x1=12, x2=x(1), y1=y + 18, y2=y + 18))
        for value, on_truth in _coverages(each):
            kind = "dot right" if on_truth else "ring"
            drawing.append(tag("circle", class_=kind, cx=x(value), cy=y + 18, r=5.5))
        rows.append((each.name, percent(each.coverage_true), percent(each.coverage_given), f"{each.mean_size:.2f}"))
    description = f"promised {percent(trust.coverage_promised)}; " + "; ".join(
        f"{name}: true label {true}, given label {given}" for name, true, given, _ in rows
    )
    svg = svg_of("coverage", "How often the sets hold the label", description, foot + 34, drawing)
    caption = "How often the sets hold the true label (filled) and the given label (ring)."
    if all(each.coverage_true is None for each in measured):
        caption = "How often the sets hold the given label, wrong ones included; the promise is about the true label."
    header = ("kind of set", "holds the true label", "holds the given label", "mean size")
    return Figure(svg, caption, header, tuple(rows))


def matrix_cells(audit: AuditFindings) -> list[list[Cell]] | None:
    """The noise matrix turned so that a row is a true class; None without classes or with over 20."""
    matrix = _checked_matrix(audit)
    if matrix is None or not 0 < len(matrix) <= MATRIX_CLASSES:
        return None
    flips = matrix[~np.eye(len(matrix), dtype=bool)]
    largest = max((float(value) for value in flips if math.isfinite(value)), default=0.0)
    return [
        [
            _cell(float(matrix[given, true]), given == true, largest if given != true else 1.0)
            for given in range(len(matrix))
        ]
        for true in range(len(matrix))
    ]


def top_confusions(audit: AuditFindings, limit: int) -> list[Confusion]:
    """The most frequent ways in which a true class gets another label, most frequent first."""
    matrix = _checked_matrix(audit)
    if matrix is None:
        return []
    flips = np.where(np.isfinite(matrix), matrix, 0.0)
    np.fill_diagonal(flips, 0.0)
    order = np.argsort(-flips, axis=None, kind="stable")[:limit]
    found = []
    for given, true in zip(*np.unravel_index(order, flips.shape), strict=True):
        if flips[given, true] > 0:
            share = percent(float(flips[given, true]))
            found.append(Confusion(audit.class_names[true], audit.class_names[given], share))
    return found


def scatter(points: Scatter) -> Figure:
    """Given against predicted numbers, those under suspicion in orange; the table has the marked ones only."""
    low = min(*points.x, *points.y)
    high = max(*points.x, *points.y)
    x, y = Scale(low, high, 56, WIDTH - 16), Scale(low, high, 254, 14)
    ticks = round_ticks(low, high)
    drawing = [axis_y(y, ticks, x.start, x.stop, percent_axis=False)]
    drawing += [text_at(x(tick), 272, f"{tick:g}", "", "middle") for tick in ticks]
    drawing.append(tag("line", class_="diagonal", x1=x(low), y1=y(low), x2=x(high), y2=y(high)))
    drawing.append(text_at((x.start + x.stop) / 2, 290, points.x_name, "", "middle"))
    order = sorted(range(len(points.x)), key=lambda place: points.marked[place])
    for place in order:
        style = "dot wrong see" if points.marked[place] else "dot right see"
        drawing.append(tag("circle", class_=style, cx=x(points.x[place]), cy=y(points.y[place]), r=2.5))
    rows = tuple(
        (f"{points.x[place]:.4g}", f"{points.y[place]:.4g}")
        for place in order[::-1][:_TABLE_POINTS]
        if points.marked[place]
    )
    svg = svg_of("scatter", points.title, f"{sum(points.marked)} of {len(points.x)} points are marked", 296, drawing)
    caption = f"{points.title}: up {points.y_name}, across {points.x_name}; orange is under suspicion."
    return Figure(svg, caption, (points.x_name, points.y_name), rows)


def class_bars(check: CheckFindings) -> list[ClassBar]:
    """Given labels per class, in the order of the classes."""
    total = sum(number for _, number in check.classes)
    largest = max((number for _, number in check.classes), default=0)
    return [
        ClassBar(name, number, percent(number / total) if total else "–", _bar(number / largest if largest else 0.0))
        for name, number in check.classes
    ]


def curves(learn: LearnFindings) -> list[Figure]:
    """One panel for each measure that was followed: accuracies, what was memorised, the training loss."""
    stopped = learn.early_stopped_epoch
    panels = [
        _curve_panel(
            "true",
            f"{capitalised(learn.metric)} on rows not trained on, true labels",
            learn.runs,
            [run.accuracy_true for run in learn.runs],
            stopped,
            shares=learn.metric == "accuracy",
        ),
        _curve_panel("memorised", "Wrong labels repeated", learn.runs, [run.memorised for run in learn.runs], None),
        _curve_panel(
            "given",
            f"Validation {learn.metric}, given (noisy) labels",
            learn.runs,
            [run.accuracy_given for run in learn.runs],
            stopped,
            shares=learn.metric == "accuracy",
        ),
        _curve_panel("loss", "Training loss", learn.runs, [run.train_loss for run in learn.runs], None, shares=False),
    ]
    return [panel for panel in panels if panel is not None]


def swatch(role: str) -> Markup:
    """A piece of a run's line, for the legend."""
    line = tag("line", class_=f"curve {_KIND[role]}", x1=1, x2=27, y1=5, y2=5)
    return tag("svg", line, class_="swatch", viewBox="0 0 28 10", width=28, height=10, aria_hidden="true")


def reliability(trust: TrustFindings) -> list[Figure]:
    """Accuracy against confidence, before and after temperature scaling."""
    panels = [
        _reliability_panel("before", "Before calibration", trust.bins_before, trust.ece_before),
        _reliability_panel(
            "after", f"After, temperature {trust.temperature or 1:.2f}", trust.bins_after, trust.ece_after
        ),
    ]
    return [panel for panel in panels if panel is not None]


def set_sizes(trust: TrustFindings) -> Figure | None:
    """How many classes the prediction sets hold; None without sets."""
    kinds = [each for each in trust.sets if sum(each.size_counts)]
    if not kinds:
        return None
    largest = max(size for each in kinds for size, number in enumerate(each.size_counts) if number)
    buckets = _buckets(largest)
    shares = [[_share_between(each, *bucket) for bucket in buckets] for each in kinds]
    names = [f"{low}" if low == high else f"{low}–{high}" for low, high in buckets]
    top = full_step(max(map(max, shares)))
    x, y = Scale(0, len(buckets), 40, WIDTH - 4), Scale(0, top, 172, 14)
    drawing = [axis_y(y, round_ticks(0, top), x(0), WIDTH - 4, percent_axis=True)]
    step = x(1) - x(0)
    thick = min(22.0, 0.8 * step / len(kinds))
    for position, name in enumerate(names):
        centre = x(position + 0.5)
        drawing.append(text_at(centre, 190, name, "", "middle"))
        for order, each in enumerate(kinds):
            left = centre + thick * (order - len(kinds) / 2)
            value = shares[order][position]
            style = f"bar {_set_style(each, trust)}"
            drawing.append(tag("rect", class_=style, x=left + 1, y=y(value), width=thick - 2, height=172 - y(value)))
    drawing.append(text_at(WIDTH - 4, 208, f"{kinds[0].members} in the set", "", "end"))
    rows = tuple(
        (name, *(percent(shares[order][position]) for order in range(len(kinds))))
        for position, name in enumerate(names)
    )
    description = "; ".join(f"{each.name}: {each.mean_size:.2f} classes on average" for each in kinds)
    svg = svg_of("sizes", "Sizes of the prediction sets", description, 214, drawing)
    return Figure(
        svg, f"How many {kinds[0].members} a set holds.", (kinds[0].members, *(each.name for each in kinds)), rows
    )


def set_swatch(sets: PredictionSets, trust: TrustFindings) -> Markup:
    """A piece of a kind's bars, for the legend."""
    box = tag("rect", class_=f"bar {_set_style(sets, trust)}", x=1, y=1, width=10, height=10)
    return tag("svg", box, class_="swatch", viewBox="0 0 12 12", width=12, height=12, aria_hidden="true")


_KIND = {"baseline": "wrong", "robust": "right", "other": "plain"}


def _bar(share: float) -> Markup:
    bar = tag("rect", class_="bar plain", x=0, y=0, width=100 * share, height=10)
    return tag("svg", bar, class_="count", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def _coverages(sets: PredictionSets) -> list[tuple[float, bool]]:
    """The measured coverages, each with whether it counts true labels."""
    both = ((sets.coverage_given, False), (sets.coverage_true, True))
    return [(value, on_truth) for value, on_truth in both if value is not None and math.isfinite(value)]


def _set_style(sets: PredictionSets, trust: TrustFindings) -> str:
    return "right" if sets is trust.sets_used else "wrong soft"


def _checked_matrix(audit: AuditFindings) -> NDArray[np.float64] | None:
    if audit.noise_matrix is None:
        return None
    matrix = np.asarray(audit.noise_matrix, dtype=np.float64)  # (classes, classes), [given, true]
    classes = len(audit.class_names)
    if matrix.shape != (classes, classes):
        raise InputError(
            f"the noise matrix has shape {matrix.shape} but there are {classes} class names: pass one row and one "
            "column for each class"
        )
    return matrix


def _cell(value: float, kept: bool, largest: float) -> Cell:
    if not math.isfinite(value):
        return Cell("–", "not known: no example of this class", "")
    level = min(_LEVELS, math.ceil(_LEVELS * value / largest - 1e-9)) if largest > 0 else 0
    text = f"{100 * value:.0f}" if value >= 0.005 else "0" if value == 0 else "<1"
    shade = f"{'kept' if kept else 'flip'}{level}" if level > 0 else ""
    return Cell(text, percent(value), shade)


def _curve_panel(
    key: str,
    title: str,
    runs: Sequence[TrainingRun],
    values: Sequence[Sequence[float] | None],
    stopped: int | None,
    *,
    shares: bool = True,
) -> Figure | None:
    lines = [
        (run, list(line)) for run, line in zip(runs, values, strict=True) if line and any(map(math.isfinite, line))
    ]
    if not lines:
        return None
    epochs = max(len(line) for _, line in lines)
    low, high = _value_range([value for _, line in lines for value in line if math.isfinite(value)], shares)
    x, y = Scale(1, max(2, epochs), 44, WIDTH - 56), Scale(low, high, 176, 14)
    drawing = [axis_y(y, round_ticks(low, high), x.start, x.stop, percent_axis=shares)]
    epoch_ticks = sorted({1, epochs, *(round(tick) for tick in round_ticks(1, epochs, 3) if tick < 0.88 * epochs)})
    drawing += [text_at(x(tick), 194, f"{tick}", "", "middle") for tick in epoch_ticks]
    drawing.append(text_at((x.start + x.stop) / 2, 210, "epoch", "", "middle"))
    ends = []
    for run, line in lines:
        drawing.append(_polyline(line, x, y, _KIND[run.role]))
        last = max(index for index, value in enumerate(line) if math.isfinite(value))
        ends.append((y(line[last]), percent(line[last]) if shares else f"{line[last]:.3g}", _KIND[run.role]))
        drawing.append(tag("circle", class_=f"dot {_KIND[run.role]}", cx=x(last + 1), cy=y(line[last]), r=3.5))
        if run.role == "baseline" and stopped and stopped <= len(line) and math.isfinite(line[stopped - 1]):
            drawing.append(tag("circle", class_="ring wrong", cx=x(stopped), cy=y(line[stopped - 1]), r=6))
    drawing += [
        text_at(x.stop + 8, place + 4, text, f"strong {kind}-ink", "start") for place, text, kind in apart(ends, 15)
    ]
    rows = tuple((str(epoch + 1), *(_value_at(line, epoch, shares) for _, line in lines)) for epoch in _some(epochs))
    description = "; ".join(f"{run.name} ends at {_value_at(line, len(line) - 1, shares)}" for run, line in lines)
    svg = svg_of(f"curve-{key}", title, description, 216, drawing)
    return Figure(svg, title, ("epoch", *(run.name for run, _ in lines)), rows)


def _polyline(line: Sequence[float], x: Scale, y: Scale, kind: str) -> Markup:
    """A line through the epochs that were measured, broken where one was not."""
    path, pen_down = [], False
    for epoch, value in enumerate(line, start=1):
        if not math.isfinite(value):
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{rounded(x(epoch))} {rounded(y(value))}")
        pen_down = True
    return tag("path", class_=f"curve {kind}", d="".join(path))


def _value_range(values: Sequence[float], shares: bool) -> tuple[float, float]:
    if not shares:
        return min(0.0, *values), max(values) * 1.05 if max(values) > 0 else 1.0
    low, high = math.floor(min(values) * 10) / 10, math.ceil(max(values) * 10) / 10
    return max(0.0, min(low, high - 0.2)), min(1.0, max(high, low + 0.2))


def _value_at(line: Sequence[float], epoch: int, shares: bool) -> str:
    if epoch >= len(line) or not math.isfinite(line[epoch]):
        return "–"
    return percent(line[epoch]) if shares else f"{line[epoch]:.4g}"


def _some(epochs: int) -> list[int]:
    """Evenly spread epochs, first and last among them."""
    if epochs <= _TABLE_EPOCHS:
        return list(range(epochs))
    return sorted({round(index * (epochs - 1) / (_TABLE_EPOCHS - 1)) for index in range(_TABLE_EPOCHS)})


def _reliability_panel(key: str, title: str, bins: ReliabilityBins | None, error: float) -> Figure | None:
    if bins is None:
        return None
    x, y = Scale(0, 1, 44, WIDTH - 16), Scale(0, 1, 254, 30)
    filled = [each for each in zip(bins.confidence, bins.accuracy, bins.count, strict=True) if each[2] > 0]
    most = max((number for _, _, number in filled), default=1)
    ticks = round_ticks(0, 1)
    drawing = [axis_y(y, ticks, x.start, x.stop, percent_axis=True)]
    drawing += [text_at(x(tick), 272, f"{100 * tick:g}%", "", "middle") for tick in ticks]
    drawing.append(tag("line", class_="diagonal", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    drawing.append(text_at((x.start + x.stop) / 2, 290, "stated confidence", "", "middle"))
    drawing.append(text_at(4, 12, "share that is right", "", "start"))
    for confidence, accuracy, number in filled:
        place = x(confidence)
        drawing.append(tag("line", class_="gap", x1=place, x2=place, y1=y(confidence), y2=y(accuracy)))
        radius = 2.5 + 7 * math.sqrt(number / most)
        drawing.append(tag("circle", class_="dot right see", cx=place, cy=y(accuracy), r=radius))
    known = math.isfinite(error)
    caption = f"{title}: off by {100 * error:.1f} points on average" if known else title
    rows = tuple((percent(each[0]), percent(each[1]), count(each[2])) for each in filled)
    svg = svg_of(f"reliability-{key}", title, caption, 296, drawing)
    return Figure(svg, caption, ("stated confidence", "right", "predictions"), rows)


def _buckets(largest: int) -> list[tuple[int, int]]:
    if largest <= _SIZES_SHOWN_SINGLY:
        return [(size, size) for size in range(largest + 1)]
    shown = [bucket for bucket in _SIZE_BUCKETS if bucket[0] <= largest]
    last = shown[-1]
    if largest > last[1]:
        return [*shown, (last[1] + 1, largest)]
    return [*shown[:-1], (last[0], largest)]


def _share_between(sets: PredictionSets, low: int, high: int) -> float:
    return sum(sets.size_counts[low : high + 1]) / sum(sets.size_counts)
