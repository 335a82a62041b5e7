"""The loss of any diffusers DDPM on pictures: its own forward process, its own prediction type."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ukiyoe.model import Model
from ukiyoe.training.data import Bucket
from ukiyoe.training.fleet import ALONE, Fleet
from ukiyoe.training.loop import Moment, MomentLoss
from ukiyoe.training.objective import min_snr_weight, noised, wanted
from ukiyoe.training.order import batch_order, generator_of
from ukiyoe.training.presets import Preset

COLOR_GAIN = 0.2  # span of the random gain of a color channel


def denoising_loss(
    model: Model,
    buckets: dict[str, Bucket],
    preset: Preset,
    seed: int,
    fleet: Fleet = ALONE,
) -> tuple[MomentLoss, int]:
    """Loss of a model's U-Net on pictures.

    Crop, noise and timestep of a picture depend on the seed, the step and the picture's place in
    the step's batch only: not on how the batch is cut into forwards or over processes. Timesteps
    are spread evenly over a step's pictures, with one random shift: the loss varies less than
    with independent ones and has the same mean.

    Args:
        model: Gives codec, forward process and prediction type.
        buckets: The pictures.
        preset: Batch size, weighting, augmentations.
        seed: Decides all randomness.
        fleet: Who trains; each process takes its share of every batch.

    Returns:
        The loss, and how many batches one round through the pictures has.
    """
    order, length = batch_order(buckets, preset.batch_size, seed)
    places = fleet.share(preset.batch_size)
    alpha_bars = model.scheduler.alphas_cumprod.float()
    prediction = model.scheduler.config.prediction_type
    together = preset.batch_size * preset.accumulation

    def loss(network: nn.Module, moment: Moment) -> Tensor:
        name, indices = order(moment.step * preset.accumulation + moment.part)
        numbers = [moment.part * preset.batch_size + place for place in places]
        generators = [generator_of(seed, "picture", moment.step, n) for n in numbers]
        chosen = [int(indices[place]) for place in places]
        pictures = torch.stack(
            [
                cut(buckets[name], index, preset.augment, generator)
                for index, generator in zip(chosen, generators, strict=True)
            ]
        )
        with torch.no_grad():
            x_0 = model.codec.encode(pictures.to(fleet.device)).float()
        shape = x_0.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(x_0)
        shift = torch.rand(1, generator=generator_of(seed, "time", moment.step))
        share = (shift + torch.tensor(numbers) / together) % 1
        timesteps = (share * len(alpha_bars)).long().clamp(max=len(alpha_bars) - 1)
        alpha_bar = alpha_bars[timesteps].to(x_0)
        x_t = noised(x_0, noise, alpha_bar).contiguous(memory_format=torch.channels_last)
        output: Any = network(x_t, timesteps.to(fleet.device)).sample
        answer = output[:, : x_0.shape[1]].float()  # without learned sigma
        error = (answer - wanted(prediction, x_0, noise, alpha_bar)).square().mean(dim=(1, 2, 3))
        weight = min_snr_weight(prediction, alpha_bar, preset.gamma, preset.weighting)
        weighted: Tensor = (weight * error).mean()
        return weighted

    return loss, length


def cut(
    bucket: Bucket, index: int, augment: tuple[str, ...], generator: torch.Generator
) -> Float[Tensor, " 3 height width"]:
    """One picture of a bucket, augmented.

    Args:
        bucket: Where it lies.
        index: Which one.
        augment: "shift" crops at random within the margin the bucket keeps, else in the middle;
            "flip" mirrors every other picture; "color" changes the gain of each channel.
        generator: Decides all of them.

    Returns:
        The picture in [-1, 1].
    """
    height, width = bucket.size
    pixels = bucket.pixels[index]
    room = torch.tensor([pixels.shape[1] - height, pixels.shape[2] - width])
    place = torch.rand(2, generator=generator) if "shift" in augment else torch.tensor(0.5)
    top, left = (place * (room + 1)).long().minimum(room).tolist()
    picture = pixels[:, top : top + height, left : left + width].float() / 127.5 - 1
    if "flip" in augment and float(torch.rand(1, generator=generator)) < 0.5:
        picture = picture.flip(-1)
    if "color" in augment:
        gain = 1 + COLOR_GAIN * (torch.rand(3, 1, 1, generator=generator) - 0.5)
        picture = ((picture + 1) * gain - 1).clamp(-1, 1)
    return picture
