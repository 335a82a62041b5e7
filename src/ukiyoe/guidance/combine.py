"""Several guides, one bounded move: normalization, conflicts, strength.

The place where scales meet step sizes. A guide's gradient says only where to
go; how far is decided here, so that a scale means the same for every guide,
batch size, resolution and step count.
"""

from collections.abc import Callable
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
        return self.scale > 0 and low <= (1 - alpha_bar) ** 0.5 <= high
