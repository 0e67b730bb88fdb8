"""Draw docs/pictures/quantity-quality.png from docs/results/39-quantity-quality.json.

Run it with: python docs/quantity_quality.py. Left: accuracy on digits by the share of a budget that buys dear labels,
a line a budget. Right: the frontier of every data set, what accuracy a spending buys at best.
"""

import json
from pathlib import Path

import matplotlib
import numpy as np

DOCS = Path(__file__).parent
COLOURS = ("#93a9bd", "#7fa3c4", "#5f8fb8", "#2f6a9e", "#123f6b")
SETS = ("#123f6b", "#a65d57", "#6f8f2f")


def main() -> None:
    """Read the committed result and draw both panels."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    details = json.loads((DOCS / "results" / "39-quantity-quality.json").read_text(encoding="utf-8"))["details"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    digits = details["digits"]
    shares = 100 * np.asarray(digits["fractions"])
    for (name, line), colour in zip(digits["accuracy"].items(), COLOURS, strict=False):
        error = np.asarray(digits["standard error"][name])
        left.plot(shares, line, "o-", color=colour, markersize=4)
        left.fill_between(shares, line - error, line + error, color=colour, alpha=0.2, linewidth=0)
        left.annotate(
            f"{name} ({digits['regime'][name].removesuffix('-dominant')})",
            (shares[-1], line[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
        )
    left.set(title="digits", xlabel="% of the budget for dear labels", ylabel="test accuracy", xlim=(-3, 160))
    left.set_xticks(shares)
    for (name, found), colour in zip(details.items(), SETS, strict=False):
        spent, share, accuracy = np.asarray(found["frontier (spent, share, accuracy)"]).T
        right.plot(spent, accuracy, "o-", color=colour, markersize=4, label=name)
        is_crowded = np.append(spent[1:] < 1.2 * spent[:-1], False)  # the next point's text would lie over it
        for x, part, y in zip(spent[~is_crowded], share[~is_crowded], accuracy[~is_crowded], strict=True):
            right.annotate(f"{part:.0%}", (x, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7)
    right.set(title="best for the money (% for dear labels)", xlabel="spent, in dear labels", ylabel="test accuracy")
    right.set_xscale("log")
    right.legend(fontsize=8, frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    (DOCS / "pictures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "pictures" / "quantity-quality.png", dpi=120)


if __name__ == "__main__":
    main()
