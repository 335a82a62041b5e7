"""Colors of a set of pictures: how light, how saturated, which part of color space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.color import lab_from_srgb
from ukiyoe.errors import InvalidInput

Array = NDArray[np.float64]

THUMBNAIL = 64  # px a side; every picture counts the same, and grain less than color
CELL = 10.0  # CIELAB units; a step that is plainly another color
RARE = 1e-4  # cells with less of all pixels than this are noise, not palette
CELLS = (10, 26, 26)  # L* 0 to 100; a* and b* -130 to 130


@dataclass(frozen=True)
class Palette:
    """The colors of a set of pictures.

    Attributes:
        lightness: Mean CIELAB L* of each picture, 0 to 100.
        chroma: Mean CIELAB chroma of each picture; 0 is gray, prints have about 10 to 30.
        cells: Share of all pixels in each `CELL`-wide cell of CIELAB.
    """

    lightness: Array
    chroma: Array
    cells: Array


def palette(pictures: Sequence[Image.Image]) -> Palette:
    """Measure the colors of pictures.

    Args:
        pictures: Any sizes and modes; opened one at a time.

    Returns:
        Their palette.

    Raises:
        InvalidInput: If there is no picture.
    """
    if not len(pictures):
        raise InvalidInput("pictures: expected at least one, got none.")
    lightness, chroma = [], []
    cells = np.zeros(CELLS)
    for picture in pictures:
        small = picture.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        lab = lab_from_srgb(np.asarray(small, dtype=np.float64).reshape(-1, 3) / 255)
        lightness.append(float(lab[:, 0].mean()))
        chroma.append(float(np.hypot(lab[:, 1], lab[:, 2]).mean()))
        index = ((lab - [0, -130, -130]) // CELL).astype(int).clip(0, np.array(CELLS) - 1)
        np.add.at(cells, tuple(index.T), 1)
    return Palette(np.array(lightness), np.array(chroma), cells / cells.sum())


def gamut_coverage(made: Palette, real: Palette) -> float:
    """Share of the real pictures' pixels whose color the made ones use too, 0 to 1."""
    used = made.cells >= RARE
    palette_cells = real.cells * (real.cells >= RARE)
    return float(palette_cells[used].sum() / palette_cells.sum())


def palette_overlap(made: Palette, real: Palette) -> float:
    """How alike two palettes are: shared pixels of their histograms, 0 (none) to 1 (equal)."""
    return float(np.minimum(made.cells, real.cells).sum())
