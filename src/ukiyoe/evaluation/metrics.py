"""Measures as pure maths: arrays and pictures in, numbers out, no networks."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.color import lab_from_srgb
from ukiyoe.errors import InvalidInput

Array = NDArray[np.float64]

COPY_RATIO = 1 / 3  # nearest over second nearest distance below which it is a copy (2310.02664)


def kid(x: Array, y: Array) -> float:
    """Kernel Inception Distance: squared MMD between two sets of features.

    Unbiased, so two samples of one distribution give 0 on average and may fall below it.

    Args:
        x: Features of one set, (pictures, dimensions).
        y: Features of the other set.

    Returns:
        The distance, with the kernel (x·y / dimensions + 1)^3.

    Source:
        Bińkowski et al. 2018, "Demystifying MMD GANs", section 4; Gretton et al. 2012, eq. 3.
    """
    _check_sets(x, y)
    within_x, within_y, between = (_kernel(a, b) for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    # Gretton et al. 2012, eq. 3: no picture is compared with itself.
    return float(
        (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
        + (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
        - 2 * between.mean()
    )


def kid_subsets(
    x: Array, y: Array, subsets: int = 100, size: int = 100, seed: int = 0
) -> tuple[float, float]:
    """KID with its spread over random subsets.

    Args:
        x: Features of one set, (pictures, dimensions).
        y: Features of the other set.
        subsets: How many times to draw.
        size: Pictures drawn from each set, without replacement.
        seed: Decides the draws.

    Returns:
        Mean and standard deviation over the subsets.
    """
    values = [kid(x[i], y[j]) for i, j in subset_indices(len(x), len(y), subsets, size, seed)]
    return float(np.mean(values)), float(np.std(values))


def subset_indices(
    n: int, m: int, subsets: int, size: int, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Which pictures of two sets each random subset holds, so that others can check a KID.

    Args:
        n: Pictures in the first set.
        m: Pictures in the second set.
        subsets: How many times to draw.
        size: Pictures drawn from each set, without replacement.
        seed: Decides the draws.

    Returns:
        A pair of index arrays per subset.

    Raises:
        InvalidInput: If there is no subset to draw, or it is larger than a set.
    """
    if subsets < 1:
        raise InvalidInput(f"subsets: expected at least 1, got {subsets}.")
    if not 2 <= size <= min(n, m):
        raise InvalidInput(f"size: expected 2 to {min(n, m)} pictures, got {size}.")
    generator = np.random.default_rng(seed)
    return [
        (generator.choice(n, size, replace=False), generator.choice(m, size, replace=False))
        for _ in range(subsets)
    ]


def copy_ratios(generated: Array, training: Array) -> Array:
    """How much nearer each picture is to one training print than to every other.

    Args:
        generated: Features of the pictures, (pictures, dimensions).
        training: Features of the training prints, one row a print.

    Returns:
        Distance to the nearest print over that to the second nearest, 0 to 1. A picture at
        distance 0 from two prints (the same print twice) gets 1: the ratio cannot tell.

    Raises:
        InvalidInput: If there are fewer than two training prints.
    """
    if len(training) < 2:
        raise InvalidInput(f"training: expected at least 2 prints, got {len(training)}.")
    # Two passes: the expanded square finds the neighbors, the difference measures them exactly.
    squares = (training**2).sum(axis=1) - 2 * generated @ training.T
    nearest = np.argpartition(squares, 1, axis=1)[:, :2]
    distances = np.linalg.norm(generated[:, None, :] - training[nearest], axis=2)
    distances.sort(axis=1)
    second = distances[:, 1]
    ratios: Array = np.divide(distances[:, 0], second, out=np.ones_like(second), where=second > 0)
    return ratios


def near_copies(generated: Array, training: Array) -> NDArray[np.bool_]:
    """Which pictures look copied from one training print.

    Args:
        generated: Features of the pictures, (pictures, dimensions).
        training: Features of the training prints, one row a print.

    Returns:
        True where the nearest print is nearer than `COPY_RATIO` of the second nearest.

    Source:
        arXiv 2310.02664.
    """
    copies: NDArray[np.bool_] = copy_ratios(generated, training) < COPY_RATIO
    return copies


