"""Pictures decoded once: crops as raw bytes in one file a shape, mapped into memory when used.

A folder of the cache is named after the content of the pictures and how they were cut, so a
renamed file costs nothing and a changed one is noticed. What does not fit into memory stays on
the disk.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from ukiyoe.errors import InvalidInput
from ukiyoe.training.data import Bucket, Print, cut_prints

FORMAT = 1  # raise when the same pictures would be cut otherwise


def cache_folder() -> Path:
    """Where decoded pictures are kept: ``~/.cache/ukiyoe``, or under ``XDG_CACHE_HOME``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "ukiyoe"


def cached_buckets(
    folder: Path,
    prints: list[Print],
    contents: list[str],
    sizes: dict[str, tuple[int, int]],
    jitter: float,
    progress: Callable[[list[Print]], Iterable[Print]] = iter,
) -> dict[str, Bucket]:
    """The buckets of some prints, decoded now or on an earlier day.

    Args:
        folder: The cache.
        prints: The prints.
        contents: A digest of each print's pixels.
        sizes: Height and width of a training picture per orientation.
        jitter: How much larger than that the kept crops are.
        progress: Wraps the prints while they are decoded.

    Returns:
        A bucket per orientation that has any crop; its pixels are mapped, not read.

    Raises:
        InvalidInput: If the cache cannot be written.
    """
    what = json.dumps([FORMAT, contents, sizes, jitter], sort_keys=True)
    place = folder / hashlib.sha256(what.encode()).hexdigest()[:24]
    if not place.is_dir():
        part = folder / f".{place.name}.{os.getpid()}"
        try:
            part.mkdir(parents=True)
            _write(part, cut_prints(list(progress(prints)), sizes, jitter))
            if not place.is_dir():
                part.rename(place)
        except OSError as error:
            raise InvalidInput(
                f"cache: cannot write {folder} ({error.strerror}); free some space, or set "
                "XDG_CACHE_HOME to another place."
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _read(place, sizes)


def _write(folder: Path, cuts: Iterable[tuple[str, int, NDArray[np.uint8]]]) -> None:
    sources: dict[str, list[int]] = {}
    shapes: dict[str, list[int]] = {}
    files: dict[str, BinaryIO] = {}
    with ExitStack() as stack:
        for name, index, crop in cuts:
            if name not in files:
                files[name] = stack.enter_context((folder / f"{name}.u8").open("wb"))
                sources[name], shapes[name] = [], [3, *crop.shape[:2]]
            files[name].write(crop.transpose(2, 0, 1).tobytes())
            sources[name].append(index)
    (folder / "index.json").write_text(json.dumps({"sources": sources, "shapes": shapes}))


def _read(folder: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, Bucket]:
    try:
        index = json.loads((folder / "index.json").read_text())
        buckets = {}
        for name in (name for name in sizes if name in index["sources"]):
            numbers = index["sources"][name]
            shape = (len(numbers), *index["shapes"][name])
            # Copy-on-write, because PyTorch warns of tensors that cannot be written to.
            mapped = np.memmap(folder / f"{name}.u8", np.uint8, "c", shape=shape)
            buckets[name] = Bucket(torch.from_numpy(mapped), numbers, sizes[name])
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"cache: {folder} is broken; delete it and run again.") from error
    return buckets
