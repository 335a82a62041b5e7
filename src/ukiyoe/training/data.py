"""Prints on disk -> uint8 tensors in aspect buckets, ready to be cropped.

A folder holds pictures and a ``labels.jsonl`` (one JSON object a line with at
least ``file``; ``split``, ``aspect``, ``squashed``, ``caption`` and ``tags`` are
used when present). Prints are never squeezed: each goes to the bucket of its
own shape, and prints much longer than their bucket give several crops.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ukiyoe.errors import InvalidInput
from ukiyoe.images import upright

# Height over width of what the print really was, for files their source squeezed to a square.
UNSQUASHED = {
    "portrait": 3 / 2,
    "landscape": 2 / 3,
    "square": 1.0,
    "tall": 2.0,
    "wide": 1 / 2,
    "fan": 3 / 4,
}
MARGIN = 0.03  # of scans: album edges, rulers and scanner borders
JITTER = 9 / 8  # pictures are kept this much larger than their crop
# Long prints (triptychs, pillar prints) are cut at these positions along the long side.
LONG_CROPS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Print:
    """One print on disk.

    Attributes:
        path: The file.
        split: "train" or "val".
        aspect: What the print really is: a key of `UNSQUASHED`.
        squashed: Whether its source squeezed it to a square.
        caption: What it shows, in a sentence.
        tags: What it shows, in words.
        colors: Its main colors, in words.
        large: A larger file of the same print.
        margin: Share of each side to cut off.
    """

    path: Path
    split: str = "train"
    aspect: str = ""
    squashed: bool = False
    caption: str = ""
    tags: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    large: Path | None = None
    margin: float = 0.0


@dataclass(frozen=True)
class Bucket:
    """All crops of one orientation.

    Attributes:
        pixels: Crops, a little larger than a training picture (`JITTER`).
        prints: The print each crop came from, as an index into the print list.
        size: Height and width in pixels of the pictures drawn from it.
    """

    pixels: UInt8[Tensor, " count 3 height width"]
    prints: list[int] = field(repr=False)
    size: tuple[int, int]


def read_labels(folder: Path, split: str | None = None, unnamed: str = "train") -> list[Print]:
    """List the prints of a labelled folder.

    Args:
        folder: A folder with ``labels.jsonl``.
        split: Keep only this split ("train" or "val"); None keeps all.
        unnamed: The split of lines that name none.

    Returns:
        The prints, in the order of the file.

    Raises:
        InvalidInput: If there is no ``labels.jsonl``, or it is broken, or it lists nothing for the
            split.
    """
    labels = Path(folder) / "labels.jsonl"
    if not labels.is_file():
        raise InvalidInput(f"data: expected a folder with labels.jsonl, got {folder}.")
    prints = []
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            row["file"]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput(
                f'data: line {number} of {labels} is not a JSON object with a "file".'
            ) from error
        if split is None or row.get("split", unnamed) == split:
            prints.append(
                Print(
                    path=Path(folder) / row["file"],
                    split=row.get("split", unnamed),
                    aspect=row.get("aspect", ""),
                    squashed=row.get("squashed", False),
                    caption=row.get("caption", ""),
                    tags=tuple(row.get("tags", ())),
                    colors=tuple(row.get("colors", ())),
                    large=Path(folder) / row["large"] if row.get("large") else None,
                    margin=MARGIN,
                )
            )
    if not prints:
        raise InvalidInput(f"data: {labels} lists no print of split {split!r}.")
    return prints


def open_print(item: Print) -> Image.Image:
    """Open a print, upright, stretched back to its real shape, scanner margins cut.

    Args:
        item: The print.

    Returns:
        An RGB picture.
    """
    with Image.open(item.path) as file:
        picture = upright(file)
    if item.squashed:
        ratio = UNSQUASHED.get(item.aspect, 1.0)
        width, height = picture.size
        if ratio >= 1:
            height = round(width * ratio)
        else:
            width = round(height / ratio)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    width, height = picture.size
    x, y = round(width * item.margin), round(height * item.margin)
    return picture.crop((x, y, width - x, height - y))


def orientation_of(width: int, height: int) -> str:
    """The bucket whose shape is nearest to this one: portrait, landscape or square."""
    if height > 1.2 * width:
        return "portrait"
    return "landscape" if width > 1.2 * height else "square"


def crops(picture: Image.Image, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Cut a picture to a shape: one centered crop, or several along a long side.

    Args:
        picture: Any picture.
        size: Height and width in pixels of the crops.

    Yields:
        Crops of exactly that size, resized with antialiasing.
    """
    height, width = size
    scale = max(width / picture.width, height / picture.height)
    excess = max(picture.width * scale / width, picture.height * scale / height)
    for position in LONG_CROPS if excess > 1.3 else (0.5,):
        box_width, box_height = width / scale, height / scale
        left = max(0.0, picture.width - box_width) * position
        top = max(0.0, picture.height - box_height) * position
        right = min(picture.width, left + box_width)  # rounding may overshoot by an ulp
        box = (left, top, right, min(picture.height, top + box_height))
        yield picture.resize((width, height), Image.Resampling.LANCZOS, box=box)


