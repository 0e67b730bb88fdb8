"""What the figures are drawn with: inline SVG in the colours of the style sheet, scales and axes.

Colours are classes, never attributes, so one drawing serves light, dark and print.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from labelwise.report.words import clean

WIDTH = 360
_DESCRIPTION = 300


@dataclass(frozen=True)
class Figure:
    """A drawing, its caption, and its numbers: a header and rows of cells."""

    svg: Markup
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Scale:
    """A straight map from values to places in the drawing; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        part = min(1.0, max(0.0, part)) if math.isfinite(part) else 0.0
        return self.start + part * (self.stop - self.start)


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """An element; an attribute's trailing underscore is dropped, the others become hyphens."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), rounded(value) if isinstance(value, int | float) else value
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(map(escape, children)))


def rounded(value: float) -> str:
    """A place in the drawing, to a tenth."""
    return f"{round(value, 1):g}"


def text_at(x: float, y: float, text: str, style: str, anchor: str) -> Markup:
    """A piece of text at a place; ``anchor`` is start, middle or end."""
    return tag("text", text, x=x, y=y, class_=style, text_anchor=anchor)


def svg_of(key: str, title: str, description: str, height: float, drawing: Iterable[Markup]) -> Markup:
    """A drawing with its title and description; ``key`` makes their ids unique on the page."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", clean(description, _DESCRIPTION)[0], id=f"{key}-desc"),
        *drawing,
        viewBox=f"0 0 {WIDTH} {rounded(height)}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def anchor(x: Scale, value: float) -> str:
    """How to set text at a value so that it stays within the drawing."""
    part = (x(value) - x.start) / (x.stop - x.start)
    return "start" if part < 0.18 else "end" if part > 0.82 else "middle"


def round_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round values from low to high, about as many as wanted."""
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def full_step(share: float) -> float:
    """The smallest round end of an axis that has room for the share."""
    return next((end for end in (0.1, 0.2, 0.4, 0.6, 0.8) if share <= end), 1.0)


def axis_x(x: Scale, y: float, ticks: Sequence[float], line: float) -> Markup:
    """A horizontal axis of percentages: its line at ``line``, its numbers at ``y``."""
    parts = [tag("line", class_="axis", x1=x.start, x2=x.stop, y1=line, y2=line)]
    for tick in ticks:
        parts.append(tag("line", class_="axis", x1=x(tick), x2=x(tick), y1=line, y2=line + 4))
        parts.append(text_at(x(tick), y + 5, f"{100 * tick:g}%", "", "middle"))
    return Markup("").join(parts)


def axis_y(y: Scale, ticks: Sequence[float], left: float, right: float, *, percent_axis: bool) -> Markup:
    """Grid lines from ``left`` to ``right``, with their numbers at the left."""
    parts = []
    for tick in ticks:
        parts.append(tag("line", class_="grid", x1=left, x2=right, y1=y(tick), y2=y(tick)))
        label = f"{round(100 * tick, 1):g}%" if percent_axis else f"{tick:g}"
        parts.append(text_at(left - 6, y(tick) + 4, label, "", "end"))
    return Markup("").join(parts)


def apart(labels: Sequence[tuple[float, str, str]], gap: float) -> list[tuple[float, str, str]]:
    """Labels moved down just enough not to overlap."""
    placed: list[tuple[float, str, str]] = []
    for place, text, kind in sorted(labels):
        lowest = placed[-1][0] + gap if placed else place
        placed.append((max(place, lowest), text, kind))
    return placed
