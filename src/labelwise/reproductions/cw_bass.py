"""CW-BASS against few labels alone and against pseudo-masks above a fixed threshold.

Tarubinga et al., "CW-BASS: Confidence-weighted boundary-aware learning for semi-supervised semantic segmentation",
IJCNN 2025. Scenes are rendered; a few have masks, many have none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.data.scenes import Scenes, draw_scenes
from labelwise.estimators.segmenter import Segmenter
from labelwise.labels.masks import IGNORE
from labelwise.numerics.segmentation_metrics import SegmentationMetrics
from labelwise.reproductions.result import Result, clearly_above, library_version, paired_interval, summarise
from labelwise.reproductions.scene_sources import Source, find_source, source_notes

SLUG = "cw-bass"
CLAIM = (
    "With few masks, an averaged teacher's masks for the other images, weighed by its confidence above a dynamic "
    "threshold and once more at borders, beat both the few masks alone and pseudo-masks above a fixed threshold, with "
    "better borders; it holds if mean IoU is above that of the few masks alone by its whole 95% interval, and mean IoU "
    "and boundary F1 are in the mean above those of the fixed threshold."
)
DEFAULT_SEEDS = 3

SUPERVISED, FIXED, METHOD, PUBLISHED = "few masks alone", "fixed threshold", "cw-bass", "cw-bass as published"
# Chosen for the mean IoU of two seeds' validation scenes, other ones than those reported: the learning rate of all from
# 0.1 and 0.03, for few masks alone; the threshold of the baseline from 0.7, 0.8 and 0.95, and tau_0 of the method from
# 0.6, 1.2 and 1.4.
FIXED_THRESHOLD, TAU = 0.95, 1.4
PLAIN: dict[str, Any] = {"gamma": 0.0, "boundary_weight": 0.0, "threshold_range": (FIXED_THRESHOLD, FIXED_THRESHOLD)}
ARMS: dict[str, dict[str, Any]] = {
    SUPERVISED: {"lambda_u": 0.0},
    FIXED: PLAIN,
    METHOD: {"base_threshold": TAU},
    PUBLISHED: {},
}
# One part after the other, on the first seed only.
PARTS: dict[str, dict[str, Any]] = {
    "with weights": PLAIN | {"gamma": 1.0},
    "with weights and dynamic threshold": {"base_threshold": TAU, "boundary_weight": 0.0},
    "with all and decay": {"base_threshold": TAU, "use_confidence_decay": True},
}
MEASURES = ("mean_iou", "boundary_f1")
NETWORK = "unet-8-16-32"
LEARNING_RATE = 0.1
BATCH_SIZE = 16
LOOKS: dict[str, Any] = {"size": 32, "glyph_sizes": (14, 22), "texture": 0.1, "blur": 0.7, "noise": 0.05}

Measured = dict[str, list[float]]  # measure -> one value a seed


class Plan(NamedTuple):
    """What is run: scenes with masks, without, and to test on, and epochs, each of which sees every scene."""

    num_labelled: int = 24
    num_unlabelled: int = 200
    num_test: int = 200
    epochs: int = 50


class Drawn(NamedTuple):
    """Scenes to train on, whose masks after the first few are 255, and scenes to test on."""

    images: NDArray[np.float32]
    masks: NDArray[np.int64]
    test: Scenes


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all arms on scenes of Fashion-MNIST; without a data folder, or if `quick`, of digits, and `notes` says so.

    Raises InputError when a data folder is given and Fashion-MNIST is found nowhere.
    """
    start = time.perf_counter()
    plan = Plan(4, 12, 16, 4) if quick else Plan()
    source = find_source(data_dir, quick=quick)
    drawn = [draw(source, plan, seed) for seed in range(seeds)]
    arms = {arm: over_seeds(drawn, plan, options) for arm, options in ARMS.items()}
    parts = {part: over_seeds(drawn[:1], plan, options) for part, options in PARTS.items()}

    checks = find_checks(arms)
    overlaps = {arm: summarise(measured["mean_iou"]) for arm, measured in arms.items()}
    found = paired_interval(arms[METHOD]["mean_iou"], arms[FIXED]["mean_iou"])
    details: dict[str, Any] = {
        "checks": checks,
        "means": {arm: {name: float(np.mean(each)) for name, each in found.items()} for arm, found in arms.items()},
        "minus_few_masks_alone": paired_interval(arms[METHOD]["mean_iou"], arms[SUPERVISED]["mean_iou"])._asdict(),
        "boundary_f1_minus_fixed": paired_interval(arms[METHOD]["boundary_f1"], arms[FIXED]["boundary_f1"])._asdict(),
        "parts_on_seed_0": {part: {name: each[0] for name, each in found.items()} for part, found in parts.items()},
    }
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data=f"scenes of {source.name}, {plan.num_labelled} with masks, {plan.num_unlabelled} without, "
        f"{plan.num_test} to test on",
        fault="most images have no mask",
        metric="mean IoU at the last epoch; the difference is from the fixed threshold",
        baselines={arm: overlaps[arm] for arm in (SUPERVISED, FIXED)},
        methods={arm: overlaps[arm] for arm in (METHOD, PUBLISHED)},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details=details,
        notes=[
            "the student sees scenes in other light than the teacher, in all arms; published code shows both the same",
            "parts ran on seed 0 only, and are shown, not chosen from",
            "thresholds and the rate were chosen on other scenes, where few masks alone reached a mean IoU of 0.565, "
            "the thresholds 0.7, 0.8, 0.95 reached 0.474, 0.518, 0.573 and tau_0 of 0.6, 1.2, 1.4 reached 0.325, "
            "0.441, 0.446",
            "a first run, of 300 steps for 1,250, gave the same verdict (cw-bass minus fixed threshold -0.149)",
            *reasons({arm: arms[arm]["mean_iou"][0] for arm in (FIXED, METHOD)}, details["parts_on_seed_0"]),
            *source_notes(data_dir, seeds, quick=quick),
        ],
    )


