"""The only place where PIL pictures meet float tensors in [-1, 1]."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from ukiyoe.errors import InvalidInput

PAPER = (243, 236, 220)  # washi
KEYLINE = (120, 104, 84)  # thin sumi line around a picture
SHEET_SIDE = 4000  # px; larger sheets are scaled down


def pil_from_tensor(images: Float[Tensor, " batch 3 height width"]) -> list[Image.Image]:
    """Turn pictures into PIL, rounding to the nearest of 256 levels.

    Args:
        images: Pictures in [-1, 1]; what overshoots is clamped.

    Returns:
        One RGB picture each.

    Raises:
        InvalidInput: If a value is not a number.
    """
    if not bool(torch.isfinite(images).all()):
        raise InvalidInput("images: expected finite values, got NaN or inf.")
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(array) for array in levels.permute(0, 2, 3, 1).cpu().numpy()]


def tensor_from_pil(pictures: Sequence[Image.Image]) -> Float[Tensor, " batch 3 height width"]:
    """Turn pictures of one size into a batch, whatever their mode.

    Args:
        pictures: Any PIL pictures; EXIF rotation is applied, transparency shows white.

    Returns:
        Pictures in [-1, 1].

    Raises:
        InvalidInput: If their sizes differ.
    """
    turned = [upright(picture) for picture in pictures]
    sizes = {picture.size for picture in turned}
    if len(sizes) != 1:
        raise InvalidInput(f"pictures: expected one size for all, got {sorted(sizes)}.")
    stack = torch.from_numpy(np.stack([np.asarray(picture) for picture in turned]))
    return stack.permute(0, 3, 1, 2).float() / 127.5 - 1


def upright(picture: Image.Image) -> Image.Image:
    """Any picture as RGB: EXIF rotation applied, transparency on white, 8 bits a channel."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits and more
        values = np.asarray(picture, dtype=np.float64)
        top = 65535 if picture.mode != "F" else max(float(values.max()), 1e-9)
        picture = Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def resize(
    images: Float[Tensor, " batch 3 height width"], height: int, width: int
) -> Float[Tensor, " batch 3 rows columns"]:
    """Resize with antialiasing (bicubic); may overshoot a little."""
    size = (height, width)
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Lay pictures out on washi paper, in reading order.

    Args:
        pictures: One or more, of any sizes.

    Returns:
        A sheet as near to a square as the pictures allow, at most `SHEET_SIDE` px a side.

    Raises:
        InvalidInput: If there is no picture.
    """
    if not pictures:
        raise InvalidInput("pictures: expected at least one, got none.")
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    columns = min(len(pictures), max(1, round(math.sqrt(len(pictures) * height / width))))
    if len(pictures) <= 4:
        columns = len(pictures)
    rows = math.ceil(len(pictures) / columns)
    gap = max(4, round(0.08 * min(width, height)))
    full = columns * (width + gap) + gap, rows * (height + gap) + gap
    scale = min(1.0, SHEET_SIDE / max(full))
    width, height, gap = (max(1, int(side * scale)) for side in (width, height, gap))
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), PAPER)
    for index, picture in enumerate(pictures):
        fitted = ImageOps.contain(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
        left = gap + index % columns * (width + gap) + (width - fitted.width) // 2
        top = gap + index // columns * (height + gap) + (height - fitted.height) // 2
        frame = (left - 1, top - 1, left + fitted.width + 1, top + fitted.height + 1)
        sheet.paste(KEYLINE, frame)
        sheet.paste(fitted, (left, top))
    return sheet
