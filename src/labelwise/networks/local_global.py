"""Local-global convolution (LgConv): a 3x3 convolution that also sees the whole picture, from Yuan et al., "Positive
Label Is All You Need for Multi-Label Classification", ICME 2024 (https://arxiv.org/abs/2306.16016).

Beside the convolution stands a global branch that starts at almost nothing, so that a trained network stays as it was
and learns to look around.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.errors import InputError

START_SCALE = 1e-4  # deviation of the branch's norm weights at the start


class GlobalBranch2d(nn.Module):
    """What each position learns from the whole picture: (B, in, H, W) to (B, out, ceil(H / stride), ceil(W / stride)).

    Each of ``num_heads`` heads pools its share of the channels with weights that sum to 1 over positions, and hands
    the pooled vector back to every position through a gate from 0 to 1. Cost: about that of three 1x1 convolutions.
    Raises InputError where ``in_channels`` is not a multiple of ``num_heads``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, num_heads: int = 8, reduction_ratio: int = 4
    ) -> None:
        super().__init__()
        if num_heads < 1 or in_channels % num_heads:
            raise InputError(f"{in_channels} channels do not divide by num_heads {num_heads}: choose a divisor")
        if not 1 <= reduction_ratio <= in_channels:
            raise InputError(f"reduction_ratio is {reduction_ratio}: give a whole number from 1 to {in_channels}")
        self.num_heads = num_heads
        reduced = in_channels // reduction_ratio
        self.reduction = nn.Conv2d(in_channels, reduced, 1)
        self.agg_attn = nn.Conv2d(2 * reduced, num_heads, 1)
        self.broad_attn = nn.Conv2d(2 * reduced, num_heads, 1)
        self.v = nn.Conv2d(in_channels, in_channels, 1)
        self.proj = nn.Conv2d(in_channels, out_channels, 1, stride=stride)
        self.norm = nn.BatchNorm2d(out_channels)
        nn.init.normal_(self.norm.weight, std=START_SCALE)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooling weights, which sum to 1 over positions, and gates, (B, heads, H * W), of x (B, C, H, W)."""
        local = functional.relu(self.reduction(x))  # (B, m, H, W)
        around = local.mean(dim=(2, 3), keepdim=True).expand_as(local)
        both = torch.cat([local, around], dim=1)  # (B, 2m, H, W)
        return self.agg_attn(both).flatten(2).softmax(dim=2), self.broad_attn(both).flatten(2).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch's part of the output for x (B, in, H, W)."""
        weights, gates = self.attention(x)  # (B, K, HW)
        values = self.v(x).flatten(2).unflatten(1, (self.num_heads, -1))  # (B, K, C/K, HW)
        pooled = torch.einsum("bkcp,bkp->bkc", values, weights)
        spread = torch.einsum("bkc,bkp->bkcp", pooled, gates).reshape(x.shape)
        return self.norm(self.proj(x + spread))


class LocalGlobalConv2d(nn.Module):
    """A square convolution plus a global branch: ``conv(x) + branch(x)``; ``conv`` is taken as it is.

    Raises InputError where the branch could not give the convolution's output size (see ``fits``) or channels do not
    divide by ``num_heads``.
    """

    def __init__(self, conv: nn.Conv2d, num_heads: int = 8, reduction_ratio: int = 4) -> None:
        super().__init__()
        if not fits(conv):
            raise InputError(f"{conv} has no global branch: give a 3x3 convolution whose padding equals its dilation")
        self.conv = conv
        self.branch = GlobalBranch2d(
            conv.in_channels, conv.out_channels, conv.stride[0], num_heads, reduction_ratio
        ).to(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, ceil(H / stride), ceil(W / stride)) for x (B, in, H, W)."""
        return self.conv(x) + self.branch(x)


def fits(conv: nn.Conv2d) -> bool:
    """Whether a convolution is 3x3 with one stride and as much padding as dilation: it only divides the size."""
    return conv.kernel_size == (3, 3) and conv.stride[0] == conv.stride[1] and conv.padding == conv.dilation


def convert_to_lgconv(
    module: nn.Module, num_heads: int = 8, reduction_ratio: int = 4, ignore: Collection[nn.Module] = ()
) -> list[LocalGlobalConv2d]:
    """Replace the convolutions inside ``module`` by local-global ones, in place, and return these.

    Left alone: what does not fit (see ``fits``), channels that do not divide by ``num_heads`` or are fewer than
    ``reduction_ratio``, modules in ``ignore`` and all in them. New weights are drawn from torch's global generator, as
    those of any layer; trained ones stay.
    """
    converted = []
    for name, child in list(module.named_children()):
        if any(child is other for other in ignore) or isinstance(child, LocalGlobalConv2d):
            continue
        if not isinstance(child, nn.Conv2d):
            converted += convert_to_lgconv(child, num_heads, reduction_ratio, ignore)
        elif fits(child) and child.in_channels % num_heads == 0 and child.in_channels >= reduction_ratio:
            wide = LocalGlobalConv2d(child, num_heads, reduction_ratio)
            setattr(module, name, wide)
            converted.append(wide)
    return converted
