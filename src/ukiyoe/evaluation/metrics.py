"""What the features and pixels of pictures say, as plain numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.color import lab_from_srgb

Array = NDArray[np.float64]


def kid(x: Array, y: Array) -> float:
    """Kernel Inception distance of two sets of features (here with any network).

    Args:
        x: Features of one set, (m, d), m at least 2.
        y: Features of the other, (n, d), n at least 2.

    Returns:
        The unbiased squared MMD with the kernel (x.y / d + 1)^3; about 0 for sets of one
        distribution, and slightly negative as often as positive.

    Source:
        Binkowski et al. 2018 (arXiv 1801.01401), section 3.1 and eq. 4.
    """
    dims = x.shape[1]
    m, n = len(x), len(y)
    xx = (x @ x.T / dims + 1) ** 3
    yy = (y @ y.T / dims + 1) ** 3
    xy = (x @ y.T / dims + 1) ** 3
    within_x = (xx.sum() - np.trace(xx)) / (m * (m - 1))
    within_y = (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return float(within_x + within_y - 2 * xy.mean())


def kid_subsets(
    x: Array, y: Array, subsets: int = 50, size: int = 100, seed: int = 0
) -> tuple[float, float]:
    """KID over random subsets.

    Args:
        x: Features of one set.
        y: Features of the other.
        subsets: How many.
        size: Pictures of each set in one; at most as many as there are.
        seed: Which subsets.

    Returns:
        Mean and standard deviation over the subsets.
    """
    random = np.random.default_rng(seed)
    size = min(size, len(x), len(y))
    values = [
        kid(
            x[random.choice(len(x), size, replace=False)],
            y[random.choice(len(y), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def near_copies(made: Array, prints: Array) -> NDArray[np.bool_]:
    """Which pictures are near-copies of a training print.

    Args:
        made: Features of made pictures.
        prints: Features of the training prints, without duplicates.

    Returns:
        True where the nearest print is under 1/3 of the distance to the second nearest.

    Source:
        The criterion of Yoon et al. 2023 (arXiv 2310.02664).
    """
    squares = (made**2).sum(1)[:, None] + (prints**2).sum(1) - 2 * made @ prints.T
    nearest = np.sqrt(np.maximum(np.sort(squares, axis=1)[:, :2], 0))
    return np.asarray(nearest[:, 0] < nearest[:, 1] / 3)


def pixels(picture: Image.Image, size: tuple[int, int] | None = None) -> Array:
    """A picture as an array (height, width, 3) in [0, 1], resized to (width, height) if given."""
    if size:
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def luminance(picture: Image.Image, size: tuple[int, int] = (32, 48)) -> Array:
    """Rec. 709 luma of a picture at a small size, as one row."""
    weighted: Array = pixels(picture, size) @ np.array([0.2126, 0.7152, 0.0722])
    return weighted.ravel()


def pearson(x: Array, y: Array) -> float:
    """Linear correlation; 0 where one side is constant."""
    x, y = x - x.mean(), y - y.mean()
    length = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / length) if length > 0 else 0.0


def tint_residual(unguided: Array, guided: Array) -> float:
    """How much of a picture a color filter over another one cannot explain.

    Args:
        unguided: The picture without guidance, (height, width, 3).
        guided: The picture with it, of the same shape.

    Returns:
        Share of the guided picture's variance, over all channels, that is left after the
        best gain and offset per channel: 0 is a pure tint, 1 an unrelated picture.
    """
    left = total = 0.0
    for channel in range(3):
        x, y = unguided[..., channel].ravel(), guided[..., channel].ravel()
        variance = float(((y - y.mean()) ** 2).sum())
        left += variance * (1 - pearson(x, y) ** 2)
        total += variance
    return left / total if total > 0 else 0.0


def lightness_range(picture: Image.Image) -> float:
    """From the 2nd to the 98th percentile of CIELAB lightness."""
    low, high = np.percentile(lab_from_srgb(pixels(picture))[..., 0], [2, 98])
    return float(high - low)


def mean_lab(picture: Image.Image) -> Any:
    """CIELAB of the mean sRGB color of a picture."""
    return lab_from_srgb(pixels(picture).mean(axis=(0, 1)))
