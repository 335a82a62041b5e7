"""Recipes -> a stream of frames: previews while the pictures form, then the pictures."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ukiyoe.images import pil_from_tensor, resize
from ukiyoe.model import Model
from ukiyoe.pipeline import UkiyoePipeline, split_batches
from ukiyoe.recipe import Recipe
from ukiyoe.sampling import SamplingStep
from ukiyoe.settings import BATCH_SIZE

PREVIEW_SIDE = 192  # px, longest side; the browser enlarges
PREVIEW_EVERY = 0.08  # seconds; more often than that nobody sees


@dataclass
class Pace:
    """How long things took lately, to tell the time left.

    Attributes:
        finish_seconds: Decoding and enlarging one picture, when last measured.
    """

    finish_seconds: float = 0.0


@dataclass(frozen=True)
class Frame:
    """One moment of a drawing.

    Attributes:
        step: Steps done, of all batches together.
        total: Steps there are.
        seconds_left: An estimate; None before there is one.
        previews: Of the batch in the making, its pictures as WebP, or () if unchanged.
        finished: A picture that was finished just now, with its recipe.
    """

    step: int
    total: int
    seconds_left: float | None
    previews: tuple[bytes, ...] = field(default=(), repr=False)
    finished: tuple[Recipe, Image.Image] | None = None


def draw(
    pipeline: UkiyoePipeline,
    recipes: Sequence[Recipe],
    stopped: Callable[[], bool],
    pace: Pace,
    finish: bool = True,
) -> Generator[Frame]:
    """Draw recipes, showing the estimate of x_0 on the way.

    Args:
        pipeline: What draws.
        recipes: Equal but for their seeds and variations.
        stopped: Asked after every step; True ends the drawing there.
        pace: Read for the time left, and kept up to date.
        finish: False for a first look only: previews, and no finished pictures.

    Yields:
        Frames; those with ``finished`` come once per picture, in order.
    """
    batches = split_batches([pipeline.recipe(recipe) for recipe in recipes], BATCH_SIZE)
    total = sum(batch[0].num_inference_steps for batch in batches)
    done, shown, waiting, spent = 0, 0.0, len(recipes) if finish else 0, 0.0
    for batch in batches:
        before = time.monotonic()
        for step in pipeline.sample(batch):
            now = time.monotonic()
            spent += now - before
            before = now
            done += 1
            left = spent / done * (total - done) + waiting * pace.finish_seconds
            due = now - shown >= PREVIEW_EVERY or done == total
            if due:
                shown = now
            yield Frame(done, total, left, preview(pipeline.model, step) if due else ())
            if stopped():
                return
            before = time.monotonic()
        for latent, recipe in zip(step.sample.split(1), batch if finish else (), strict=finish):
            before = time.monotonic()
            (picture,) = pil_from_tensor(pipeline.model.finish(latent))
            pace.finish_seconds = time.monotonic() - before
            waiting -= 1
            left = spent / done * (total - done) + waiting * pace.finish_seconds
            yield Frame(done, total, left, finished=(recipe, picture))
            if stopped():
                return


def preview(model: Model, step: SamplingStep) -> tuple[bytes, ...]:
    """The estimate of the clean pictures, small; no upscaler, so nearly free."""
    with torch.inference_mode():
        images = torch.nan_to_num(model.codec.decode(step.pred_original_sample)).clamp(-1, 1)
        return tuple(webp(picture) for picture in pil_from_tensor(_small(images)))


def webp(picture: Image.Image) -> bytes:
    """A picture as a small WebP, for the eye only."""
    stream = BytesIO()
    picture.save(stream, "WEBP", quality=80, method=0)
    return stream.getvalue()


def _small(
    images: Float[Tensor, " batch 3 height width"],
) -> Float[Tensor, " batch 3 rows columns"]:
    scale = PREVIEW_SIDE / max(images.shape[2:])
    if scale >= 1:
        return images
    return resize(images, round(images.shape[2] * scale), round(images.shape[3] * scale))
