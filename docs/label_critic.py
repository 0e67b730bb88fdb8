"""Draw docs/pictures/label_critic.png: two rival labels of a rendered liver as a judge sees them, and its verdict.

Run it with: python docs/label_critic.py. A second.
"""

from pathlib import Path

import matplotlib
import numpy as np

from labelwise.audit.critic import Drawing, LabelCritic, RuleJudge, dice
from labelwise.data.organs import draw_volume
from labelwise.labels.mask_defects import DEFECTS, add_island, cut, damage, jitter

PICTURE = Path(__file__).parent / "pictures" / "label_critic.png"
SAID = {1: "the first is better", 2: "the second is better", 0.5: "undecided"}
CHECKED = {1: "good", 0: "bad", 0.5: "undecided"}


def main() -> None:
    """Draw two pairs of labels, the judge knowing size and place from the labels of thirty other volumes."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rng = np.random.default_rng(3)
    judge = RuleJudge()
    critic = LabelCritic(judge, drawing=Drawing(size=320), dice_threshold=None)
    others = [draw_volume(rng) for _ in range(30)]
    labels = [damage(v.masks["liver"], rng, str(rng.choice(DEFECTS)), rng.uniform()) for v in others]
    judge.learn("liver", [critic.draw(v.ct, label, "liver").image for v, label in zip(others, labels, strict=True)])
    volume = draw_volume(rng)
    truth = volume.masks["liver"]
    pairs = [(jitter(truth, rng, 0.4), cut(truth, rng, 0.45)), (add_island(truth, rng, 0.5), jitter(truth, rng, 0.4))]

    figure, axes = pyplot.subplots(1, 4, figsize=(9.6, 2.7))
    for pair, (left, right) in zip(pairs, axes.reshape(2, 2), strict=True):
        verdict = critic.compare(volume.ct, *pair, "liver").verdict
        for number, (axis, label) in enumerate(zip((left, right), pair, strict=True), start=1):
            axis.imshow(np.moveaxis(critic.draw(volume.ct, label, "liver").image, 0, -1))
            quality = CHECKED[critic.check(volume.ct, label, "liver").verdict]
            axis.set_title(f"label {number}, true Dice {dice(label, truth):.2f}\nalone: {quality}", fontsize=9)
            axis.set_axis_off()
        middle = (left.get_position().x0 + right.get_position().x1) / 2
        figure.text(middle, 0.03, f"verdict: {SAID[verdict]}", ha="center", fontsize=10)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.84, bottom=0.1, wspace=0.05)
    figure.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    main()
