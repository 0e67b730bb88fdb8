"""What `labelwise stability` shows: sentences, tables and a page on whether a ranking holds on corrected labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelwise.audit.ranking import MIN_CORRECTABLE, Ranking
from labelwise.report.drawing import (
    WIDTH,
    Figure,
    Scale,
    anchor,
    apart,
    axis_x,
    axis_y,
    round_ticks,
    rounded,
    svg_of,
    tag,
    text_at,
)
from labelwise.report.findings import Table
from labelwise.report.page import render_template, write_page
from labelwise.report.words import about, counted, percent, short

# So many colours of lines the style sheet has; further models have the same ones, dashed.
LINES = 8
_TABLE_STEP = 10
_SURE = 0.95
_NAMED = 3


def write_stability(ranking: Ranking, path: Path) -> None:
    """Write the page as one HTML file, whole or not at all. Raises OutputError."""
    from importlib.metadata import version

    page = render_template(
        "stability.html.j2",
        ("../palette.css", "report.css", "stability.css"),
        title="Does the ranking hold?",
        version=version("labelwise"),
        sentences=sentences(ranking),
        figure=accuracy_curves(ranking),
        names=[(line_style(place), model.name) for place, model in enumerate(ranking.models)],
        models=models_table(ranking),
        pairs=pairs_table(ranking),
        least=MIN_CORRECTABLE,
    )
    write_page(page, path)


def sentences(ranking: Ranking) -> list[str]:
    """What was found, in plain words; the first is the verdict. What too few examples cannot tell is left out."""
    outside = [f"{model.outside:,} of {model.name}" for model in ranking.models if model.outside]
    notes = (
        [f"Predictions of classes that no example has, and so never right: {', '.join(outside)}."] if outside else []
    )
    if ranking.holds is None:
        return [_verdict(ranking), _sizes(ranking), *notes]
    return [_verdict(ranking), _certainty(ranking), _sizes(ranking), *notes, *_outlook(ranking)]


def _certainty(ranking: Ranking) -> str:
    sure = sum((pair.holds or 0.0) >= _SURE for pair in ranking.pairs)
    return (
        f"The whole order came out as it was in {percent(ranking.probability)} of the bootstrap draws; "
        f"{sure} of {counted(len(ranking.pairs), 'pair', 'pairs')} of models kept their order in at least "
        f"{about(_SURE)} of them."
    )


def _sizes(ranking: Ranking) -> str:
    total = ranking.benign + ranking.correctable + ranking.unknown
    return (
        f"Of {counted(total, 'example', 'examples')} {ranking.benign:,} keep their label, {ranking.correctable:,} get "
        f"another one and {ranking.unknown:,} have none that was agreed on, which corrected accuracies leave out: a "
        f"noise prevalence of {percent(ranking.noise_prevalence)}."
    )


def _outlook(ranking: Ranking) -> list[str]:
    """Which models change places next, and whether learning wrong labels costs right answers."""
    found = []
    ahead = [pair for pair in ranking.pairs if (pair.prevalence or 0.0) > ranking.noise_prevalence]
    if ahead:
        pair = min(ahead, key=lambda each: each.prevalence or 0.0)
        first, second = (pair.leader, pair.other) if pair.corrected >= 0 else (pair.other, pair.leader)
        found.append(
            f"With more wrong labels the next to change places are {first} and {second}, at a noise prevalence of "
            f"{percent(pair.prevalence)}."
        )
    if ranking.correlation_correctable is not None:
        found.append(
            f"On the wrong labels, agreeing with them and being right have a rank correlation of "
            f"{ranking.correlation_correctable:+.2f} over {len(ranking.models)} models; below 0, learning the labels' "
            "errors costs right answers."
        )
    return found


def accuracy_curves(ranking: Ranking) -> Figure:
    """Expected corrected accuracy of each model at every noise prevalence, with its band."""
    low, high = float(ranking.low.min()), float(ranking.high.max())
    foot = max(230.0, 30.0 + 15.0 * len(ranking.models))
    x, y = Scale(0, 1, 40, WIDTH - 104), Scale(low, high, foot, 26)
    share = ranking.noise_prevalence
    drawing = [
        axis_y(y, round_ticks(low, high), x.start, x.stop, percent_axis=True),
        axis_x(x, foot + 14, round_ticks(0, 1), foot),
        text_at((x.start + x.stop) / 2, foot + 36, "share of wrong labels", "", "middle"),
        tag("line", class_="truth", x1=x(share), x2=x(share), y1=18, y2=foot),
        text_at(x(share), 12, f"as it is {percent(share)}", "strong", anchor(x, share)),
    ]
    for place in range(len(ranking.models)):
        upper = [(x(n), y(value)) for n, value in zip(ranking.grid, ranking.high[place], strict=True)]
        lower = [(x(n), y(value)) for n, value in zip(ranking.grid, ranking.low[place], strict=True)]
        drawing.append(tag("path", class_=f"{line_style(place)} band", d=_path([*upper, *lower[::-1]])))
    ends = []
    for place, model in enumerate(ranking.models):
        first, last = ranking.curves[place, 0], ranking.curves[place, -1]
        drawing.append(tag("path", class_=f"{line_style(place)} line", d=_path([(x(0), y(first)), (x(1), y(last))])))
        ends.append((y(last), short(model.name, 13), line_style(place)))
    drawing += [text_at(x.stop + 6, at + 4, name, f"{style} name", "start") for at, name, style in apart(ends, 14)]
    title = "Accuracy on corrected labels by the share of wrong labels"
    rows = tuple(
        (percent(n), *(percent(ranking.curves[model, place]) for model in range(len(ranking.models))))
        for place, n in enumerate(ranking.grid)
        if place % _TABLE_STEP == 0
    )
    svg = svg_of("stability", title, _verdict(ranking), foot + 42, drawing)
    header = ("share of wrong labels", *(model.name for model in ranking.models))
    return Figure(svg, f"{title}, with 95% intervals.", header, rows)


def line_style(place: int) -> str:
    """Style classes of a model's line, by its place in the ranking."""
    return f"model{place % LINES}" + (" dashed" if place // LINES % 2 else "")


def models_table(ranking: Ranking) -> Table:
    """Accuracies and ranks, a row a model."""
    rows = tuple(
        (
            model.name,
            f"{percent(model.accuracies.original)} ({model.original_rank})",
            f"{percent(model.accuracies.corrected)} ({model.corrected_rank})",
            f"{percent(model.low)[:-1]}–{percent(model.high)}",
            percent(model.accuracies.benign),
            percent(model.accuracies.correctable_given),
            percent(model.accuracies.correctable_corrected),
        )
        for model in ranking.models
    )
    header = ("model", "original", "corrected", "95% interval", "benign", "wrong, as given", "wrong, corrected")
    return Table("Accuracy (and rank) of each model: all examples, right labels (benign), wrong labels", header, rows)


def pairs_table(ranking: Ranking) -> Table:
    """Leads, how sure they are and where they end, a row a pair of models."""
    rows = tuple(
        (
            f"{pair.leader} before {pair.other}",
            points(pair.original),
            points(pair.corrected),
            f"{points(pair.low)} to {points(pair.high)}",
            "cannot tell" if pair.holds is None else percent(pair.holds),
            "never" if pair.prevalence is None else percent(pair.prevalence),
        )
        for pair in ranking.pairs
    )
    header = ("pair", "original lead", "corrected lead", "95% interval", "order holds", "crossover")
    return Table("Lead of each model over each behind it, in points of accuracy", header, rows)


def points(lead: float) -> str:
    """A difference of accuracies in points, with its sign."""
    return f"{100 * lead:+.2f}"


def _verdict(ranking: Ranking) -> str:
    if ranking.holds is None:
        verb = "has" if ranking.correctable == 1 else "have"
        return (
            f"Cannot tell whether the ranking holds: {counted(ranking.correctable, 'example', 'examples')} {verb} a "
            f"wrong given label and a corrected one that was agreed on, and on fewer than {MIN_CORRECTABLE} no two "
            "models can be told apart."
        )
    if ranking.holds:
        return "The ranking holds: on corrected labels no model overtakes another."
    swapped = [pair for pair in ranking.pairs if pair.corrected < 0]
    named = ", ".join(f"{pair.other} overtakes {pair.leader}" for pair in swapped[:_NAMED])
    more = f", and {len(swapped) - _NAMED} more pairs change places" if len(swapped) > _NAMED else ""
    return f"The ranking does not hold: on corrected labels {named}{more}."


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{rounded(x)} {rounded(y)}" for x, y in places)
