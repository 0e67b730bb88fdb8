"""Changes of pictures that leave every pixel where it is: light, contrast, noise."""

import torch
from torch import Tensor


def jitter_pictures(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Draw pictures (B, channels, H, W) anew in other light: float32, each pixel where it was.

    Each picture's contrast is multiplied by ``exp(strength z)``, its channels are shifted by ``strength`` deviations of
    the batch times z, and pixels get noise of half as many; each z is normal. ``strength`` 0 changes nothing.
    """
    values = pictures.float()
    if strength == 0:
        return values
    count, channels = values.shape[:2]
    draws = torch.randn(count, channels + 1, 1, 1, generator=generator).to(values.device)
    noise = torch.randn(values.shape, generator=generator).to(values.device)
    deviation = values.std(dim=(0, 2, 3), keepdim=True, correction=0)  # (1, channels, 1, 1)
    mean = values.mean(dim=(2, 3), keepdim=True)  # (B, channels, 1, 1)
    contrast = torch.exp(strength * draws[:, :1])
    return mean + contrast * (values - mean) + strength * deviation * (draws[:, 1:] + 0.5 * noise)
