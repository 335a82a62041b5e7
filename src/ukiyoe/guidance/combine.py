"""Several guides, one bounded move: normalization, conflicts, strength.

The place where scales meet step sizes. A guide's gradient says only where to
go; how far is decided here, so that a scale means the same for every guide,
batch size, resolution and step count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ukiyoe.guidance.state import GuidanceState
from ukiyoe.settings import MAX_SCALE

Guide = Callable[[GuidanceState], Tensor]
"""``guide(state)``: one loss per picture, averaged over pixels, never over the batch."""

# Largest move of one step, in root-mean-square units of the sample (pictures span [-1, 1]).
MAX_MOVE = 0.35


@dataclass(frozen=True)
class Wish:
    """A guide and how strongly to follow it.

    Attributes:
        name: What to call it in reports.
        guide: The loss whose gradient steers.
        scale: 0 (off) to 10 (as far as it goes without breaking the picture).
        gain: Root-mean-square move at scale 10, of a step where everything is still open.
        polyak: Move no further than the loss asks: length loss / |gradient| (Polyak), for
            losses whose best value is 0.
        window: Share of the noise level, sqrt(1 - alpha_bar), between which the guide acts.
    """

    name: str
    guide: Guide
    scale: float
    gain: float = 1.0
    polyak: bool = False
    window: tuple[float, float] = (0.2, 1.0)

    def acts(self, alpha_bar: float) -> bool:
        """Whether the guide acts at this noise level."""
        low, high = self.window
        return self.scale > 0 and low <= math.sqrt(1 - alpha_bar) <= high


def combine_moves(
    wishes: Sequence[Wish],
    losses: dict[str, Float[Tensor, " batch"]],
    gradients: Sequence[Float[Tensor, " batch channels height width"]],
    alpha_bar: float,
) -> Float[Tensor, " batch channels height width"]:
    """One bounded move of x_0 that serves every wish.

    Each gradient is taken as a direction. Where two directions oppose each other, the part
    of the weaker wish that works against the stronger one is projected out (the sum of two
    guidance terms is not the joint score: TAG, arXiv 2510.11057).

    Args:
        wishes: The acting wishes, as many as gradients.
        losses: Every wish's loss, by name.
        gradients: Gradient of every loss at x_0; we step against it.
        alpha_bar: Share of signal variance at this step.

    Returns:
        What to add to x_0; its root mean square is at most `MAX_MOVE` per picture.
    """
    moves = [
        _move(wish, losses[wish.name], gradient, alpha_bar)
        for wish, gradient in zip(wishes, gradients, strict=True)
    ]
    order = sorted(range(len(moves)), key=lambda i: -wishes[i].scale)
    total = moves[order[0]]
    for i in order[1:]:
        overlap = (moves[i] * total).sum(dim=(1, 2, 3), keepdim=True).clamp(max=0)
        length = total.square().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-20)
        total = total + moves[i] - overlap / length * total
    rms = total.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)
    return total * (MAX_MOVE / rms).clamp(max=1)


def _move(wish: Wish, loss: Tensor, gradient: Tensor, alpha_bar: float) -> Tensor:
    """Where one wish alone would move x_0."""
    rms = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    direction = -gradient / rms.clamp(min=1e-12)
    strength = wish.gain * wish.scale / MAX_SCALE * torch.ones_like(rms)
    if wish.polyak:
        # Squared-distance losses reach 0 after 2 loss / |g|^2 g; in mean squares of n numbers
        # |g|^2 = n rms^2, so the root-mean-square length of that move is 2 loss / (n rms).
        count = gradient[0].numel()
        strength = (
            strength.clamp(max=1) * 2 * loss[:, None, None, None] / (count * rms.clamp(min=1e-12))
        )
        return direction * strength
    # The less noise, the more is decided already: moves fade with the noise level.
    return direction * strength * math.sqrt(1 - alpha_bar)
