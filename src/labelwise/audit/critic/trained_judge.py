"""A judge that has learnt to compare: a small network scores a label's picture, and the higher score is better.

It learns from labels whose quality is known, which good masks give for nothing: damage them (`labels.mask_defects`),
and the Dice with the good one is the quality. Scores are fitted so that the better of two labels of one case gets the
higher one (Bradley & Terry, "Rank analysis of incomplete block designs", 1952). Teach it all kinds of damage that are
to be expected: of one that it has not seen it may judge worse than by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.critic import views
from labelwise.audit.critic.judges import Images, Turn, shown_pair
from labelwise.audit.critic.projections import Floats, dice
from labelwise.audit.critic.prompts import COMPARE, PRESENT, QUALITY, REGION, UPPER, read_header
from labelwise.errors import InputError
from labelwise.labels.mask_defects import DEFECTS, damage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from labelwise.audit.critic.critic import Case, LabelCritic

SIDE = 32
FILTERS = 16
# Two labels of a case whose qualities differ by less teach nothing.
LEAST_GAP = 0.05


class TrainedJudge:
    """Compares by the score of a small convolution network; it knows the subjects it was fitted to, and no other.

    steps, batch_size: of training, a batch being pairs; good: the quality from which on a label is good, which sets the
    score that single labels must pass; margin: two scores that differ by no more are undecided; seed: of weights,
    damages and pairs. Which overlay comes first never matters: each is scored alone. Training takes some 0.03 s a step
    on one core, a question some milliseconds. Raises InputError for numbers that make no sense.
    """

    def __init__(
        self, *, steps: int = 150, batch_size: int = 32, good: float = 0.8, margin: float = 0.0, seed: int = 0
    ) -> None:
        if steps < 1 or batch_size < 1 or not margin >= 0:
            raise InputError(
                f"steps is {steps}, batch_size {batch_size}, margin {margin}: give 1 or more, 1 or more, 0 or more."
            )
        self.steps, self.batch_size, self.good, self.margin, self.seed = steps, batch_size, good, margin, seed
        self.subjects: list[str] = []
        self.threshold = 0.0
        self._network: nn.Module | None = None

    def fit_damaged(
        self, critic: LabelCritic, goods: Iterable[Case], defects: Sequence[str] = DEFECTS, each: int = 2
    ) -> TrainedJudge:
        """Learn from good masks: each is seen whole, damaged ``each`` times by each of the defects, and left empty.

        The first label of a case is its good mask; further ones, such as masks of other organs, are learnt as wrong.
        Pictures are drawn as ``critic`` draws them. One volume is in memory at a time if ``goods`` is a generator.
        Raises InputError as `fit`, for unknown defects and for masks that do not fit.
        """
        from labelwise.training.seeding import derive_seed

        rng = np.random.default_rng(derive_seed(self.seed, "damages"))
        images, quality, cases, subjects = [], [], [], []
        for number, case in enumerate(goods):
            ground = views.ground(case.volume, critic.drawing, case.spacing)
            solid = critic.subject(case.subject).prompt.solid
            good = np.asarray(case.labels[0]) > 0
            damaged = [damage(good, rng, defect, rng.uniform()) for defect in defects for _ in range(each)]
            for label in (good, np.zeros_like(good), *damaged, *case.labels[1:]):
                images.append(_shrunk(views.draw(ground, label, critic.drawing, solid=solid).image))
                quality.append(1.0 if label is good else dice(label, good))
                cases.append(number)
                subjects.append(case.subject)
        return self.fit(images, quality, cases, subjects)

    def fit(
        self, overlays: Sequence[Floats], quality: ArrayLike, cases: ArrayLike, subjects: Sequence[str]
    ) -> TrainedJudge:
        """Learn from n pictures (3, H, W): ``quality`` (n,) of 0 to 1, ``cases`` (n,) int, ``subjects`` n names.

        Pairs are two labels of one case and subject whose qualities differ by 0.05 or more. Raises InputError for
        lengths that differ, qualities outside [0, 1], and where there is no such pair.
        """
        import torch

        from labelwise.training.seeding import derive_seed, seeded

        values, numbers = np.asarray(quality, dtype=np.float64), np.asarray(cases)
        if not len(overlays) == len(values) == len(numbers) == len(subjects):
            raise InputError("overlays, quality, cases and subjects differ in length: give one of each a label.")
        if not ((values >= 0) & (values <= 1)).all():
            raise InputError("quality holds a value outside 0 to 1, or none: give the Dice with the truth, say.")
        pairs = _pairs(values, numbers, subjects)  # (p, 2), the better one first
        if not len(pairs):
            raise InputError(f"no two labels of one case differ by {LEAST_GAP} in quality: damage good masks first.")
        self.subjects = sorted(set(subjects))
        pixels = self._pixels(overlays, subjects)  # (n, 3 + subjects, SIDE, SIDE)
        rng = np.random.default_rng(derive_seed(self.seed, "pairs"))
        with seeded(derive_seed(self.seed, "weights")):
            self._network = _scorer(pixels.shape[1])
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        self._network.train()
        for _ in range(self.steps):
            drawn = pairs[rng.integers(len(pairs), size=self.batch_size)]  # (batch, 2)
            better, worse = self._network(pixels[drawn.T.ravel()]).view(2, -1)  # (batch,) each
            loss = torch.nn.functional.softplus(worse - better).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.threshold = _best_threshold(self._scores(pixels), values >= self.good)
        return self

    def score(self, overlays: Sequence[Floats], subjects: Sequence[str]) -> NDArray[np.float64]:
        """Scores (n,) of n pictures; only those of one subject compare. Raises InputError before `fit`."""
        return self._scores(self._pixels(overlays, subjects))

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """Answer a comparison or a quality question; every region is the right one, anything else gets "Neither".

        Raises InputError for a subject it was not fitted to.
        """
        task, subject = read_header(text)
        if task == REGION:
            return f"{PRESENT}: yes\n{UPPER}: yes"
        if task == COMPARE:
            # One at a time: the place in a batch may change a score's last digits.
            first, second = (float(self.score([image], [subject])[0]) for image in shown_pair(images, history))
            if abs(first - second) <= self.margin:
                return "Neither"
            return "Overlay 1" if first > second else "Overlay 2"
        if task == QUALITY:
            is_good = self.score(images[-1:], [subject])[0] >= self.threshold
            return "good annotation" if is_good else "bad annotation"
        return "Neither"

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and what else it answers by (JSON). Raises InputError before `fit`."""
        from labelwise.training.checkpoint import save_checkpoint

        facts = {"subjects": self.subjects, "threshold": self.threshold, "good": self.good, "margin": self.margin}
        save_checkpoint(Path(folder), self._fitted().state_dict(), {"judge": facts})

    @classmethod
    def load(cls, folder: str | Path) -> TrainedJudge:
        """Read a saved judge. Raises InputError for a folder that holds none, or a damaged one."""
        from labelwise.training.checkpoint import load_checkpoint

        weights, manifest = load_checkpoint(Path(folder))
        try:
            facts = manifest["judge"]
            judge = cls(good=facts["good"], margin=facts["margin"])
            judge.subjects, judge.threshold = list(facts["subjects"]), float(facts["threshold"])
            judge._network = _scorer(3 + len(judge.subjects))
            judge._network.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder} holds a model that is no judge: write one with TrainedJudge.save.") from error
        return judge

    def _pixels(self, overlays: Sequence[Floats], subjects: Sequence[str]) -> Tensor:
        """Pictures at 32 x 32 with one plane a subject, 1 on the plane of their own, (n, 3 + subjects, 32, 32)."""
        import torch

        unknown = set(subjects) - set(self.subjects)
        if unknown:
            known = ", ".join(self.subjects) or "none"
            raise InputError(f"the judge was not fitted to {min(unknown)!r} (to {known}): fit it with labels of it.")
        small = np.stack([_shrunk(each) for each in overlays])
        planes = np.zeros((len(small), len(self.subjects), SIDE, SIDE), dtype=np.float32)
        planes[np.arange(len(small)), [self.subjects.index(name) for name in subjects]] = 1
        return torch.from_numpy(np.concatenate([small, planes], axis=1))

    def _scores(self, pixels: Tensor) -> NDArray[np.float64]:
        import torch

        network = self._fitted().eval()
        with torch.inference_mode():
            return torch.cat([network(block)[:, 0] for block in pixels.split(256)]).double().numpy()

    def _fitted(self) -> nn.Module:
        if self._network is None:
            raise InputError("the judge has learnt nothing yet: call fit or load first.")
        return self._network


