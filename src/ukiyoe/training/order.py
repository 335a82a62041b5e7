"""Which pictures come when, and with what noise: pure functions of the seed and the step.

Nothing is drawn from a running generator, so a resumed run, and one that is spread over several
processes, sees exactly what one uninterrupted process would have seen.
"""

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ukiyoe.errors import InvalidInput
from ukiyoe.training.data import Bucket

# Square cuts of prints that are not square, as a share of those prints: a model of several shapes
# should not forget any.
SQUARE_CUTS = 0.1


def stream(*numbers: int | str) -> int:
    """A seed that belongs to these numbers alone.

    Args:
        *numbers: For example the run's seed, a step, and a place in the batch.

    Returns:
        0 to 2^63 - 1; the same on every machine.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(*numbers: int | str) -> torch.Generator:
    """A CPU generator seeded with `stream`."""
    return torch.Generator().manual_seed(stream(*numbers))


def quotas(buckets: dict[str, Bucket]) -> dict[str, int]:
    """How many crops of every bucket one round through the pictures takes.

    Args:
        buckets: All crops, by shape; the square bucket may hold cuts of every print.

    Returns:
        All of them, but only a few of the square cuts.
    """
    counts = {name: len(bucket.prints) for name, bucket in buckets.items()}
    elsewhere = {
        number for name, bucket in buckets.items() if name != "square" for number in bucket.prints
    }
    if elsewhere and "square" in buckets:
        own = sum(number not in elsewhere for number in buckets["square"].prints)
        counts["square"] = min(counts["square"], own + math.ceil(SQUARE_CUTS * len(elsewhere)))
    return counts


@lru_cache(maxsize=4)
def _round(
    sizes: tuple[tuple[str, int, int], ...], batch_size: int, seed: int, number: int
) -> list[tuple[str, Tensor]]:
    """The batches of one round, shuffled; a last batch is filled up from the round's start."""
    batches: list[tuple[str, Tensor]] = []
    for name, count, quota in sizes:
        order = torch.randperm(count, generator=generator_of(seed, "order", number, name))[:quota]
        full = math.ceil(quota / batch_size) * batch_size
        filled = order.repeat(math.ceil(full / quota))[:full]
        batches += [(name, part) for part in filled.split(batch_size)]
    turn = torch.randperm(len(batches), generator=generator_of(seed, "turn", number))
    return [batches[i] for i in turn.tolist()]


def batch_order(
    buckets: dict[str, Bucket], batch_size: int, seed: int
) -> tuple[Callable[[int], tuple[str, Tensor]], int]:
    """The order of all batches of a run.

    Args:
        buckets: All crops, by shape.
        batch_size: Crops a batch, all of one shape.
        seed: Decides the order.

    Returns:
        ``order(n)``: bucket and indices of the n-th batch, from 0 and without end; and how many
        batches one round through the pictures has.

    Raises:
        InvalidInput: If the batch size is not positive.
    """
    if batch_size < 1:
        raise InvalidInput(f"batch-size: expected a whole number from 1, got {batch_size}.")
    taken = quotas(buckets)
    sizes = tuple((name, len(bucket.prints), taken[name]) for name, bucket in buckets.items())
    length = sum(math.ceil(quota / batch_size) for _, _, quota in sizes)

    def order(number: int) -> tuple[str, Tensor]:
        rounds, place = divmod(number, length)
        return _round(sizes, batch_size, seed, rounds)[place]

    return order, length
