"""What guides do to pictures, each against the unguided picture of the same seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.color import delta_e_2000, lab_from_srgb, parse_color, srgb_from_hex
from ukiyoe.errors import InvalidInput
from ukiyoe.evaluation.metrics import (
    kid,
    lightness_range,
    luminance,
    mean_lab,
    pearson,
    pixels,
    tint_residual,
)

Array = NDArray[np.float64]
Pictures = Sequence[Image.Image]

# A wish of each kind to measure when nobody says which; every prompt is a tag of the prints.
DEFAULT_GUIDES = (
    "color=#1f4e79",
    "color=#b23a2e",
    "color=#e2b33c",
    "color=#4f7942",
    "text=a wave",
    "text=mountains",
    "text=boats",
    "text=snow",
    "text=a wave color=#b23a2e",
    "text=snow color=#1f4e79",
)


@dataclass(frozen=True)
class GuideWish:
    """One way to steer.

    Attributes:
        color: The wished mean color as ``#rrggbb``, or None.
        prompt: The wished words, or None.
    """

    color: str | None = None
    prompt: str | None = None

    @property
    def kind(self) -> str:
        """What steers: "color", "text" or "both"."""
        if self.color is None:
            return "text"
        return "color" if self.prompt is None else "both"

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return " + ".join(part for part in (self.prompt, self.color) if part is not None)


def parse_guide(text: str) -> GuideWish:
    """Read a wish such as ``color=#1f4e79``, ``text=a wave`` or ``text=a wave color=teal``.

    Args:
        text: What was written.

    Returns:
        The wish.

    Raises:
        InvalidInput: If it is no such wish.
    """
    before, *parts = re.split(r"(?:^|\s)(color|text)=", text.strip())
    names, values = parts[::2], [value.strip() for value in parts[1::2]]
    if before.strip() or not parts or len(set(names)) < len(names) or not all(values):
        raise InvalidInput(
            "guides: expected color=COLOR, text=WORDS, or both with a space between, "
            f"got {text[:100]!r}."
        )
    wish = dict(zip(names, values, strict=True))
    color = parse_color(wish["color"]) if "color" in wish else None
    return GuideWish(color, wish.get("text"))


@dataclass(frozen=True)
class Effect:
    """What a guide did, picture by picture; arrays have one number per seed.

    Attributes:
        delta_e_before: ΔE2000 from the unguided picture's mean color to the wish.
        delta_e_after: The same of the guided picture.
        structure: Correlation of light and dark with the unguided picture; 1 is the same
            composition.
        tint_residual: Share of the guided picture that no tint of the unguided one explains.
        range_share: Contrast (2nd to 98th percentile of L*), as a share of the unguided one.
    """

    delta_e_before: Array
    delta_e_after: Array
    structure: Array
    tint_residual: Array
    range_share: Array


def effect(plain: Pictures, guided: Pictures, color: str | None) -> Effect:
    """Compare pictures with the unguided ones of the same seeds.

    Args:
        plain: Unguided pictures.
        guided: As many guided ones.
        color: The wished color as ``#rrggbb``; None leaves the color differences empty.

    Returns:
        One number of each kind per pair.
    """
    pairs = list(zip(plain, guided, strict=True))
    before, after = (
        np.empty(0) if color is None else delta_e(pictures, color) for pictures in (plain, guided)
    )
    return Effect(
        before,
        after,
        np.array([pearson(luminance(a), luminance(b)) for a, b in pairs]),
        np.array([tint_residual(pixels(a), pixels(b)) for a, b in pairs]),
        np.array([lightness_range(b) / max(lightness_range(a), 1e-6) for a, b in pairs]),
    )


def delta_e(pictures: Pictures, color: str) -> Array:
    """ΔE2000 from each picture's mean color to a color."""
    wish = lab_from_srgb(srgb_from_hex(color))
    return np.array([float(delta_e_2000(mean_lab(picture), wish)) for picture in pictures])


def damage(plain: Array, guided: Array, reference: Array) -> tuple[float, float]:
    """KID above that of the unguided pictures of the same seeds, and its standard error.

    Args:
        plain: Features of unguided pictures, (pictures, dimensions).
        guided: Features of the guided pictures of the same seeds, in the same order.
        reference: Features of real pictures.

    Returns:
        The difference, and its standard error by leaving out one seed at a time (jackknife),
        from both sets at once.

    Source:
        Efron & Stein 1981, eq. 1.3.
    """
    count = len(plain)
    left_out = []
    for seed in range(count if count > 2 else 0):
        kept = np.arange(count) != seed
        left_out.append(kid(guided[kept], reference) - kid(plain[kept], reference))
    variance = float(np.var(left_out)) * (count - 1) if left_out else 0.0
    return kid(guided, reference) - kid(plain, reference), float(np.sqrt(variance))
