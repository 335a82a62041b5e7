"""Neighbors in feature space: how real, how varied, how new pictures are."""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from ukiyoe.errors import InvalidInput, MissingExtra

Array = NDArray[np.float64]

NEIGHBORS = 5  # k of Naeem et al. 2020
HALVES = 20


@dataclass(frozen=True)
class Prdc:
    """Fidelity and variety, each 0 (none) to 1; density may exceed 1.

    Attributes:
        precision: Share of pictures within reach of a real one.
        recall: Share of real pictures within reach of a made one.
        density: How many real pictures' reach a made one lies in, over k.
        coverage: Share of real pictures with a made one within their reach.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Array, made: Array, neighbors: int = NEIGHBORS) -> Prdc:
    """Improved precision and recall, density and coverage.

    Args:
        real: Features of real pictures, (pictures, dimensions).
        made: Features of made pictures.
        neighbors: A picture reaches as far as its k-th nearest neighbor in its own set.

    Returns:
        The four numbers.

    Raises:
        InvalidInput: If a set has no k-th neighbor.

    Source:
        Kynkäänniemi et al. 2019 (arXiv 1904.06991), eqs. 1-3; Naeem et al. 2020
        (arXiv 2002.09797), eqs. 3-4.
    """
    fewest = min(len(real), len(made))
    if not 1 <= neighbors < fewest:
        raise InvalidInput(
            f"neighbors: expected 1 to {fewest - 1} for these sets, got {neighbors}."
        )
    reach_real, reach_made = _reach(real, neighbors), _reach(made, neighbors)
    between = distances(real, made)
    within_real = between < reach_real[:, None]
    within_made = between < reach_made[None, :]
    return Prdc(
        precision=float(within_real.any(axis=0).mean()),
        recall=float(within_made.any(axis=1).mean()),
        density=float(within_real.sum(axis=0).mean() / neighbors),
        coverage=float((between.min(axis=1) < reach_real).mean()),
    )


def prdc_spread(real: Array, made: Array, neighbors: int = NEIGHBORS, seed: int = 0) -> Prdc:
    """Standard deviation of each of the four numbers over random halves of both sets.

    Args:
        real: Features of real pictures, (pictures, dimensions).
        made: Features of made pictures.
        neighbors: As for `prdc`.
        seed: Decides the halves.

    Returns:
        Four standard deviations; halves are smaller than the whole, so these err upward.
    """
    generator = np.random.default_rng(seed)
    sizes = len(real) // 2, len(made) // 2
    found = [
        astuple(
            prdc(
                real[generator.choice(len(real), sizes[0], False)],
                made[generator.choice(len(made), sizes[1], False)],
                neighbors,
            )
        )
        for _ in range(HALVES)
    ]
    return Prdc(*(float(deviation) for deviation in np.std(found, axis=0)))


def nearest(made: Array, training: Array) -> NDArray[np.int64]:
    """The training print nearest to each made picture, as an index."""
    index: NDArray[np.int64] = distances(made, training).argmin(axis=1)
    return index


def distances(x: Array, y: Array) -> Array:
    """Euclidean distances of all pairs.

    Args:
        x: Features of one set, (pictures, dimensions).
        y: Features of the other set.

    Returns:
        A row per picture of the first set. Each is summed from differences, not from the
        expanded square, whose rounding depends on what else is in the set.

    Raises:
        MissingExtra: If scipy is not installed.
    """
    try:
        from scipy.spatial.distance import cdist  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtra(
            "evaluate: scipy is not installed; run pip install 'ukiyoe[eval]'."
        ) from error
    found: Array = cdist(x, y)
    return found


def _reach(x: Array, neighbors: int) -> Array:
    """Distance of every picture to its k-th nearest neighbor; it is its own zeroth."""
    reach: Array = np.partition(distances(x, x), neighbors, axis=1)[:, neighbors]
    return reach
