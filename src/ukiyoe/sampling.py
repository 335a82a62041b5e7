"""The sampler: one generator, one loop, every solver, any guides."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from jaxtyping import Float
from torch import Tensor

from ukiyoe.errors import InvalidInput
from ukiyoe.guidance import GuidanceState, Wish, combine_moves
from ukiyoe.model import Model
from ukiyoe.settings import SOLVERS

# alpha_bar at T - 1 may be 0 (zero-terminal-SNR checkpoints) or too near it for the float32 betas
# that solvers take; a signal of 0.001 is nothing next to the noise.
SMALLEST_ALPHA_BAR = 1e-6
GUIDE_STREAM = 0x9E3779B97F4A7C15  # separates a guide's randomness from the picture's noise


@dataclass(frozen=True)
class SamplingStep:
    """What one denoising step did.

    Attributes:
        index: Number of the step, from 0.
        total: How many steps there are.
        timestep: t, the noise level the step started from.
        sample: x after the step; of the last step, the finished latents.
        pred_original_sample: The (steered) estimate of x_0.
        losses: Every acting guide's loss, one number per picture.
        nonfinite: Names of guides whose gradient had NaN or inf, which was zeroed.
    """

    index: int
    total: int
    timestep: int
    sample: Float[Tensor, " batch channels height width"] = field(repr=False)
    pred_original_sample: Float[Tensor, " batch channels height width"] = field(repr=False)
    losses: dict[str, Tensor] = field(repr=False)
    nonfinite: tuple[str, ...] = ()

    def first(self) -> "SamplingStep":
        """The same step with only the first picture of the batch."""
        return replace(
            self,
            sample=self.sample[:1],
            pred_original_sample=self.pred_original_sample[:1],
            losses={name: loss[:1] for name, loss in self.losses.items()},
        )


def trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Evenly spaced timesteps that start at pure noise.

    Args:
        num_train_timesteps: T.
        num_inference_steps: 1 to T.

    Returns:
        That many different timesteps, falling from T - 1.

    Source:
        "Trailing" spacing: Lin et al. 2023 (arXiv 2305.08891), table 2.
    """
    longest, count = num_train_timesteps, num_inference_steps
    return [(2 * longest * left + count) // (2 * count) - 1 for left in range(count, 0, -1)]


def make_solver(model: Model, name: str, num_inference_steps: int) -> tuple[Any, list[int]]:
    """A diffusers scheduler on the checkpoint's own betas, fed with x_0.

    The U-Net's output is turned into x_0 before the solver sees it, so every
    solver runs with ``prediction_type="sample"`` and a moved x_0 is consistent
    with the noise the solver infers from it.

    The solver gets the forward process respaced to our timesteps (Nichol & Dhariwal 2021,
    section 4), and counts n - 1 ... 0: spacing is exact for every number of steps, where
    schedulers that divide T by it drift or take one step more.

    Args:
        model: Whose forward process it is.
        name: One of `ukiyoe.settings.SOLVERS`.
        num_inference_steps: 1 to the model's training timesteps.

    Returns:
        The scheduler, and the model's timestep for every step.

    Raises:
        InvalidInput: If the solver is unknown or the number of steps out of range.
    """
    longest = model.num_train_timesteps
    if not 1 <= num_inference_steps <= longest:
        raise InvalidInput(
            f"steps: expected 1 to {longest} for this model, got {num_inference_steps}."
        )
    timesteps = trailing_timesteps(longest, num_inference_steps)
    alpha_bars = model.scheduler.alphas_cumprod.double().clamp(min=SMALLEST_ALPHA_BAR)
    alpha_bars = alpha_bars[timesteps[::-1]]
    betas = 1 - alpha_bars / torch.cat([alpha_bars.new_ones(1), alpha_bars[:-1]])
    common: dict[str, Any] = {
        "num_train_timesteps": num_inference_steps,
        "trained_betas": betas.tolist(),
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }
    if name == "ddpm":
        variance = model.scheduler.config.variance_type
        if variance.startswith("learned"):
            variance = "fixed_small"
        solver = DDPMScheduler(**common, clip_sample=False, variance_type=variance)
    elif name == "ddim":
        solver = DDIMScheduler(**common, clip_sample=False)
    elif name == "dpmsolver++":
        solver = DPMSolverMultistepScheduler(**common, final_sigmas_type="zero")
    elif name == "unipc":
        solver = UniPCMultistepScheduler(**common, final_sigmas_type="zero")
    else:
        raise InvalidInput(f"solver: expected one of {', '.join(SOLVERS)}, got {name!r}.")
    solver.set_timesteps(num_inference_steps)
    return solver, timesteps


@dataclass(frozen=True)
class Variation:
    """Another seed's noise, mixed into a picture's own.

    Attributes:
        seed: Whose noise.
        share: 0 (none of it) to 1 (nothing else).
    """

    seed: int
    share: float


def initial_noise(
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    variations: Sequence[Variation | None] = (),
) -> tuple[Float[Tensor, " batch channels height width"], list[torch.Generator]]:
    """x_T of every picture, from its own CPU generator.

    Args:
        seeds: One per picture.
        shape: Channels, height and width of one sample.
        variations: One per picture, or none at all.

    Returns:
        Standard normal noise, and the generators that go on to serve the picture.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = [torch.randn(shape, generator=g) for g in generators]
    for k, variation in enumerate(variations):
        if variation is not None:
            other = torch.randn(shape, generator=torch.Generator().manual_seed(variation.seed))
            # Along a quarter circle, so that the variance stays 1: cos^2 + sin^2.
            angle = variation.share * math.pi / 2
            noise[k] = math.cos(angle) * noise[k] + math.sin(angle) * other
    return torch.stack(noise), generators


def sample_steps(
    model: Model,
    seeds: Sequence[int],
    orientation: str,
    num_inference_steps: int,
    solver: str,
    wishes: Sequence[Wish] = (),
    variations: Sequence[Variation | None] = (),
) -> Generator[SamplingStep]:
    """Denoise a batch of pictures, steering each step.

    Args:
        model: What denoises.
        seeds: One per picture; picture k does not depend on the others.
        orientation: Shape of the pictures.
        num_inference_steps: 1 to the model's training timesteps.
        solver: One of `ukiyoe.settings.SOLVERS`.
        wishes: Guides with their scales.
        variations: One per picture, or none at all.

    Yields:
        One record per step; closing the generator cancels the rest.

    Source:
        Steering at x_0 without the U-Net's gradient: MPGD, He et al. 2023 (arXiv 2311.16424).
    """
    scheduler, timesteps = make_solver(model, solver, num_inference_steps)
    sample, generators = initial_noise(seeds, model.latent_shape(orientation), variations)
    sample = sample.to(model.device, memory_format=torch.channels_last)
    guide_generators = [torch.Generator().manual_seed(s ^ GUIDE_STREAM & 2**63 - 1) for s in seeds]
    takes_generator = solver in {"ddpm", "ddim"}
    for index, (timestep, own) in enumerate(zip(timesteps, scheduler.timesteps, strict=True)):
        alpha_bar = max(float(model.scheduler.alphas_cumprod[timestep]), SMALLEST_ALPHA_BAR)
        acting = [wish for wish in wishes if wish.acts(alpha_bar)]
        original, losses, nonfinite = _steer(
            model, sample, timestep, alpha_bar, acting, guide_generators
        )
        # 3. One step of the solver, from the moved estimate.
        with torch.no_grad():
            keywords = {"generator": generators} if takes_generator else {}
            sample = scheduler.step(original, own, sample, **keywords).prev_sample
        yield SamplingStep(index, len(timesteps), timestep, sample, original, losses, nonfinite)


def _steer(
    model: Model,
    sample: Tensor,
    timestep: int,
    alpha_bar: float,
    acting: Sequence[Wish],
    generators: list[torch.Generator],
) -> tuple[Tensor, dict[str, Tensor], tuple[str, ...]]:
    """The steered estimate of x_0, every guide's loss, and guides that were not finite."""
    # 1. Estimate x_0 (no gradient flows through the U-Net).
    with torch.no_grad():
        original = model.predict_original(sample, timestep, alpha_bar)
    if not acting:
        return original, {}, ()
    # 2. Move the estimate down the guides' losses.
    state = _state(model, sample, original, timestep, alpha_bar, generators)
    losses, gradients, nonfinite = _differentiate(state, acting)
    return original + combine_moves(acting, losses, gradients, alpha_bar), losses, nonfinite


def _state(
    model: Model,
    sample: Tensor,
    original: Tensor,
    timestep: int,
    alpha_bar: float,
    generators: list[torch.Generator],
) -> GuidanceState:
    """The step as guides see it, with the estimate of x_0 as the leaf."""
    leaf = original.detach().requires_grad_()
    # Equal to x_t in value; its gradient is that of DDPM, eq. 4 with the noise held fixed.
    view = sample + alpha_bar**0.5 * (leaf - leaf.detach())
    return GuidanceState(view, timestep, alpha_bar, leaf, generators, model.codec.decode)


def _differentiate(
    state: GuidanceState, wishes: Sequence[Wish]
) -> tuple[dict[str, Tensor], list[Tensor], tuple[str, ...]]:
    """Loss and gradient of every wish at x_0; NaN and inf become 0 and are named."""
    losses: dict[str, Tensor] = {}
    gradients: list[Tensor] = []
    nonfinite: list[str] = []
    for wish in wishes:
        loss = wish.guide(state)
        (gradient,) = torch.autograd.grad(loss.sum(), state.pred_original_sample, retain_graph=True)
        if not bool(torch.isfinite(gradient).all()):
            nonfinite.append(wish.name)
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        losses[wish.name] = loss.detach()
        gradients.append(gradient)
    return losses, gradients, tuple(nonfinite)