def reasons(arms: Mapping[str, float], parts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What decided, in words: mean IoU on seed 0 of fixed threshold and method, and the measures of the parts."""
    steps = {FIXED: arms[FIXED]} | {name: found["mean_iou"] for name, found in parts.items()} | {METHOD: arms[METHOD]}
    return [
        f"mean IoU on seed 0: {', '.join(f'{name} {value:.3f}' for name, value in steps.items())}; a dynamic threshold "
        f"is at most 0.8, below the {FIXED_THRESHOLD} that served best, and lower fixed ones were worse on validation "
        "scenes too"
    ]


def find_checks(arms: Mapping[str, Measured]) -> dict[str, bool]:
    """The conditions of the claim by name."""
    means = {arm: {name: float(np.mean(each)) for name, each in measured.items()} for arm, measured in arms.items()}
    gain = paired_interval(arms[METHOD]["mean_iou"], arms[SUPERVISED]["mean_iou"])
    return {
        "iou_clearly_above_few_masks_alone": clearly_above(gain),
        "iou_above_fixed_threshold": means[METHOD]["mean_iou"] > means[FIXED]["mean_iou"],
        "boundary_f1_above_fixed_threshold": means[METHOD]["boundary_f1"] > means[FIXED]["boundary_f1"],
    }


def draw(source: Source, plan: Plan, seed: int, key: int = 10) -> Drawn:
    """Scenes of one seed; those to test on are of other glyphs."""
    rng = np.random.default_rng([seed, key])
    count = plan.num_labelled + plan.num_unlabelled
    train = draw_scenes(count, rng, glyphs=source.train, kinds=source.kinds, **LOOKS)
    masks = train.masks.copy()
    masks[plan.num_labelled :] = IGNORE
    test = draw_scenes(plan.num_test, rng, glyphs=source.test, kinds=source.kinds, **LOOKS)
    return Drawn(train.images, masks, test)


def over_seeds(drawn: list[Drawn], plan: Plan, options: Mapping[str, Any]) -> Measured:
    """Train and measure one arm: weights at the start, batches and views of a seed are the same for all arms.

    The teacher's average is short, as the run is; it predicts in every arm.
    """
    found: list[tuple[float, float]] = []
    for seed, scenes in enumerate(drawn):
        model = Segmenter(
            "cw-bass",
            network=NETWORK,
            recipe_options={"ema_decay": 0.99, "warmup_epochs": plan.epochs / 5, **options},
            epochs=plan.epochs,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            weight_decay=1e-4,
            schedule="poly",
            accelerator="cpu",
            random_state=seed,
        )
        model.fit(scenes.images, scenes.masks, num_classes=4)
        metrics, first = SegmentationMetrics(4), 0
        for probs in model.predict_blocks(scenes.test.images):
            masks = torch.from_numpy(scenes.test.masks[first : first + len(probs)])
            metrics.update(torch.from_numpy(probs), masks)
            first += len(probs)
        scores = metrics.finalize()
        found.append((scores.mean_iou, scores.mean_boundary_f1))
    return {name: list(values) for name, values in zip(MEASURES, zip(*found, strict=True), strict=True)}
