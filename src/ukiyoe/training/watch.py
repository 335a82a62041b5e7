"""Seeing a model learn: sample grids from fixed seeds, validation loss, KID, near copies.

Everything goes into a folder: ``history.jsonl`` (a JSON object a line), ``grids/``, and
``tensorboard/`` if TensorBoard is installed. A resumed run cuts off what it will do again.
"""

import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.evaluation.metrics import kid_subsets, near_copy_share
from ukiyoe.images import contact_sheet, pil_from_tensor
from ukiyoe.model import Model
from ukiyoe.sampling import sample_steps
from ukiyoe.training.data import Print, crops, open_print, orientation_of
from ukiyoe.training.loop import Moment, MomentLoss, TrainingStep

GRID_SEEDS = tuple(range(8))
KID_PICTURES = 64
SAMPLING_STEPS, SOLVER = 25, "dpmsolver++"
SAMPLED_TOGETHER = 8
VALIDATION_BATCHES = 8
THUMBNAIL = 16  # px a side of what is compared when there is no feature network
LOG_EVERY = 10  # steps
HISTORY, GRIDS = "history.jsonl", "grids"

Describe = Callable[[Sequence[Image.Image]], NDArray[np.float64]]


@dataclass(frozen=True)
class Look:
    """What the averaged network is like at one step.

    Attributes:
        step: After how many optimizer steps.
        grid: File of the sample grid, inside the folder.
        validation_loss: Mean loss on held-out pictures, with the same noise every time.
        kid: KID of samples to the held-out pictures, if a feature network was given.
        kid_spread: Its standard deviation over subsets.
        copies: Share of samples much nearer to one training picture than to all others.
    """

    step: int
    grid: str
    validation_loss: float | None
    kid: float | None
    kid_spread: float | None
    copies: float | None


