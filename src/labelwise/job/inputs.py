"""What the network sees: encoded tables and texts, pictures as they are, or a pretrained backbone's features."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.data.encode import encoder_for, encoder_from_state
from labelwise.data.examples import Examples
from labelwise.errors import InputError
from labelwise.networks.pretrained import (
    DEFAULT_BACKBONE,
    SMALLEST_FOR_BACKBONE,
    backbone_features,
    load_backbone,
    restore_backbone,
)

BACKBONE_SIDE = 96
# With fewer numeric columns there is no spectrum whose proportions could matter.
FEWEST_OF_ONE_UNIT = 16
FACTORS = "factors"
ONE_UNIT = (
    "The columns kept their own proportions, as of one unit: cross-entropy agrees better with the given validation "
    "labels so than with every column brought to the same deviation."
)


class Inputs:
    """Turns examples into arrays for the network, and remembers how, so that new data is turned the same way.

    ``factors`` (features,) multiply what the encoder made; None leaves it. ``notes`` are sentences for the report.
    """

    factors: np.ndarray | None = None

    def __init__(self, encoder: Any = None, backbone: nn.Module | None = None, backbone_name: str = "") -> None:
        self.encoder = encoder
        self.backbone = backbone
        self.backbone_name = backbone_name
        self.notes: list[str] = []

    @classmethod
    def fit(
        cls, examples: Examples, *, network: str = "auto", weights: str | None = None, download: bool = False
    ) -> "Inputs":
        """Learn the encoding from the examples (their labels take no part)."""
        if examples.kind != "images" and weights is not None:
            raise InputError(
                f"--weights are of a backbone for pictures, and the data are {examples.kind}: leave it out"
            )
        if examples.kind != "images":
            return cls(encoder_for(examples).fit(examples.inputs))
        inputs = cls()
        side = min(examples.inputs.shape[1:3])
        if network in ("cnn", "mlp", "linear") or network.startswith("mlp-"):
            return inputs
        if network == "auto" and weights is None and side < SMALLEST_FOR_BACKBONE:
            inputs.notes.append(
                f"The pictures are only {side} pixels wide, too small for a pretrained backbone: "
                "a small convolutional network was trained on the pixels."
            )
            return inputs
        name = DEFAULT_BACKBONE if network == "auto" else network
        inputs.backbone = load_backbone(name, weights, download=download)
        if inputs.backbone is None:
            trained = "a small convolutional network" if network == "auto" else "it"
            inputs.notes.append(
                f"No weights of the backbone {name} are at hand, so {trained} was trained from scratch on the pixels; "
                "give --weights FILE or --download for better features."
            )
            return inputs
        inputs.backbone_name = name
        inputs.notes.append(f"Features come from the pretrained backbone {name}, frozen; a small head was trained.")
        return inputs

    def in_one_unit(self) -> "Inputs | None":
        """The same encoding with the columns' own proportions kept, None where they cannot be of one unit.

        Embeddings and spectra say by their spread which columns matter; brought to one deviation each, the many small
        ones drown the few large ones.
        """
        spread = getattr(self.encoder, "spread", None)
        if spread is None or len(spread) < FEWEST_OF_ONE_UNIT:
            return None
        other = Inputs(self.encoder)
        other.notes = [*self.notes, ONE_UNIT]
        other.factors = (spread / np.sqrt(np.mean(spread**2))).astype(np.float32)
        return other

    def transform(self, raw: Any) -> np.ndarray:
        """Return (n, features) float32, or pictures (n, H, W, C) uint8 where the network sees pixels."""
        if self.backbone is not None:
            return backbone_features(self.backbone, np.asarray(raw), side=BACKBONE_SIDE)
        encoded = np.asarray(raw) if self.encoder is None else self.encoder.transform(raw)
        return encoded if self.factors is None else encoded * self.factors

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-able values that ``from_state`` makes the same encoding of."""
        if self.backbone is not None:
            return dict(self.backbone.state_dict()), {"kind": "backbone", "name": self.backbone_name}
        if self.encoder is None:
            return {}, {"kind": "pictures"}
        values, arrays = self.encoder.to_state()
        if self.factors is not None:
            arrays = arrays | {FACTORS: self.factors}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}, {"kind": "encoder", "encoder": values}

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], values: dict[str, Any]) -> "Inputs":
        """Make the encoding anew."""
        if values["kind"] == "pictures":
            return cls()
        if values["kind"] == "encoder":
            arrays = {name: value.numpy() for name, value in tensors.items()}
            factors = arrays.pop(FACTORS, None)
            inputs = cls(encoder_from_state(values["encoder"], arrays))
            inputs.factors = factors
            return inputs
        return cls(None, restore_backbone(values["name"], tensors), values["name"])
