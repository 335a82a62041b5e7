"""What a finished picture achieved of what its recipe wished, measured on its pixels."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ukiyoe.color import delta_e_2000, hex_from_srgb, lab_from_srgb, srgb_from_hex
from ukiyoe.recipe import Recipe

# Upper ends of CIEDE2000 differences, and what a person would call them.
CLOSENESS = (
    (2.0, "the same to the eye"),
    (5.0, "very close"),
    (10.0, "close"),
    (20.0, "leaning towards it"),
    (float("inf"), "far from it"),
)


@dataclass(frozen=True)
class Achieved:
    """How near a picture came.

    Attributes:
        mean_color: The average of its pixels, ``#rrggbb``.
        wished_color: What the recipe asked for, if anything.
        delta_e_2000: How different the two look; None without a wish.
    """

    mean_color: str
    wished_color: str | None
    delta_e_2000: float | None

    def words(self) -> str:
        """One sentence for people."""
        if self.delta_e_2000 is None:
            return f"Mean color {self.mean_color}."
        close = next(words for end, words in CLOSENESS if self.delta_e_2000 < end)
        return (
            f"Mean color {self.mean_color}, wished {self.wished_color}: "
            f"{close} (ΔE2000 {self.delta_e_2000:.1f})."
        )


def achieved(picture: Image.Image, recipe: Recipe) -> Achieved:
    """Measure a picture against its recipe.

    Args:
        picture: The finished picture, RGB.
        recipe: What it was made with.

    Returns:
        Its mean color and, if a color was wished, the difference.
    """
    mean = np.asarray(picture, dtype=np.float64).mean(axis=(0, 1)) / 255
    difference = None
    if recipe.color is not None:
        wish = lab_from_srgb(srgb_from_hex(recipe.color))
        difference = round(float(delta_e_2000(lab_from_srgb(mean), wish)), 2)
    return Achieved(hex_from_srgb(mean), recipe.color, difference)
