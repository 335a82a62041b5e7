"""Any folder of pictures -> prints that open, without doubles, split for training.

Doubles go BEFORE the split: a print that is in both halves would let a model be praised for
what it memorized.
"""

import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.errors import InvalidInput, MissingExtra
from ukiyoe.training.data import Print, open_print, orientation_of, read_labels

SMALLEST = 32  # px; a shorter side shows nothing to learn from
HASH_SIDE = 16  # a perceptual hash has the square of this many bits
# Two pictures are one print if at most so many of the 256 bits differ, and their 8x8 thumbnails
# by so many of 255 levels on average. Measured on 900 different prints: the nearest two differ in
# 64 bits; a print differs from itself in 2 (JPEG at quality 30), 28 (turned by 1 degree), 30 and
# 52 (1 and 2 % cut off each side) or fewer, 9 times of 10, and by up to 28 levels (15 % brighter).
NEAR_BITS = 56
NEAR_LEVELS = 28.0
CAPTION_COLUMNS = ("caption", "text", "title")


@dataclass(frozen=True)
class Look:
    """What one decoded picture is like.

    Attributes:
        size: Width and height in pixels, upright.
        content: SHA-256 of its pixels.
        bits: Its perceptual hash.
        thumbnail: 8x8 RGB.
    """

    size: tuple[int, int]
    content: str
    bits: NDArray[np.bool_]
    thumbnail: NDArray[np.float32]


@dataclass(frozen=True)
class Survey:
    """What is in a folder.

    Attributes:
        prints: What to train and validate on.
        looks: How each of them looks, in the same order.
        skipped: Files that are no use, with the reason.
        doubles: Files left out, with the print each repeats.
    """

    prints: list[Print]
    looks: list[Look]
    skipped: list[tuple[Path, str]]
    doubles: list[tuple[Path, Path]]

    def report(self) -> str:
        """Counts, shapes, sizes, and every file that was left out, as lines of text."""
        shapes = Counter(orientation_of(*look.size) for look in self.looks)
        splits = Counter(item.split for item in self.prints)
        short = sorted(min(look.size) for look in self.looks)
        lines = [
            f"pictures: {len(self.prints)} ({_counts(splits)})",
            f"shapes: {_counts(shapes)}",
            f"shorter side: {short[0]} to {short[-1]} px, half of them {short[len(short) // 2]} "
            "or more",
            f"captions: {sum(bool(item.caption) for item in self.prints)}",
            f"doubles left out: {len(self.doubles)}",
            *(f"  {path} repeats {kept}" for path, kept in self.doubles),
            f"skipped: {len(self.skipped)}",
            *(f"  {path}: {reason}" for path, reason in self.skipped),
        ]
        return "\n".join(lines)


def survey(
    folder: Path, validation_share: float = 0.1, progress: Any = lambda items: items
) -> Survey:
    """Look at every picture under a folder.

    Args:
        folder: Pictures, nested as they like. A ``labels.jsonl`` (see `data.read_labels`) or a
            ``metadata.csv`` (``file_name`` and ``caption`` or ``text``) may describe them.
        validation_share: Share of prints kept out of training, for those whose labels name no
            split; chosen by content, so that it stays when pictures are added.
        progress: Wraps the list of files while they are read, for a progress bar.

    Returns:
        The prints that opened, each once.

    Raises:
        InvalidInput: If there is no usable picture.
    """
    if not folder.is_dir():
        raise InvalidInput(f"data: expected a folder of pictures, got {folder}.")
    if not 0 <= validation_share < 1:
        raise InvalidInput(f"validation_share: expected 0 to below 1, got {validation_share}.")
    found: list[Print] = []
    looks: list[Look] = []
    skipped: list[tuple[Path, str]] = []
    for item in progress(_list(folder)):
        try:
            look = _look(item)
        except _Unusable as reason:
            skipped.append((item.path, str(reason)))
            continue
        found.append(item)
        looks.append(look)
    kept, doubles = _without_doubles(looks)
    if not kept:
        raise InvalidInput(
            f"data: no usable picture in {folder}; {len(skipped)} files were skipped"
            + (f", the first because it is {skipped[0][1]}." if skipped else ".")
        )
    prints = _split([found[i] for i in kept], [looks[i] for i in kept], validation_share)
    return Survey(
        prints,
        [looks[i] for i in kept],
        skipped,
        [(found[double].path, found[first].path) for double, first in doubles],
    )


