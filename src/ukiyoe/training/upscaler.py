"""The upscaler's objective: make what the base model makes look like a print."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.model import Codec, Model
from ukiyoe.sampling import sample_steps
from ukiyoe.settings import DEFAULTS
from ukiyoe.training.adversary import Adversary, adversarial_losses
from ukiyoe.training.data import Bucket
from ukiyoe.training.loop import Loss
from ukiyoe.training.perceptual import Lpips
from ukiyoe.upscaler import SCALE, Upscaler

PATCH = 20  # px of the small picture, a side
# Timesteps whose one-step estimates stand in for finished samples: a little blurred, a little
# wrong, as samples are (conditioning augmentation: Ho et al. 2021, arXiv 2106.15282).
ECHO_TIMESTEPS = (60, 160, 280)
NOISE = 0.04  # largest standard deviation of what is added to clean small pictures
ADVERSARY = 0.15  # weight of looking like a print, next to L1 + LPIPS
FAITH = 2.0  # weight of a sample's colors and composition, seen at half its size
FIRST_SEED = 1_000_000  # of the samples trained on; nobody measures or shows these


class Workshop(nn.Module):
    """An upscaler and its adversary, under training together."""

    def __init__(self, upscaler: Upscaler) -> None:
        super().__init__()
        self.upscaler = upscaler
        self.adversary = Adversary()


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
        with torch.no_grad():
            v = unet(x_t.contiguous(memory_format=torch.channels_last), timestep).sample
        made.append(_levels(codec.decode(signal * x_t - sigma * v)))  # Salimans & Ho 2022, eq. 10
    return torch.cat(made)


def samples(model: Model, orientation: str, count: int) -> UInt8[Tensor, " count 3 height width"]:
    """Small pictures by the base model as it samples by default, unguided.

    Args:
        model: The base model.
        orientation: Their shape.
        count: How many.

    Returns:
        Finished samples before any upscaler.
    """
    made = []
    for seeds in torch.arange(FIRST_SEED, FIRST_SEED + count).split(16):
        for step in sample_steps(
            model, seeds.tolist(), orientation, DEFAULTS.num_inference_steps, DEFAULTS.solver
        ):
            latents = step.sample
        made.append(_levels(model.codec.decode(latents)))
    return torch.cat(made)


def upscaler_loss(
    buckets: Sequence[Bucket],
    small: Sequence[Sequence[Tensor]],
    sampled: Sequence[Tensor],
    lpips: Lpips,
    batch_size: int = 8,
) -> Loss:
    """Loss of the upscaler: faithful where the print is known, a print's look everywhere.

    Half of a batch are prints made small: L1 for color, LPIPS for lines and grain. The other half
    are samples of the base model, which nobody knows the print of: they must keep their colors and
    composition and, to an adversary, look like prints.

    Args:
        buckets: Large prints, uncropped.
        small: For every bucket, versions of the small pictures: clean first, then echoes.
        sampled: For every bucket, samples of its shape.
        lpips: The perceptual distance; its AlexNet serves the adversary too.
        batch_size: Patches a step.

    Returns:
        A function for `train_steps` on a `Workshop`.
    """
    counts = torch.tensor([float(len(bucket.pixels)) for bucket in buckets])

    def loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
        which = int(torch.multinomial(counts, 1, generator=generator))
        large, versions = buckets[which].pixels, small[which]

        def draw(limit: int) -> int:
            return int(torch.randint(limit, (1,), generator=generator))

        def patch(picture: Tensor, top: int, left: int, scale: int) -> Tensor:
            side = scale * PATCH
            cut = picture[:, scale * top : scale * top + side, scale * left : scale * left + side]
            return cut.float() / 127.5 - 1

        inputs, targets, prints = [], [], []
        height, width = versions[0].shape[-2:]
        for _ in range(batch_size // 2):
            # Half of them are clean, half are echoes.
            index, version = draw(len(large)), draw(len(versions)) if draw(2) else 0
            top, left = draw(height - PATCH + 1), draw(width - PATCH + 1)
            clean = patch(versions[version][index], top, left, 1)
            strength = NOISE * float(torch.rand(1, generator=generator))
            inputs.append(clean + strength * torch.randn(clean.shape, generator=generator))
            targets.append(patch(large[index], top, left, SCALE))
        for _ in range(batch_size - len(inputs)):
            top, left = draw(height - PATCH + 1), draw(width - PATCH + 1)
            inputs.append(patch(sampled[which][draw(len(sampled[which]))], top, left, 1))
            top, left = draw(height - PATCH + 1), draw(width - PATCH + 1)
            prints.append(patch(large[draw(len(large))], top, left, SCALE))
        x = torch.stack(inputs).contiguous(memory_format=torch.channels_last)
        y = torch.stack(targets).contiguous(memory_format=torch.channels_last)
        grain = torch.randn(batch_size, 1, 2 * PATCH, 2 * PATCH, generator=generator)
        made = network.upscaler(x, grain).float()  # type: ignore[operator]
        known = made[: len(y)]
        distance: Tensor = (known - y).abs().mean() + lpips(known, y).mean()
        free = slice(len(y), None)
        coarse = F.avg_pool2d(made[free], 2 * SCALE) - F.avg_pool2d(x[free], 2)
        maker, adversary = adversarial_losses(
            network.adversary,  # type: ignore[arg-type]
            lpips,
            made,
            torch.cat([y, torch.stack(prints)]),
        )
        return distance + FAITH * coarse.abs().mean() + ADVERSARY * maker + adversary

    return loss


def _levels(images: Tensor) -> UInt8[Tensor, " count 3 height width"]:
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
