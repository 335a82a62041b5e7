"""The published recipe against our default postcard with both guides.

    python benchmarks/reference.py

40 DDIM steps of a 113.7 M U-Net at 256 px, steered at x_0 by CLIP ViT-B/32 over 4 random crops
and by a color loss. Single steps are timed, in turns with whole postcards of ours, and scaled.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn import functional as F

from celebahq import clip, unet
from timing import PAIRS, Report, ratios, side_by_side
from ukiyoe import UkiyoePipeline
from ukiyoe.settings import DEFAULTS, PACKAGED

STEPS, CROPS, CLIP_SIDE = 40, 4, 224
BAR = 100.0


class Recipe:
    """One guided step of the recipe."""

    def __init__(self, side: int, tiny: bool) -> None:
        self.unet, self.clip = unet(side, tiny), clip(tiny)
        self.scheduler = DDIMScheduler(num_train_timesteps=1000)
        self.scheduler.set_timesteps(STEPS)
        self.sample = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        self.wish = F.normalize(torch.randn(self.clip.config.projection_dim), dim=0)
        self.color = torch.tensor([-0.76, -0.39, -0.05])[:, None, None]

    def step(self) -> Tensor:
        """U-Net, estimate of x_0, gradient of both losses there, DDIM step."""
        timestep = self.scheduler.timesteps[STEPS // 2]
        with torch.no_grad():
            noise = self.unet(self.sample, timestep).sample
        alpha_bar = self.scheduler.alphas_cumprod[timestep]
        original = (self.sample - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        leaf = original.detach().requires_grad_()
        loss = 8 * self._text_loss(leaf) + 40 * (leaf - self.color).abs().mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        moved = self.sample - gradient * alpha_bar.sqrt()
        sample: Tensor = self.scheduler.step(noise, timestep, moved).prev_sample
        return sample

    def _text_loss(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        crops = []
        for _ in range(CROPS):
            size = int(torch.randint(side // 2, side + 1, ()))
            top, left = (int(torch.randint(0, side - size + 1, ())) for _ in "yx")
            crop = images[..., top : top + size, left : left + size]
            crops.append(F.interpolate(crop, (CLIP_SIDE, CLIP_SIDE), mode="bilinear"))
        found: Any = self.clip.get_image_features(pixel_values=torch.cat(crops))
        found = F.normalize(getattr(found, "pooler_output", found), dim=-1)
        loss: Tensor = (found - self.wish).norm(dim=-1).div(2).arcsin().square().mul(2).mean()
        return loss


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--rounds", type=int, default=PAIRS)
    parser.add_argument("--smoke", action="store_true", help="tiny networks: does it run?")
    parser.add_argument("--output", default="results/reference")
    options = parser.parse_args(arguments)
    report = Report("reference")
    recipe = Recipe(32 if options.smoke else 256, options.smoke)
    pipe = UkiyoePipeline.from_pretrained(options.model, "cpu")
    prompt = "a wave" if (pipe.model.folder / "text_tower").is_dir() else None
    steps = 2 if options.smoke else DEFAULTS.num_inference_steps

    def postcard() -> None:
        pipe(prompt, color="#1f4e79", seeds=[0], num_inference_steps=steps, batch_size=1)

    works = {"step": recipe.step, "postcard": postcard}
    times = side_by_side(works, options.rounds, warm=not options.smoke)
    parameters = sum(weight.numel() for weight in recipe.unet.parameters()) / 1e6
    report.add("reference U-Net", parameters, "M")
    report.add("one guided step of the reference", times["step"], "s")
    report.add(
        f"reference picture, {STEPS} steps (scaled)", [STEPS * t for t in times["step"]], "s"
    )
    report.add("our default postcard, both guides", times["postcard"], "s")
    faster = [STEPS * ratio for ratio in ratios(times, "step", "postcard")]
    report.add("how many times faster", faster, "x", low=None if options.smoke else BAR)
    return report.save(Path(options.output), vars(options), options.smoke)


if __name__ == "__main__":
    sys.exit(main())
