"""What a guide sees of a picture in the making."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GuidanceState:
    """One denoising step of a batch, as guides see it.

    Everything is a function of one leaf, the predicted clean sample, so a
    guide may look at whichever view suits it and one gradient results:
    ``sample`` follows the prediction with the predicted noise held fixed,
    x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) epsilon (DDPM, eq. 4).

    Attributes:
        sample: x_t.
        timestep: t, from T - 1 (noise) to 0 (picture); never the loop counter.
        alpha_bar: Share of signal variance at t.
        pred_original_sample: The estimate of x_0, in what the U-Net works on.
        generators: One random generator per picture, for guides that draw.
        decode: The codec's decoder.
    """

    sample: Float[Tensor, " batch channels height width"]
    timestep: int
    alpha_bar: float
    pred_original_sample: Float[Tensor, " batch channels height width"]
    generators: list[torch.Generator] = field(repr=False)
    decode: Callable[[Tensor], Tensor] = field(repr=False)

    @cached_property
    def _images(self) -> Tensor:
        return self.decode(self.pred_original_sample)

    def images(self) -> Float[Tensor, " batch 3 rows columns"]:
        """The estimate as pixels in [-1, 1] (may overshoot), decoded once and only if asked."""
        return self._images

    def noisy_images(self) -> Float[Tensor, " batch 3 rows columns"]:
        """x_t as pixels; means something only if the codec merely rearranges pixels."""
        return self.decode(self.sample)