def _shrunk(image: Floats) -> NDArray[np.float32]:
    """A picture (3, H, W) at 32 x 32: means of what falls together, so that thin vessels stay visible."""
    import torch

    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32))
    return torch.nn.functional.adaptive_avg_pool2d(pixels, SIDE).numpy()


def _scorer(channels: int) -> Any:
    from torch import nn

    from labelwise.networks.small import cnn_features

    features, width = cnn_features(channels, SIDE, SIDE, FILTERS)
    return nn.Sequential(features, nn.Linear(width, 1))


def _pairs(quality: NDArray[np.float64], cases: NDArray[Any], subjects: Sequence[str]) -> NDArray[np.int64]:
    """Rows of all pairs of one case and subject that differ enough, (p, 2), the better one first."""
    order = sorted(range(len(cases)), key=lambda row: (cases[row], subjects[row]))
    found: list[tuple[int, int]] = []
    start = 0
    for stop in range(1, len(order) + 1):
        keys = [(cases[order[row]], subjects[order[row]]) for row in (start, stop) if row < len(order)]
        if len(keys) == 2 and keys[0] == keys[1]:
            continue
        group = order[start:stop]
        found += [(i, j) for i in group for j in group if quality[i] - quality[j] >= LEAST_GAP]
        start = stop
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _best_threshold(scores: NDArray[np.float64], is_good: NDArray[np.bool_]) -> float:
    """The score at which good and bad labels part with the highest balanced accuracy."""
    if is_good.all() or not is_good.any():
        return float(scores.min() if is_good.all() else np.nextafter(scores.max(), np.inf))
    order = np.argsort(scores)
    bad_below = np.cumsum(~is_good[order]) / (~is_good).sum()
    good_below = np.cumsum(is_good[order]) / is_good.sum()
    best = int(np.argmax(bad_below - good_below))
    above = scores[order[min(best + 1, len(order) - 1)]]
    return float((scores[order[best]] + above) / 2)
