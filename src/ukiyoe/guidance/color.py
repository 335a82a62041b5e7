"""Steer the mean color of a picture."""

from jaxtyping import Float
from torch import Tensor

from ukiyoe.color import oklab_from_srgb, srgb_from_hex
from ukiyoe.guidance.combine import Guide, Wish
from ukiyoe.guidance.state import GuidanceState


def color_loss(
    images: Float[Tensor, " batch 3 height width"],
    target: Float[Tensor, " 3"],
) -> Float[Tensor, " batch"]:
    """Perceptual distance of each picture's mean color from one color.

    Averages over pixels, never over the batch, so that guidance does not
    depend on how many pictures are made together.

    Args:
        images: Predicted clean pictures, sRGB in [-1, 1]; may overshoot.
        target: The wished color, sRGB in [0, 1].

    Returns:
        One squared OKLab distance per picture (0 is exact, 1 is black to white).

    Source:
        OKLab: B. Ottosson, 2020.
    """
    mean = (images.mean(dim=(2, 3), keepdim=True) + 1) / 2
    difference = oklab_from_srgb(mean) - oklab_from_srgb(target[:, None, None])
    return difference.square().sum(dim=(1, 2, 3))


def color_guide(color: str) -> Guide:
    """A guide to a mean color.

    Args:
        color: ``#rrggbb``.

    Returns:
        A loss to step against.
    """
    wish = srgb_from_hex(color)

    def guide(state: GuidanceState) -> Tensor:
        images = state.images()
        return color_loss(images, images.new_tensor(wish))

    return guide


def color_wish(color: str, scale: float) -> Wish:
    """The wish for a mean color, with its measured gain and window."""
    return Wish("color", color_guide(color), scale, gain=1.0, polyak=True, window=(0.5, 1.0))
