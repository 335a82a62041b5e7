"""The base model's objective: v-prediction on small prints."""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn

from ukiyoe.training.data import Bucket, draw
from ukiyoe.training.loop import Loss

SHARE = {"portrait": 0.66, "landscape": 0.26, "square": 0.08}  # of the training batches

FACTOR = 2
"""Side of the block of pixels the U-Net sees as channels: 24x16 places of a 48x32 picture."""

Teacher = Callable[[Tensor, Tensor], Tensor]
"""``teacher(x_t, timesteps)``: an estimate of v."""


def packaged_unet() -> UNet2DModel:
    """The packaged model's U-Net: 18.1 M parameters, 1.2 GFLOP on a 48x32 picture.

    Returns:
        An untrained network.
    """
    channels = 3 * FACTOR**2
    return UNet2DModel(
        sample_size=(48 // FACTOR, 32 // FACTOR),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
    )


def packaged_scheduler() -> DDPMScheduler:
    """The packaged model's forward process: cosine (Nichol & Dhariwal 2021), v-prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
    )


def loss_weight(alpha_bar: Float[Tensor, " batch"], gamma: float = 5.0) -> Float[Tensor, " batch"]:
    """Weight of a v-prediction loss: min(SNR + 1, gamma) / (SNR + 1).

    The plain v loss weights the error of x_0 by SNR + 1 (Salimans & Ho 2022, section 4), which
    is finite at pure noise, where compositions are decided; it is only capped at little noise.
    Min-SNR weighting as published starts from SNR, which is 0 at pure noise: with it our model
    was still worse than a linear (Wiener) denoiser above t = 700 after 7,000 steps.

    Args:
        alpha_bar: Share of signal variance at each picture's timestep.
        gamma: Where the weight of x_0 stops growing.

    Returns:
        One weight per picture.

    Source:
        Hang et al. 2023 (arXiv 2303.09556), section 3.4, for the cap.
    """
    # SNR + 1 = 1 / (1 - a)
    return (gamma * (1 - alpha_bar)).clamp(max=1)


def autoguided(strong: nn.Module, weak: nn.Module, weight: float) -> Teacher:
    """A teacher that leads away from the mistakes a weaker copy of it makes.

    Where the two agree nothing changes; where the weak one is more blurred or noisier, the
    difference points to what more training would bring, and is followed further. Learned by one
    network, it costs nothing while sampling (Meng et al. 2023, arXiv 2210.03142, section 3.1).

    Args:
        strong: The trained U-Net; predicts v.
        weak: The same early in its training.
        weight: 1 is the strong network as it is.

    Returns:
        The guided estimate of v.

    Source:
        Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of Itself"
        (arXiv 2406.02507), eq. 3.
    """

    def teacher(x_t: Tensor, timesteps: Tensor) -> Tensor:
        with torch.no_grad():
            better, worse = (network(x_t, timesteps).sample.float() for network in (strong, weak))
        guided: Tensor = better + (weight - 1) * (better - worse)
        return guided

    return teacher


def base_loss(
    buckets: dict[str, Bucket],
    scheduler: DDPMScheduler,
    encode: Callable[[Tensor], Tensor],
    batch_size: int = 32,
    teacher: Teacher | None = None,
) -> Loss:
    """Loss of the base model: predict v at random timesteps, spread evenly over a batch.

    Args:
        buckets: The prints.
        scheduler: Gives the forward process.
        encode: Picture to what the U-Net sees.
        batch_size: Pictures a step.
        teacher: Gives the v to learn in place of the print's own.

    Returns:
        A function for `train_steps`.
    """
    alpha_bars = scheduler.alphas_cumprod
    names = [name for name in SHARE if name in buckets]
    shares = torch.tensor([SHARE[name] for name in names])

    def loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
        name = names[int(torch.multinomial(shares, 1, generator=generator))]
        bucket = buckets[name]
        indices = torch.randint(len(bucket.prints), (batch_size,), generator=generator)
        pictures = draw(bucket, indices, generator)
        x_0 = encode(pictures).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(x_0.shape, generator=generator)
        noise = noise.contiguous(memory_format=torch.channels_last)
        # One timestep in every batch-th part of the process: the loss varies less than at random.
        shift = torch.rand(1, generator=generator)
        share = (shift + torch.arange(batch_size) / batch_size) % 1
        timesteps = (share * len(alpha_bars)).long().clamp(max=len(alpha_bars) - 1)
        alpha_bar = alpha_bars[timesteps]
        signal, sigma = (
            alpha_bar.sqrt()[:, None, None, None],
            (1 - alpha_bar).sqrt()[:, None, None, None],
        )
        x_t = signal * x_0 + sigma * noise  # DDPM, eq. 4
        own = signal * noise - sigma * x_0  # Salimans & Ho 2022, eq. 10
        v = own if teacher is None else teacher(x_t, timesteps)
        prediction = network(x_t, timesteps).sample
        error = (prediction.float() - v).square().mean(dim=(1, 2, 3))
        weighted: Tensor = loss_weight(alpha_bar) * error
        return weighted.mean()

    return loss
