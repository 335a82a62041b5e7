"""Fréchet distance of two sets of features, with its bias measured beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ukiyoe.errors import InvalidInput

Array = NDArray[np.float64]

HALVES = 8  # random halves; their mean estimates the bias, their spread the error


@dataclass(frozen=True)
class Fid:
    """A Fréchet distance and how far to trust it.

    Attributes:
        value: The distance of all pictures.
        spread: Standard deviation over random halves of the pictures.
        bias: How much of the value more pictures would take away. The bias falls as 1 / N
            (Chong & Forsyth 2020), so halves have twice that of the whole.
    """

    value: float
    spread: float
    bias: float


def frechet_distance(x: Array, y: Array) -> float:
    """Squared Wasserstein-2 distance of the normal distributions fitted to two sets.

    Args:
        x: Features of one set, (pictures, dimensions).
        y: Features of the other set.

    Returns:
        |mean difference|^2 + tr(S_x) + tr(S_y) - 2 tr((S_x S_y)^(1/2)); the FID if the
        features are Inception's.

    Raises:
        InvalidInput: If a set has fewer than two pictures, or the dimensions differ.

    Source:
        Heusel et al. 2017 (arXiv 1706.08500), eq. 6.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InvalidInput(f"fid: expected two sets of one dimension, got {x.shape}, {y.shape}.")
    if min(len(x), len(y)) < 2:
        raise InvalidInput(f"fid: expected at least 2 pictures a set, got {len(x)} and {len(y)}.")
    a, b = _root(x), _root(y)
    # S_x = a'a and S_y = b'b, so S_x S_y has the eigenvalues of (a b')(a b')' and the trace of
    # its root is the sum of the singular values of a b': small, and real without rounding.
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return float(means + (a**2).sum() + (b**2).sum() - 2 * cross)


def fid(generated: Array, reference: Array, seed: int = 0) -> Fid:
    """Fréchet distance to a reference, with spread and bias.

    Args:
        generated: Features of the pictures, (pictures, dimensions); at least 4.
        reference: Features of real pictures.
        seed: Decides the halves.

    Returns:
        The distance of all pictures, and what their random halves say about it.

    Raises:
        InvalidInput: If there are fewer than 4 pictures.
    """
    if len(generated) < 4:
        raise InvalidInput(f"fid: expected at least 4 pictures, got {len(generated)}.")
    value = frechet_distance(generated, reference)
    generator = np.random.default_rng(seed)
    half = len(generated) // 2
    halves = [
        frechet_distance(generated[generator.choice(len(generated), half, False)], reference)
        for _ in range(HALVES)
    ]
    return Fid(value, float(np.std(halves)), float(np.mean(halves)) - value)


def _root(x: Array) -> Array:
    """A matrix r with r'r = the covariance of x, no taller than it is wide."""
    centered: Array = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    if len(centered) <= centered.shape[1]:
        return centered
    return np.asarray(np.linalg.qr(centered, mode="r"))
