"""The upscaler's objective: make what the base model makes look like a print."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.model import Codec
from ukiyoe.training.data import Bucket
from ukiyoe.training.loop import Loss
from ukiyoe.training.perceptual import Lpips
from ukiyoe.upscaler import SCALE

PATCH = 32  # px of the small picture, a side
# Timesteps whose one-step estimates stand in for finished samples: a little blurred, a little
# wrong, as samples are (conditioning augmentation: Ho et al. 2021, arXiv 2106.15282).
ECHO_TIMESTEPS = (40, 100, 160, 220)
NOISE = 0.04  # largest standard deviation of what is added to clean small pictures


def shrink(pixels: UInt8[Tensor, " count 3 height width"]) -> UInt8[Tensor, " count 3 h w"]:
    """The small pictures an upscaler starts from: antialiased, as the base model sees prints."""
    small = []
    for chunk in pixels.split(64):
        size = (chunk.shape[-2] // SCALE, chunk.shape[-1] // SCALE)
        floats = F.interpolate(chunk.float(), size, mode="bicubic", antialias=True)
        small.append(floats.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(small)


def echoes(
    small: UInt8[Tensor, " count 3 height width"],
    unet: nn.Module,
    alpha_bars: Tensor,
    codec: Codec,
    timestep: int,
) -> UInt8[Tensor, " count 3 height width"]:
    """One-step estimates of small prints by the base model, from a little noise.

    Args:
        small: Small prints.
        unet: The base model's U-Net; predicts v.
        alpha_bars: Its forward process.
        codec: Picture to what the U-Net sees.
        timestep: How much noise.

    Returns:
        Pictures the base model might have made.
    """
    generator = torch.Generator().manual_seed(timestep)
    signal, sigma = alpha_bars[timestep].sqrt(), (1 - alpha_bars[timestep]).sqrt()
    made = []
    for chunk in small.split(32):
        x_0 = codec.encode(chunk.float() / 127.5 - 1)
        x_t = signal * x_0 + sigma * torch.randn(x_0.shape, generator=generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            v = unet(x_t.contiguous(memory_format=torch.channels_last), timestep).sample.float()
        estimate = codec.decode(signal * x_t - sigma * v)  # Salimans & Ho 2022, eq. 10
        made.append(((estimate + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(made)


def upscaler_loss(
    buckets: Sequence[Bucket],
    small: Sequence[Sequence[Tensor]],
    lpips: Lpips,
    batch_size: int = 8,
    compiled: Any = None,
) -> Loss:
    """Loss of the upscaler: L1 for color, LPIPS for lines and grain.

    Args:
        buckets: Large prints, uncropped.
        small: For every bucket, versions of the small pictures: clean first, then echoes.
        lpips: The perceptual distance.
        batch_size: Patches a step.
        compiled: A faster version of the network.

    Returns:
        A function for `train_steps`.
    """
    counts = torch.tensor([float(len(bucket.pixels)) for bucket in buckets])

    def loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
        which = int(torch.multinomial(counts, 1, generator=generator))
        large, versions = buckets[which].pixels, small[which]

        def draw(limit: int) -> int:
            return int(torch.randint(limit, (1,), generator=generator))

        inputs, targets = [], []
        for _ in range(batch_size):
            index, version = draw(len(large)), draw(len(versions))
            # Half the patches are clean, half are echoes.
            chosen = versions[version if draw(2) else 0][index]
            top, left = draw(chosen.shape[-2] - PATCH + 1), draw(chosen.shape[-1] - PATCH + 1)
            patch = chosen[:, top : top + PATCH, left : left + PATCH].float() / 127.5 - 1
            strength = NOISE * float(torch.rand(1, generator=generator))
            inputs.append(patch + strength * torch.randn(patch.shape, generator=generator))
            rows = slice(SCALE * top, SCALE * (top + PATCH))
            columns = slice(SCALE * left, SCALE * (left + PATCH))
            targets.append(large[index, :, rows, columns].float() / 127.5 - 1)
        x = torch.stack(inputs).contiguous(memory_format=torch.channels_last)
        y = torch.stack(targets).contiguous(memory_format=torch.channels_last)
        grain = torch.randn(batch_size, 1, PATCH, PATCH, generator=generator)
        forward = network if compiled is None else compiled
        made = forward(x, grain).float()
        distance: Tensor = (made - y).abs().mean() + lpips(made, y).mean()
        return distance

    return loss
