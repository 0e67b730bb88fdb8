"""Draw docs/pictures/active-order.png from docs/results/active-order.json.

Run it with: python docs/active_order.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
PANELS = {
    "aggregate_label": "three people's majority",
    "random_label1": "one person a picture",
    "worst_label": "the worst of three people",
}
LINES = {
    "best": ("best possible", "#7b8794", (0, (1, 2))),
    "active": ("learning from decisions", "#0b63b0", "-"),
    "static": ("by doubt alone", "#b84c00", (0, (6, 3))),
    "random": ("at random", "#7b8794", "-"),
}


def main() -> None:
    """One panel a kind of labels: errors found after each look, by the order of looking."""
    found = json.loads((DOCS / "results" / "active-order.json").read_text(encoding="utf-8"))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), layout="constrained")
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        curves = found[name]["curves"]
        for line, (label, colour, dashes) in LINES.items():
            axis.plot(curves["looks"], curves[line], color=colour, linestyle=dashes, linewidth=1.8, label=label)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel("labels looked at")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0)
        axis.set_ylim(0)
    axes[0].set_ylabel("wrong labels found")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, ncols=len(LINES), loc="outside lower center")
    figure.savefig(DOCS / "pictures" / "active-order.png", dpi=110)


if __name__ == "__main__":
    main()
