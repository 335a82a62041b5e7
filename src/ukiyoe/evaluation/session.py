"""Every picture made once, every print looked at once, for all the measures to share."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.evaluation.effects import GuideWish
from ukiyoe.evaluation.networks import Network
from ukiyoe.evaluation.result import Gallery, Measure, Plot
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.settings import DEFAULTS

Features = NDArray[np.float64]
Pictures = list[Image.Image]
Part = tuple[list[Measure], list[Plot], list[Gallery]]
"""What one part of an evaluation found."""

BATCH = 16  # pictures denoised together; a picture is the same in any batch
LOOK = 32  # prints held in memory at a time
UNGUIDED = GuideWish()


@dataclass(frozen=True)
class Prints(Sequence[Image.Image]):
    """Real pictures, opened when they are looked at.

    Attributes:
        size: How many.
        open: The k-th.
        tags: What each shows, in words; empty if nobody wrote it down.
    """

    size: int
    open: Callable[[int], Image.Image]
    tags: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        """How many."""
        return self.size

    def __getitem__(self, index: Any) -> Any:
        """The picture at an index; of a slice, those pictures."""
        if isinstance(index, slice):
            return [self.open(i) for i in range(*index.indices(self.size))]
        if not 0 <= index < self.size:
            raise IndexError(index)
        return self.open(index)


@dataclass(frozen=True)
class EvaluationData:
    """Real pictures to compare with.

    Attributes:
        name: What to call them.
        reference: What pictures should look like: prints kept out of training, or all there are.
        training: What the model may have copied.
        training_crops: The same, cut to the shape of the pictures.
        reference_crops: The reference cut so; None if it was not kept out of training.
    """

    name: str
    reference: Prints
    training: Prints
    training_crops: Prints
    reference_crops: Prints | None


class Session:
    """Makes every picture and looks at every print once."""

    def __init__(
        self,
        pipe: UkiyoePipeline,
        data: EvaluationData,
        network: Network,
        progress: Callable[[Iterable[Any], str], Iterable[Any]],
        keep: Callable[[str, Features], object],
    ) -> None:
        self.pipe, self.data, self.network = pipe, data, network
        self.progress, self.keep = progress, keep
        self.seconds: dict[str, list[float]] = {}
        self._made: dict[tuple[Any, ...], Image.Image] = {}
        self._seen: dict[str, Features] = {}
        height, width = pipe.model.sizes[pipe.model.default_orientation]
        self.small = width, height  # what the U-Net itself makes

    def make(
        self,
        seeds: Iterable[int],
        wish: GuideWish = UNGUIDED,
        scale: float = DEFAULTS.text_scale,
        **sampling: Any,
    ) -> Pictures:
        """Pictures of a wish, each made once however often it is asked for."""
        wanted = list(seeds)
        key = wish, scale if wish.name else 0.0, tuple(sorted(sampling.items()))
        missing = [seed for seed in wanted if (key, seed) not in self._made]
        starts = range(0, len(missing), BATCH)
        for start in self.progress(starts, wish.name or "unguided") if missing else ():
            batch = missing[start : start + BATCH]
            begun = time.perf_counter()
            output = self.pipe(
                prompt=wish.prompt,
                color=wish.color,
                text_scale=scale,
                color_scale=scale,
                seeds=batch,
                batch_size=BATCH,
                **sampling,
            )
            if not sampling:
                spent = (time.perf_counter() - begun) / len(batch)
                self.seconds.setdefault(wish.kind if wish.name else "unguided", []).append(spent)
            for seed, image in zip(batch, output.images, strict=True):
                self._made[key, seed] = image
        return [self._made[key, seed] for seed in wanted]

    def look(self, name: str, pictures: Sequence[Image.Image], small: bool = False) -> Features:
        """Features of pictures, each looked at once; ``small`` shrinks them first."""
        if name not in self._seen:
            found = []
            for start in self.progress(range(0, len(pictures), LOOK), f"looking at {name}"):
                group = list(pictures[start : start + LOOK])
                if small:
                    group = [p.convert("RGB").resize(self.small, Image.BICUBIC) for p in group]
                found.append(self.network(group))
            self._seen[name] = np.concatenate(found)
        return self._seen[name]

    def reference(self) -> Features:
        """Features of what pictures should look like."""
        return self.look("reference prints", self.data.reference)

    def training(self) -> Features:
        """Features of what may have been copied, whole."""
        if self.data.reference_crops is None:
            return self.reference()
        return self.look("training prints", self.data.training)
