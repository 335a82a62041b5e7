"""Makes the pictures of the documentation with the packaged model.

python scripts/docs_pictures.py     # or: make docs-pictures, after the weights changed
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ukiyoe import Recipe, UkiyoePipeline
from ukiyoe.guidance import GuidanceState
from ukiyoe.images import pil_from_tensor
from ukiyoe.sampling import SMALLEST_ALPHA_BAR
from ukiyoe.settings import DEFAULTS

SEED, PROMPT, COLOR = 7, "a wave", "#1f4e79"
NOISE_LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # as shares of T
SHOWN_STEPS = (0, 4, 9, 14, 19, 24)
SCALES = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
GAP, PAPER, HEIGHT = 8, "#fbf7ee", 240


class Pictures:
    """Draws each picture from one model."""

    def __init__(self, output: Path) -> None:
        self.pipe = UkiyoePipeline.from_pretrained(device="cpu")
        self.model = self.pipe.model
        self.output = output
        output.mkdir(parents=True, exist_ok=True)

    def recipe(self, **wish: object) -> Recipe:
        """One picture's recipe."""
        shape = self.model.default_orientation
        return self.pipe.recipe(Recipe(seed=SEED, orientation=shape, **wish))  # type: ignore[arg-type]

    def forward_process(self) -> None:
        """A finished picture, and what the model learned to undo: more and more noise on it."""
        *_, last = self.pipe.sample([self.recipe()])
        clean, generator = last.sample, torch.Generator().manual_seed(0)
        noise = torch.randn(clean.shape, generator=generator)
        row = []
        for level in NOISE_LEVELS:
            timestep = round(level * (self.model.num_train_timesteps - 1))
            alpha_bar = float(self.model.scheduler.alphas_cumprod[timestep]) if level else 1.0
            noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise  # DDPM, eq. 4
            row.append(self._shown(noisy))
        self._save("forward-process", [row])

    def estimates(self) -> None:
        """What the model thinks the picture will be, step by step; without and with guides."""
        rows = []
        for wish in ({}, {"color": COLOR}, {"prompt": PROMPT}):
            found = [step.pred_original_sample for step in self.pipe.sample([self.recipe(**wish)])]
            rows.append([self._shown(found[k]) for k in SHOWN_STEPS if k < len(found)])
        self._save("estimates", rows)

    def gradients(self) -> None:
        """An estimate, the way each guide pushes it, and where it lands."""
        steps = list(self.pipe.sample([self.recipe()]))
        step = steps[DEFAULTS.num_inference_steps // 4]
        before = steps[DEFAULTS.num_inference_steps // 4 - 1].sample
        alpha_bar = float(self.model.scheduler.alphas_cumprod[step.timestep])
        rows = []
        for wish in self.pipe.wishes(self.recipe(color=COLOR, prompt=PROMPT)):
            leaf = step.pred_original_sample.detach().clone().requires_grad_()
            generators = [torch.Generator().manual_seed(0)]
            view = before + max(alpha_bar, SMALLEST_ALPHA_BAR) ** 0.5 * (leaf - leaf.detach())
            state = GuidanceState(
                view, step.timestep, alpha_bar, leaf, generators, self.model.codec.decode
            )
            (gradient,) = torch.autograd.grad(wish.guide(state).sum(), leaf)
            push = -gradient / gradient.square().mean().sqrt().clamp(min=1e-12)
            moved = leaf.detach() + 0.5 * push
            rows.append([self._shown(leaf.detach()), self._shown(0.3 * push), self._shown(moved)])
        self._save("gradients", rows)

    def scales(self) -> None:
        """One seed under a growing scale."""
        rows = []
        for name, wish in (("color_scale", {"color": COLOR}), ("text_scale", {"prompt": PROMPT})):
            row = []
            for scale in SCALES:
                *_, last = self.pipe.sample([self.recipe(**wish, **{name: scale})])
                row.append(pil_from_tensor(self.model.finish(last.sample))[0])
            rows.append(row)
        self._save("scales", rows)

    def _shown(self, latents: Tensor) -> Image.Image:
        return pil_from_tensor(self.model.codec.decode(latents).clamp(-1, 1))[0]

    def _save(self, name: str, rows: list[list[Image.Image]]) -> None:
        tiles = [
            [p.resize((round(HEIGHT * p.width / p.height), HEIGHT), Image.Resampling.BICUBIC)
             for p in row]
            for row in rows
        ]  # fmt: skip
        width = tiles[0][0].width
        columns = max(len(row) for row in tiles)
        size = columns * (width + GAP) + GAP, len(tiles) * (HEIGHT + GAP) + GAP
        sheet = Image.new("RGB", size, PAPER)
        for y, row in enumerate(tiles):
            for x, tile in enumerate(row):
                sheet.paste(tile, (GAP + x * (width + GAP), GAP + y * (HEIGHT + GAP)))
        sheet.save(self.output / f"{name}.jpg", quality=85)


def main(arguments: list[str] | None = None) -> int:
    """Make every picture.

    Args:
        arguments: What follows the script's name; None takes the process's own.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", default="docs/images", type=Path)
    pictures = Pictures(parser.parse_args(arguments).output)
    pictures.forward_process()
    pictures.estimates()
    pictures.gradients()
    pictures.scales()
    return 0


if __name__ == "__main__":
    sys.exit(main())