def near_copy_share(generated: Array, training: Array) -> float:
    """Share of pictures that `near_copies` names."""
    return float(near_copies(generated, training).mean())


def pearson(a: Array, b: Array) -> float:
    """Correlation of two arrays of one shape.

    Args:
        a: Any numbers.
        b: As many.

    Returns:
        -1 to 1; 0 if one of them is constant, which correlates with nothing.

    Raises:
        InvalidInput: If the shapes differ.
    """
    if a.shape != b.shape:
        raise InvalidInput(f"pearson: expected one shape, got {a.shape} and {b.shape}.")
    x, y = a - a.mean(), b - b.mean()
    norms = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / norms if norms > 1e-12 else 0.0


def luminance(picture: Image.Image, size: tuple[int, int] = (32, 48)) -> Array:
    """The composition of a picture: light and dark, small.

    Args:
        picture: Any picture.
        size: Width and height to resize to, with antialiasing.

    Returns:
        Rec. 601 luma in [0, 1], row by row, (height * width,).
    """
    small = picture.convert("RGB").convert("L").resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.float64).ravel() / 255


def pixels(picture: Image.Image) -> Array:
    """A picture's sRGB values, (height, width, 3) in [0, 1]."""
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def mean_color(picture: Image.Image) -> Array:
    """Mean of a picture's sRGB values as they are (not linear), (3,) in [0, 1]."""
    mean: Array = pixels(picture).reshape(-1, 3).mean(axis=0)
    return mean


def mean_lab(picture: Image.Image) -> Array:
    """CIELAB of a picture's mean color."""
    return lab_from_srgb(mean_color(picture))


def tint_residual(unguided: Array, guided: Array) -> float:
    """Share of the guided picture that no tint of the unguided one explains.

    Fits guided = gain · unguided + offset for each sRGB channel by least squares. Overlays of
    a flat color, curves as straight lines, and white balance are all such a fit and leave 0.

    Args:
        unguided: Pixels of the picture before, (height, width, 3).
        guided: Pixels of the picture of the same seed and size after.

    Returns:
        1 - R², residual over variance, each summed over the channels first so that a nearly
        flat channel counts little; 0 is a pure tint, 1 is unrelated. A flat guided picture
        gets 0: any picture tints to it with gain 0.

    Raises:
        InvalidInput: If the sizes differ.
    """
    if unguided.shape != guided.shape:
        raise InvalidInput(
            f"guided: expected {unguided.shape} as the unguided picture, got {guided.shape}."
        )
    x, y = (picture.reshape(-1, 3) for picture in (unguided, guided))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = (x**2).sum(axis=0)
    gain = np.divide((x * y).sum(axis=0), spread, out=np.zeros(3), where=spread > 1e-12)
    variance = float((y**2).sum())
    return float(((y - gain * x) ** 2).sum()) / variance if variance > 1e-12 else 0.0


def lightness_range(picture: Image.Image) -> float:
    """Contrast of a picture: 2nd to 98th percentile of CIELAB L*, 0 to 100."""
    low, high = np.percentile(lab_from_srgb(pixels(picture))[..., 0], (2, 98))
    return float(high - low)


def standard_error(values: Array) -> float:
    """Standard error of a mean: how far it would move with other pictures."""
    return float(np.std(values) / np.sqrt(len(values)))


def share_error(hits: int, count: int) -> float:
    """Standard error of a share that is not 0 where all or none hit.

    Args:
        hits: How many did.
        count: Of how many.

    Returns:
        The error, of the share with two hits and two misses added.

    Source:
        Agresti & Coull 1998, "Approximate is better than exact".
    """
    share = (hits + 2) / (count + 4)
    return float(np.sqrt(share * (1 - share) / (count + 4)))


def _kernel(a: Array, b: Array) -> Array:
    values: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return values


def _check_sets(x: Array, y: Array) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InvalidInput(f"kid: expected two sets of one dimension, got {x.shape}, {y.shape}.")
    if min(len(x), len(y)) < 2:
        raise InvalidInput(f"kid: expected at least 2 pictures a set, got {len(x)} and {len(y)}.")
