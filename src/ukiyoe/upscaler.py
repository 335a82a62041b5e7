"""A feed-forward x8 upscaler: small clean picture in, large crisp picture out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 8


class Block(nn.Module):
    """Two convolutions and a shortcut; no normalization, so colors pass untouched."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add a learned detail to the features."""
        result: Tensor = x + self.second(F.silu(self.first(x)))
        return result


class Upscaler(nn.Module):
    """Adds the lines and paper grain that a small picture cannot hold.

    Figures and branches are drawn at the small resolution (`far`), lines at twice that (`body`),
    and two more doublings by sub-pixel shuffling (Shi et al. 2016) give them their edges. The
    output is the bicubic enlargement plus a learned residual: flat color stays flat.
    21 GFLOP for 48x32 -> 384x256.

    A fixed pattern of noise is one input, so that grain has something to grow
    from; it depends on nothing but the size, so the picture stays reproducible.
    """

    def __init__(
        self, channels: int = 64, blocks: int = 6, far_channels: int = 96, far_blocks: int = 8
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": channels,
            "blocks": blocks,
            "far_channels": far_channels,
            "far_blocks": far_blocks,
        }
        self.far = nn.Sequential(
            nn.Conv2d(3, far_channels, 3, padding=1),
            *(Block(far_channels) for _ in range(far_blocks)),
            nn.Conv2d(far_channels, channels * 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.stem = nn.Conv2d(4, channels, 3, padding=1)
        self.body = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.widen_1 = nn.Conv2d(channels, channels * 4, 3, padding=1)
        self.middle = Block(channels)
        self.widen_2 = nn.Conv2d(channels, channels * 2, 3, padding=1)
        self.last = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)
        self.out = nn.Conv2d(channels // 2, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        images: Float[Tensor, " batch 3 height width"],
        grain: Float[Tensor, " batch 1 height2 width2"] | None = None,
    ) -> Float[Tensor, " batch 3 height8 width8"]:
        """Enlarge eight times.

        Args:
            images: Small pictures in [-1, 1].
            grain: Standard normal noise, twice their size; None takes the fixed pattern.

        Returns:
            Large pictures; may overshoot [-1, 1] a little.
        """
        images = _without_grid(images)
        batch, _, height, width = images.shape
        if grain is None:
            generator = torch.Generator().manual_seed(0)
            grain = torch.randn(1, 1, 2 * height, 2 * width, generator=generator)
            grain = grain.to(images).expand(batch, -1, -1, -1)
        x = self.stem(torch.cat([_enlarged(images, 2), grain], dim=1)) + self.far(images)
        x = x + self.body(x)
        x = F.silu(F.pixel_shuffle(self.widen_1(x), 2))
        x = self.middle(x)
        x = F.silu(F.pixel_shuffle(self.widen_2(x), 2))
        residual: Tensor = self.out(F.silu(self.last(x)))
        return _enlarged(images, SCALE) + residual


def _without_grid(images: Tensor) -> Tensor:
    """Blur just enough to take out what alternates from pixel to pixel.

    A U-Net that sees blocks of pixels as channels leaves a faint grid, and an upscaler that learned
    to draw lines makes a mesh of it.
    """
    binomial = images.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (binomial[:, None] * binomial).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _enlarged(images: Tensor, scale: int) -> Tensor:
    return F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)