def thumbnails(pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
    """Pictures as small arrays of pixels: enough to find copies when there is no network."""
    size = (THUMBNAIL, THUMBNAIL)
    small = [picture.convert("RGB").resize(size, Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(p, dtype=np.float64).ravel() / 255 for p in small])


class Watch:
    """Looks at a network in training, and keeps what it saw."""

    def __init__(
        self,
        folder: Path,
        model: Model,
        train: list[Print],
        validation: list[Print],
        validation_loss: MomentLoss | None,
        features: Describe | None,
    ) -> None:
        """Open the folder.

        Args:
            folder: Where the history goes.
            model: Everything but the network in training.
            train: What it learns from.
            validation: What it must not see.
            validation_loss: Gives the loss of a batch of held-out pictures.
            features: Describes pictures for KID; None skips it.
        """
        self.folder = folder
        self._model, self._train, self._validation = model, train, validation
        self._validation_loss, self._features = validation_loss, features
        self._known: dict[str, NDArray[np.float64]] = {}
        self._recent: list[TrainingStep] = []
        self._board = _tensorboard(folder / "tensorboard")
        (folder / GRIDS).mkdir(parents=True, exist_ok=True)

    def resume(self, step: int) -> None:
        """Forget what came after this step: it will come again."""
        rows = [row for row in read_history(self.folder) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        part = self.folder / f".{HISTORY}"
        part.write_text(text)
        part.replace(self.folder / HISTORY)

    def note(self, step: TrainingStep) -> None:
        """Keep the loss and the learning rate of a step."""
        self._recent.append(step)
        if step.step % LOG_EVERY == 0:
            self.flush()

    def flush(self) -> None:
        """Write the mean of the steps since the last line."""
        if not self._recent:
            return
        last = self._recent[-1]
        loss = sum(step.loss for step in self._recent) / len(self._recent)
        self._recent = []
        self._write(
            {
                "step": last.step,
                "loss": loss,
                "share": last.share,
                "seconds": round(last.seconds, 2),
            }
        )
        if self._board:
            self._board.add_scalar("loss/train", loss, last.step)
            self._board.add_scalar("learning_rate/share", last.share, last.step)

    def look(self, step: int, network: Any) -> Look:
        """Sample and measure.

        Args:
            step: After how many optimizer steps.
            network: The averaged network.

        Returns:
            What was found; also written to the history.
        """
        self.flush()
        unet = copy.deepcopy(network).eval().requires_grad_(False)
        model = replace(self._model, unet=unet)
        count = KID_PICTURES if self._features and len(self._validation) > 1 else len(GRID_SEEDS)
        samples = self._sample(model, count)
        grid = f"{GRIDS}/{step:08d}.png"
        sheet = contact_sheet(samples[: len(GRID_SEEDS)])
        sheet.save(self.folder / grid)
        distance, spread = self._kid(samples)
        loss = self._measure(unet)
        look = Look(step, grid, loss, distance, spread, self._copies(samples))
        self._write(vars(look))
        if self._board:
            for name, value in vars(look).items():
                if isinstance(value, float):
                    self._board.add_scalar(f"validation/{name}", value, step)
            self._board.add_image("samples", np.asarray(sheet), step, dataformats="HWC")
            self._board.flush()
        return look

    def _sample(self, model: Model, count: int) -> list[Image.Image]:
        """Pictures of seeds 0, 1, ...; the shapes of a large set are those of the held-out ones."""
        shapes: list[str] = [model.default_orientation] * count
        if count > len(GRID_SEEDS) and len(trained_sizes(model)) > 1:
            held_out = [orientation_of(*open_print(item).size) for item in self._validation]
            every = Counter(name for name in held_out if name in model.sizes)
            shapes = [
                name
                for name, number in every.items()
                for _ in range(round(count * number / every.total()))
            ] or shapes
        made: list[Image.Image] = []
        steps = min(SAMPLING_STEPS, model.num_train_timesteps)
        for name in dict.fromkeys(shapes):
            seeds = list(range(shapes.count(name)))
            for start in range(0, len(seeds), SAMPLED_TOGETHER):
                together = seeds[start : start + SAMPLED_TOGETHER]
                for state in sample_steps(model, together, name, steps, SOLVER):
                    latents = state.sample
                made += pil_from_tensor(torch.nan_to_num(model.finish(latents)))
        return made

    def _kid(self, samples: list[Image.Image]) -> tuple[float | None, float | None]:
        if self._features is None or len(self._validation) < 2:
            return None, None
        real = self._described("validation", self._validation, self._features)
        size = min(len(samples), len(real), 100)
        return kid_subsets(self._features(samples), real, subsets=50, size=max(2, size * 4 // 5))

    def _copies(self, samples: list[Image.Image]) -> float | None:
        if len(self._train) < 2:
            return None
        describe = self._features or thumbnails
        training = self._described("train", self._train, describe)
        return near_copy_share(describe(samples), training)

    def _described(self, name: str, prints: list[Print], describe: Describe) -> Any:
        """Features of real pictures, cut to the shapes the model makes; computed once."""
        if name not in self._known:
            parts = [
                describe([_as_sampled(item, self._model) for item in prints[i : i + 32]])
                for i in range(0, len(prints), 32)
            ]
            self._known[name] = np.concatenate(parts)
        return self._known[name]

    def _measure(self, unet: Any) -> float | None:
        if self._validation_loss is None:
            return None
        with torch.no_grad():
            losses = [
                float(self._validation_loss(unet, Moment(number, 0, 0.0)))
                for number in range(VALIDATION_BATCHES)
            ]
        return math.fsum(losses) / len(losses)

    def _write(self, row: dict[str, Any]) -> None:
        with (self.folder / HISTORY).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Every line of a history; a last line that was cut off is left out."""
    rows = []
    path = folder / HISTORY
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def trained_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """The shapes a model is trained in: its own list, or the one its U-Net was made for."""
    if "sizes" in model.extras:
        return model.sizes
    return {model.default_orientation: model.sizes[model.default_orientation]}


def _as_sampled(item: Print, model: Model) -> Image.Image:
    """The middle of a print in the shape and size the model would make it."""
    picture = open_print(item)
    sizes = trained_sizes(model)
    name = orientation_of(*picture.size)
    shape = name if name in sizes else next(iter(sizes))
    cuts = list(crops(picture, model.picture_size(shape)))
    return cuts[len(cuts) // 2]


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
    except ImportError:
        return None
    return SummaryWriter(str(folder))
