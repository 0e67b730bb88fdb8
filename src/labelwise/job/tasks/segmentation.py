"""Masks: every pixel is a label; images are audited by models that never saw them, streamed one by one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.audit.segmentation import SegmentationAudit, audit_segmentation
from labelwise.certainty.calibration import expected_calibration_error, fit_temperature, softmax
from labelwise.data.pictures import thumbnail, to_png
from labelwise.estimators.segmenter import Segmenter
from labelwise.files import atomic_write, write_csv
from labelwise.job.findings import FILES, bins_of
from labelwise.job.outputs import CORRECTED, mask_name, mask_version
from labelwise.job.review_items import PICTURE_SIDE, Row, seen, write_review
from labelwise.job.tasks.base import Fitted, Suspect, TaskJob
from labelwise.labels.masks import IGNORE
from labelwise.numerics.segmentation_metrics import ConfusionIoU
from labelwise.report.findings import AuditFindings, Table, TrustFindings

SMALL_NETWORK = "unet-16-32-64"
IMAGES_AT_ONCE = 8
# Neighbouring pixels say much the same, so a sample of them measures as well as all.
PIXELS_A_PART = 50_000
PAIRS_SHOWN = 15
MASK_NAME = re.compile(r"\d{6,}\.png")  # what a run writes, and so may remove
GOLDEN = 0.618034  # steps of this part of the circle keep any number of hues apart
PREDICTED = "predicted-masks"
NOISY = "Calibration pixels were taken as right: where masks are wrong at borders, confidence there is too low."


class SegmentationJob(TaskJob):
    """Audit masks pixel by pixel, learn with a baseline and a robust recipe, trust by temperature scaling."""

    estimator_class = Segmenter
    baseline = "segmentation-cross-entropy"
    unit = ("pixel", "pixels")
    folds = 3
    visits = 6_000

    def prepare(self) -> None:
        """Pictures stay as they are: the network is for pixels."""
        self.encoded = self.examples.inputs

    def network(self) -> dict[str, Any]:
        """A small U-Net, and batches counted in images."""
        name = SMALL_NETWORK if self.options.network == "auto" else self.options.network
        return {
            "network": name,
            "weights": self.options.weights,
            "download": self.options.download,
            "batch_size": IMAGES_AT_ONCE,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
        }

    def fit(self, model: Any, rows: np.ndarray, validation_rows: np.ndarray | None, **watching: Any) -> None:
        """Train on the images at ``rows``."""
        held = {}
        if validation_rows is not None:
            held = {"X_val": self.encoded[validation_rows], "masks_val": self.examples.given[validation_rows]}
        model.fit(
            self.encoded[rows], self.examples.given[rows], num_classes=self.examples.num_classes, **held, **watching
        )

    def test_score(self, model: Any) -> float:
        """Mean IoU on the test images."""
        total = ConfusionIoU(self.examples.num_classes)
        for rows, probs in self._predicted(model, self.parts.test):
            total.update(torch.from_numpy(probs.argmax(axis=1)), torch.from_numpy(self.reference[rows]))
        return total.mean_iou()

    def save(self, fitted: Fitted, folder: Path) -> None:
        """Write the robust model, for use in Python: its answers are masks, no rows of a table."""
        fitted.model.save(folder)
        self.files["model/"] = "the robust model; read it with: labelwise.Segmenter.load"

    def audit(self) -> AuditFindings:
        """Doubt the pixels whose given class a model that never saw the image finds unlikely."""
        folds = [(self.train(name, self.baseline, kept), held) for name, kept, held in self.held_out()]
        rows = np.concatenate([held for _, held in folds])
        self.audited_rows = rows

        def images() -> Iterator[np.ndarray]:
            for fitted, held in folds:
                for _, probs in self._predicted(fitted.model, held):
                    yield from probs

        self.progress.start("audit of the pixels", 1)
        found = audit_segmentation((self.examples.given[row] for row in rows), images())
        self.progress.finish(f"{int(found.num_issues.sum()):,} pixels are under suspicion")
        self.found = found
        names = self.examples.classes
        self.suspects = [
            Suspect(int(rows[image]), names[given], names[suggested], score, self._why(image))
            for image, given, suggested, score, _ in found.suspects()
        ]
        self.metrics |= {
            "suspects": len(self.suspects),
            "suspect_pixels": int(found.num_issues.sum()),
            "suspect_pixels_share": found.issue_share,
            "audit_model": self.baseline,
        } | self._against_truth(found)
        return AuditFindings(
            suspect_count=int(found.num_issues.sum()),
            labels_audited=int(found.num_labelled.sum()),
            class_names=names,
            filter_name="confident learning of pixels",
            unit=self.unit,
            card_unit=("image", "images"),
            card_count=len(self.suspects),
            noise_rate_true=self.metrics.get("noise_rate_true"),
            found_share=self.metrics.get("found_share"),
            suspects=self.cards(),
            breakdown=self._breakdown(found),
        )

    def look(self, suspect: Suspect) -> dict[str, Any]:
        """The picture, the doubted pixels in orange over it."""
        image = int(np.flatnonzero(self.audited_rows == suspect.row)[0])
        picture = self.examples.inputs[suspect.row]
        return {"picture": overlay(picture, self.found.issue_mask(image))}

    def write_review(self, path: Path) -> None:
        """One item an image with doubted pixels: its mask as given and as suggested."""
        self.files[path.name] = FILES[path.name]
        colours = class_colours(self.examples.num_classes)
        rows = zip(self.suspects, self.found.ranked.tolist(), strict=True)
        folder = path.parent / CORRECTED
        shown = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist()]
        write_review(path, self.examples, (self._review_row(*each, colours, folder) for each in rows), shown)

    def _review_row(self, suspect: Suspect, image: int, colours: np.ndarray, folder: Path) -> Row:
        given = self.examples.given[suspect.row]
        file = folder / mask_name(int(self.examples.index[suspect.row]))
        return {
            **seen(self.examples, suspect.row),
            "given": suspect.given,
            "suggested": suspect.suggested,
            "score": suspect.score,
            "suspect": True,
            "why": suspect.why,
            "version": mask_version(file),
            "given_mask": mask_file(given, colours),
            "suggested_mask": mask_file(self._corrected(image), colours),
        }

    def _corrected(self, image: int) -> np.ndarray:
        """The given mask (H, W) of an audited image with the doubted pixels changed."""
        suggestion = self.found.suggestion(image)
        return np.where(suggestion == IGNORE, self.examples.given[self.audited_rows[image]], suggestion)

    def trust(self, fitted: Fitted) -> TrustFindings:
        """One temperature for all pixels, fitted on the calibration images."""
        logits, labels = self._pixels(fitted, self.parts.calibration, self.examples.given)
        self.temperature = fit_temperature(logits, labels)
        logits, labels = self._pixels(fitted, self.parts.test, self.reference)
        before, after = softmax(logits), softmax(logits, self.temperature)
        errors = [expected_calibration_error(probs, labels) for probs in (before, after)]
        self.metrics |= {
            "temperature": self.temperature,
            f"ece_before{self.suffix}": errors[0],
            f"ece_after{self.suffix}": errors[1],
        }
        return TrustFindings(
            temperature=self.temperature,
            alpha=self.options.alpha,
            coverage_promised=1 - self.options.alpha,
            measured_on=self.measured_on,
            measured_rows=len(labels),
            bins_before=bins_of(before, labels),
            bins_after=bins_of(after, labels),
            ece_before=errors[0],
            ece_after=errors[1],
            assumptions=(NOISY,),
        )

    def write_predictions(self, fitted: Fitted, path: Path) -> None:
        """Share of each class in the predicted mask of every image; the masks themselves go to ``masks/``."""
        folder = _fresh(path.parent / PREDICTED)
        part = self.parts.names(len(self.examples))

        def rows() -> Iterator[list[Any]]:
            for rows, probs in self._predicted(fitted.model, np.arange(len(self.examples))):
                for row, mask in zip(rows, probs.argmax(axis=1), strict=True):
                    _write_mask(folder / mask_name(int(self.examples.index[row])), mask)
                    shares = np.bincount(mask.ravel(), minlength=self.examples.num_classes) / mask.size
                    yield [int(self.examples.index[row]), part[row], *(round(float(share), 4) for share in shares)]

        write_csv(path, ["index", "part", *(f"share({name})" for name in self.examples.classes)], rows())
        self.files["predictions.csv"] = "share of each class in the predicted mask of every image"
        self.files[f"{PREDICTED}/"] = (
            "the predicted mask of every image, class numbers in grey PNG files named by index"
        )

    def write_labels(self, folder: Path) -> None:
        """Masks with the suspected pixels changed, for the images that have any; given masks stay as they are."""
        masks = _fresh(folder / CORRECTED)
        for image in self.found.ranked:
            row = int(self.audited_rows[image])
            _write_mask(masks / mask_name(int(self.examples.index[row])), self._corrected(int(image)))
        self.files[f"{CORRECTED}/"] = "masks of the images with suspected pixels, those changed; named by index"

    def _predicted(self, model: Segmenter, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Probabilities (b, classes, H, W) of a few images after the other, with their rows."""
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            chosen = rows[start : start + IMAGES_AT_ONCE]
            yield chosen, model.predict_proba(self.encoded[chosen])

    def _pixels(self, fitted: Fitted, rows: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (m, classes) and labels (m,) of a sample of the labelled pixels of some images."""
        rng = np.random.default_rng(self.options.seed)
        logits, labels = [], []
        for chosen, probs in self._predicted(fitted.model, rows):
            given = masks[chosen].ravel()
            known = np.flatnonzero(given != IGNORE)
            wanted = min(len(known), PIXELS_A_PART * len(chosen) // len(rows))
            kept = rng.choice(known, wanted, replace=False)
            flat = np.moveaxis(probs, 1, -1).reshape(-1, probs.shape[1])[kept]
            logits.append(np.log(np.maximum(flat, 1e-12)))
            labels.append(given[kept])
        return np.concatenate(logits), np.concatenate(labels)

    def _why(self, image: int) -> str:
        found = self.found
        return f"{found.num_issues[image]:,} of {found.num_labelled[image]:,} pixels are doubted, orange in the picture"

    def _breakdown(self, found: SegmentationAudit) -> Table:
        names = self.examples.classes
        frame = found.common_issues().head(PAIRS_SHOWN)
        rows = tuple(
            (f"{names[given]} → {names[suggested]}", f"{pixels:,}", f"{share:.1%}")
            for given, suggested, pixels, share in zip(*(frame[name].tolist() for name in frame), strict=True)
        )
        return Table(
            "What doubted pixels were given and what they look like", ("given → likelier", "pixels", "share"), rows
        )

    def _against_truth(self, found: SegmentationAudit) -> dict[str, Any]:
        if self.examples.truth is None:
            return {}
        wrong_pixels = hits = known = doubted_known = 0
        for image, row in enumerate(self.audited_rows):
            truth, given = self.examples.truth[row], self.examples.given[row]
            scored = (truth != IGNORE) & (given != IGNORE)
            wrong, doubted = scored & (truth != given), found.issue_mask(image) & scored
            wrong_pixels, known = wrong_pixels + int(wrong.sum()), known + int(scored.sum())
            hits, doubted_known = hits + int((wrong & doubted).sum()), doubted_known + int(doubted.sum())
        return {
            "noise_rate_true": wrong_pixels / max(known, 1),
            "found_share": hits / max(wrong_pixels, 1),
            "suspects_truly_wrong": hits / max(doubted_known, 1),
        }


def overlay(picture: np.ndarray, doubted: np.ndarray) -> np.ndarray:
    """The picture (H, W, C) uint8 with the doubted pixels (H, W) mixed with orange, (H, W, 3)."""
    shown = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]
    shown = shown.copy()
    shown[doubted] = (0.35 * shown[doubted] + 0.65 * np.array([255, 120, 0])).astype(np.uint8)
    return shown


def class_colours(count: int) -> np.ndarray:
    """Colours (count, 3) uint8 of classes, as far apart as the hues of so many can be."""
    import colorsys

    hues = (np.arange(count) * GOLDEN) % 1
    return np.array([[round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.95)] for hue in hues], np.uint8)


def mask_file(mask: np.ndarray, colours: np.ndarray) -> bytes:
    """A mask (H, W) as a PNG file in the classes' ``colours``; unlabelled pixels, and class 0, are see-through."""
    known = mask != IGNORE
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[known, :3] = colours[mask[known]]
    pixels[..., 3] = 255 * (known & (mask > 0))
    return to_png(thumbnail(pixels, PICTURE_SIDE, smooth=False))


def _fresh(folder: Path) -> Path:
    """The folder without the masks that an earlier run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.png"):
        if MASK_NAME.fullmatch(file.name):
            file.unlink()
    return folder


def _write_mask(path: Path, mask: np.ndarray) -> None:
    from PIL import Image

    with atomic_write(path) as stream:
        Image.fromarray(mask.astype(np.uint8)).save(stream, format="PNG")