class _Unusable(Exception):
    """Why a file cannot be trained on."""


def _list(folder: Path) -> list[Print]:
    """Every file that could be a picture, with what is written about it."""
    if (folder / "labels.jsonl").is_file():
        return read_labels(folder, unnamed="")
    captions = _captions(folder / "metadata.csv")
    kinds = set(Image.registered_extensions())
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in kinds
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    named = [(path, path.relative_to(folder).as_posix()) for path in paths]
    return [Print(path, split="", caption=captions.get(name, "")) for path, name in named]


def _captions(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"data: {table} is not a readable CSV table.") from error
    if rows and "file_name" not in rows[0]:
        raise InvalidInput(f"data: {table} has no column file_name.")
    return {
        row["file_name"]: next((row[c] for c in CAPTION_COLUMNS if row.get(c)), "") for row in rows
    }


def _look(item: Print) -> Look:
    try:
        import imagehash  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtra(
            "data: imagehash is not installed; run pip install 'ukiyoe[train]'."
        ) from error
    try:
        with warnings.catch_warnings(), Image.open(item.path) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if getattr(picture, "n_frames", 1) > 1:
                raise _Unusable(f"animated ({picture.n_frames} frames)")
            if min(picture.size) < SMALLEST:
                raise _Unusable("tiny ({}x{} px)".format(*picture.size))
            image = open_print(item)
    except _Unusable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Unusable("larger than any print") from error
    except Exception as error:  # PIL raises many kinds on broken files
        raise _Unusable(f"broken ({type(error).__name__})") from error
    content = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    bits = imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()
    thumbnail = image.resize((8, 8), Image.Resampling.BOX)
    return Look(image.size, content, bits, np.asarray(thumbnail, dtype=np.float32))


def _without_doubles(looks: list[Look]) -> tuple[list[int], list[tuple[int, int]]]:
    """Indices to keep, and pairs of a double and the picture it repeats.

    Of several, the one with most pixels stays; of equals, the first.
    """
    order = sorted(range(len(looks)), key=lambda i: -looks[i].size[0] * looks[i].size[1])
    kept: list[int] = []
    doubles: list[tuple[int, int]] = []
    width = HASH_SIDE**2
    bits = np.zeros((len(looks), width // 8), dtype=np.uint8)
    thumbnails = np.zeros((len(looks), 8, 8, 3), dtype=np.float32)
    for index in order:
        look, count = looks[index], len(kept)
        packed = np.packbits(look.bits)
        differing = np.bitwise_count(bits[:count] ^ packed).sum(axis=1)
        near = np.flatnonzero(differing <= NEAR_BITS)
        levels = np.abs(thumbnails[near] - look.thumbnail).mean(axis=(1, 2, 3))
        near = near[levels <= NEAR_LEVELS]
        if len(near):
            doubles.append((index, kept[near[0]]))
            continue
        bits[count], thumbnails[count] = packed, look.thumbnail
        kept.append(index)
    return sorted(kept), sorted(doubles)


def _split(prints: list[Print], looks: list[Look], share: float) -> list[Print]:
    """Name a split for every print that has none."""
    free = [i for i, item in enumerate(prints) if not item.split]
    free.sort(key=lambda i: looks[i].content)
    held_out = set(free[: round(share * len(free))])
    return [
        item if item.split else replace(item, split="val" if i in held_out else "train")
        for i, item in enumerate(prints)
    ]


def _counts(counter: Iterable[str] | Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(counter).most_common())