def cut_prints(
    prints: list[Print], sizes: dict[str, tuple[int, int]], jitter: float = JITTER
) -> Iterator[tuple[str, int, UInt8[np.ndarray, " height width 3"]]]:
    """Decode prints and cut them to the shapes of a model.

    The square bucket also takes square cuts of the other prints: few prints
    are square, and a cut of a print is still a print. A model of one shape gets
    every print in it.

    Args:
        prints: The prints.
        sizes: Height and width of a training picture per orientation.
        jitter: How much larger than that the kept crops are.

    Yields:
        Bucket, number of the print, and the crop.
    """
    for index, item in enumerate(prints):
        picture = open_print(item)
        names = {orientation_of(*picture.size), "square"} & set(sizes)
        for name in sorted(names) if len(sizes) > 1 else sizes:
            height, width = sizes[name]
            for crop in crops(picture, (round(height * jitter), round(width * jitter))):
                yield name, index, np.asarray(crop)


def load_buckets(
    prints: list[Print], sizes: dict[str, tuple[int, int]], jitter: float = JITTER
) -> dict[str, Bucket]:
    """Decode prints into memory, one bucket per orientation (see `cut_prints`).

    Args:
        prints: The prints.
        sizes: Height and width of a training picture per orientation.
        jitter: How much larger than that the kept crops are.

    Returns:
        A bucket per orientation that has any crop.
    """
    pixels: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    sources: dict[str, list[int]] = {name: [] for name in sizes}
    for name, index, crop in cut_prints(prints, sizes, jitter):
        pixels[name].append(crop)
        sources[name].append(index)
    return {
        name: Bucket(
            torch.from_numpy(np.stack(pixels[name])).permute(0, 3, 1, 2).contiguous(),
            sources[name],
            sizes[name],
        )
        for name in sizes
        if pixels[name]
    }


def draw(
    bucket: Bucket, indices: Tensor, generator: torch.Generator
) -> Float[Tensor, " batch 3 height width"]:
    """Randomly shifted crops of some pictures of a bucket.

    Args:
        bucket: Where to draw from.
        indices: Which crops, one per picture wanted.
        generator: Decides the shifts.

    Returns:
        Pictures in [-1, 1].
    """
    height, width = bucket.size
    room = bucket.pixels.shape[-2] - height + 1, bucket.pixels.shape[-1] - width + 1
    tops = torch.randint(room[0], indices.shape, generator=generator).tolist()
    lefts = torch.randint(room[1], indices.shape, generator=generator).tolist()
    chosen = [
        bucket.pixels[i, :, top : top + height, left : left + width]
        for i, top, left in zip(indices.tolist(), tops, lefts, strict=True)
    ]
    return torch.stack(chosen).float() / 127.5 - 1
