"""Learn road scenes, doubt masks that training never saw, and draw docs/pictures/camvid.png.

Run it with: python docs/camvid.py --data-dir FOLDER --weights FILE (of timm's tf_efficientnet_lite0; without it the
encoder starts from nothing). Numbers go to docs/results/camvid.json. A few minutes on one core.
"""

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from labelwise import Segmenter
from labelwise.audit.segmentation import audit_segmentation
from labelwise.data.named import CAMVID_CLASSES as CLASSES
from labelwise.data.named import load_arrays
from labelwise.files import atomic_write
from labelwise.labels.masks import IGNORE
from labelwise.numerics.segmentation_metrics import CalibrationSums, ConfusionIoU

DOCS = Path(__file__).parent
SIZE = (96, 128)
COLOURS = ("#7aa6d8", "#a65d57", "#c9c9c9", "#6b4f7d", "#3f3fc4", "#6f8f2f", "#c08f7f", "#40407f", "#57107f", "#8f6f10",
           "#10a0c0", "#ffffff")  # fmt: skip
RECIPES = {"cross-entropy": "segmentation-cross-entropy", "nacl": "nacl"}


def main() -> None:
    """Train with the baseline and with NACL, score both on the test frames, and draw some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()

    data = load_arrays("camvid", options.data_dir)
    images, masks = small(data["x_train"], data["y_train"])
    test_images, test_masks = small(data["x_test"], data["y_test"])

    start = time.perf_counter()
    models = {name: train(recipe, images, masks, options) for name, recipe in RECIPES.items()}
    seconds = time.perf_counter() - start
    probs = {name: model.predict_proba(test_images) for name, model in models.items()}
    scores = {name: score(each, test_masks) for name, each in probs.items()}
    audit = audit_segmentation(test_masks, probs["nacl"])
    result = {
        "size": SIZE,
        "training_frames": len(images),
        "test_frames": len(test_images),
        "epochs": options.epochs,
        "pretrained_encoder": options.weights is not None,
        "seconds": seconds,
        "scores": scores,
        "share_of_pixels_doubted": audit.issue_share,
    }
    print(json.dumps(result, indent=1))
    with atomic_write(DOCS / "results" / "camvid.json") as stream:
        stream.write((json.dumps(result, indent=1) + "\n").encode())
    chosen = np.linspace(0, len(test_images) - 1, 5).astype(int)[1:4]
    predicted = probs["nacl"].argmax(axis=1)
    draw([(test_images[row], test_masks[row], predicted[row], audit.issue_mask(row)) for row in chosen])


def small(images: NDArray[np.uint8], masks: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Frames (n, H, W, 3) averaged and masks (n, H, W) sampled to the size that is trained on."""
    pictures = torch.from_numpy(images).movedim(-1, 1).float()
    shrunk = functional.interpolate(pictures, SIZE, mode="bilinear", antialias=True).round().byte()
    labels = functional.interpolate(torch.from_numpy(masks)[:, None].float(), SIZE, mode="nearest-exact")[:, 0].long()
    return shrunk.movedim(1, -1).numpy(), labels.numpy()


def train(recipe: str, images: NDArray[np.uint8], masks: NDArray[np.int64], options: argparse.Namespace) -> Segmenter:
    """One model; both take the same steps on the same batches."""
    model = Segmenter(
        recipe,
        network="unet-tf_efficientnet_lite0",
        weights=options.weights,
        epochs=options.epochs,
        batch_size=8,
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="poly",
    )
    return model.fit(images, masks, num_classes=len(CLASSES), on_epoch=lambda row: print(row, flush=True))


def score(probs: NDArray[np.float32], masks: NDArray[np.int64]) -> dict[str, Any]:
    """Mean IoU over the classes and that of each, in all frames together, void left out; and calibration."""
    labels = torch.from_numpy(masks)
    confidence, predicted = torch.from_numpy(probs).max(dim=1)
    counts = ConfusionIoU(len(CLASSES)).update(predicted, labels)
    known = labels != IGNORE
    calibration = CalibrationSums().update(confidence[known], (predicted == labels)[known])
    by_class = dict(zip(CLASSES, counts.iou.tolist(), strict=True))
    accuracy = float(counts.TP.sum() / counts.T.sum())
    return {"mean_iou": counts.mean_iou(), "pixel_accuracy": accuracy, "ece": calibration.error(), "iou": by_class}


def draw(frames: list[tuple[NDArray[Any], ...]]) -> None:
    """A row a frame: picture, given mask, prediction, and the doubted pixels in the picture."""
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    titles = ("picture", "given mask", "prediction", "doubted pixels")
    figure, axes = pyplot.subplots(len(frames), 4, figsize=(9.6, 1.85 * len(frames) + 0.7), squeeze=False)
    colours = {"cmap": ListedColormap(COLOURS), "vmin": 0, "vmax": len(CLASSES), "interpolation": "nearest"}
    for row, (image, given, predicted, doubted) in zip(axes, frames, strict=True):
        grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6 + 90, 3, axis=2).astype(np.uint8)
        grey[doubted] = (220, 40, 40)
        row[0].imshow(image)
        row[1].imshow(np.where(given == IGNORE, len(CLASSES), given), **colours)
        row[2].imshow(predicted, **colours)
        row[3].imshow(grey)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.set_axis_off()
    patches = [Patch(color=colour, label=name) for name, colour in zip(CLASSES, COLOURS, strict=False)]
    figure.legend(handles=patches, loc="lower center", ncol=6, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1), pad=0.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    (DOCS / "pictures").mkdir(exist_ok=True)
    # 256 colours are enough, in a third of the bytes.
    Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE).save(
        DOCS / "pictures" / "camvid.png", optimize=True
    )


if __name__ == "__main__":
    main()
