"""The packaged model's own recipe: three networks, trained one after the other.

base -> sharpen (learns the base model's own autoguidance) -> upscaler (needs their echoes); text
needs only the prints. Every stage reads and writes one model folder, so each can be improved alone,
and resumes where it stopped.
"""

import copy
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ukiyoe.errors import FileConflict, InvalidInput
from ukiyoe.model import PACKAGED_FOLDER, SpaceToDepth, load_half, load_model, save_half, save_model
from ukiyoe.text import TextTable
from ukiyoe.tower import NoisyTower, save_tower
from ukiyoe.training.base import FACTOR, autoguided, base_loss, packaged_scheduler, packaged_unet
from ukiyoe.training.data import Bucket, Print, load_buckets, read_labels
from ukiyoe.training.loop import LoopConfig, train_steps
from ukiyoe.training.perceptual import Lpips
from ukiyoe.training.text import WordMatch, tag_matrix, tower_loss
from ukiyoe.training.upscaler import (
    ECHO_TIMESTEPS,
    Workshop,
    echoes,
    samples,
    shrink,
    upscaler_loss,
)
from ukiyoe.upscaler import SCALE, Upscaler

# Small on purpose: what a CPU run lacks is optimizer steps. At 96x64 a step takes four times the
# time, and 100 minutes gave pictures without composition; here 12 minutes gave the first figures.
SIZES = {"portrait": (48, 32), "landscape": (32, 48), "square": (48, 48)}
CODEC = SpaceToDepth(FACTOR)
EXTRAS = {"space_to_depth": FACTOR, "sizes": {name: list(size) for name, size in SIZES.items()}}
BASE_COPY = Path("checkpoints") / "base.safetensors"
EARLY_COPY = Path("checkpoints") / "early.safetensors"
CONCEPT_PRINTS = 5  # a tag is a concept if so many prints carry it
SAMPLES = {"portrait": 384, "landscape": 160}  # of the base model, for the upscaler
REPORT_EVERY = 30.0  # seconds
EARLY = 0.3  # share of the base model's training after which a copy is kept as its weak guide
AUTOGUIDANCE = 3.6  # weight of the guidance that `sharpen` learns

Say = Callable[[str], None]


def train_stage(
    stage: str,
    data: Path,
    output: Path,
    *,
    max_minutes: float,
    max_steps: int | None,
    resume: bool,
    start: str | None,
    batch_size: int,
    seed: int,
    lpips: Path | None,
    say: Say,
    stop: Callable[[], bool],
) -> None:
    """Train one stage and write it into a model folder.

    Args:
        stage: "base", "sharpen", "upscaler" or "text".
        data: Prints with a ``labels.jsonl``; its train split is used.
        output: The model folder; checkpoints lie in ``checkpoints/`` there.
        max_minutes: Training time, earlier parts of the same run included; not read if
            `max_steps` is given.
        max_steps: Optimizer steps, earlier parts of the same run included.
        resume: Go on from the newest checkpoint, if there is one.
        start: A model whose U-Net the base stage goes on from; None starts from nothing.
        batch_size: Pictures a step.
        seed: Decides initial weights, data order and noise.
        lpips: LPIPS weights, for the upscaler.
        say: Told how it goes, a line at a time.
        stop: Asked after every step; True saves a checkpoint and ends as Ctrl-C does, with a
            KeyboardInterrupt.

    Raises:
        InvalidInput: If the upscaler lacks its LPIPS weights.
        FileConflict: If there are checkpoints, and `resume` is not set.
    """
    checkpoints = output / "checkpoints" / stage
    if any(checkpoints.glob("*.pt")) and not resume:
        raise FileConflict(
            f"output: {checkpoints} holds an earlier run; add --resume to go on with it, or choose "
            "another folder."
        )
    length: dict[str, Any] = {"max_minutes": max_minutes, "max_steps": max_steps, "seed": seed}
    prints = read_labels(data, "train")
    torch.manual_seed(seed)
    run = partial(_run, checkpoints=checkpoints, say=say, stop=stop)
    if stage == "base":
        config = LoopConfig(**length, learning_rate=6e-4, matrix_rate=1.2e-3)
        network, loss = _base(prints, batch_size)
        if start is not None:
            _take_over(network, load_model(start, "cpu"))
        average = run(network, loss, config, early=output / EARLY_COPY)
        save_half(average, output / BASE_COPY)
        save_model(output, average, packaged_scheduler(), EXTRAS)
    elif stage == "sharpen":
        model = load_model(output, "cpu")
        config = LoopConfig(**length, learning_rate=3e-4, matrix_rate=6e-4, warmup_steps=40)
        network, loss = _base(prints, batch_size, (output / BASE_COPY, output / EARLY_COPY))
        average = run(network, loss, config)
        save_model(output, average, model.scheduler, EXTRAS, model.upscaler)
    elif stage == "upscaler":
        if lpips is None:
            raise InvalidInput("lpips: the upscaler is trained with LPIPS; give its weights' file.")
        model = load_model(output, "cpu")
        config = LoopConfig(**length, learning_rate=3e-4)
        network, loss = _upscaler(prints, model, Lpips(lpips), batch_size)
        average = run(network, loss, config)
        save_model(output, model.unet, model.scheduler, EXTRAS, average.upscaler)
    else:
        config = LoopConfig(**length, learning_rate=1e-3, weight_decay=0.05)
        network, loss, concepts = _text(prints, batch_size)
        average = run(network, loss, config)
        save_tower(average.tower, concepts, output / "text_tower")


def _base(
    prints: list[Print], batch_size: int, guides: tuple[Path, Path] | None = None
) -> tuple[Any, Any]:
    network = packaged_unet().to(memory_format=torch.channels_last)
    teacher = None
    if guides is not None:
        strong, weak = (packaged_unet() for _ in guides)
        for copied, path in zip((strong, weak), guides, strict=True):
            load_half(copied, path)
            copied.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        network.load_state_dict(strong.state_dict())
        teacher = autoguided(strong, weak, AUTOGUIDANCE)
    buckets = load_buckets(prints, SIZES, jitter=1 + 1 / 16)
    return network, base_loss(buckets, packaged_scheduler(), CODEC.encode, batch_size, teacher)


def _take_over(network: nn.Module, model: Any) -> None:
    try:
        network.load_state_dict(model.unet.state_dict())
    except RuntimeError as error:
        raise InvalidInput(
            f"from: the U-Net of {model.name!r} is not of the packaged model's shape."
        ) from error


def _upscaler(prints: list[Print], model: Any, lpips: Lpips, batch_size: int) -> tuple[Any, Any]:
    """Only prints with real detail teach detail: files squeezed by their source are left out."""
    sharp = [item for item in prints if not item.squashed]
    sizes = {name: (h * SCALE, w * SCALE) for name, (h, w) in SIZES.items() if name != "square"}
    buckets = load_buckets(sharp, sizes, jitter=1.0)
    alpha_bars = model.scheduler.alphas_cumprod
    small: list[list[torch.Tensor]] = []
    for bucket in buckets.values():
        clean = shrink(bucket.pixels)
        small.append(
            [clean] + [echoes(clean, model.unet, alpha_bars, CODEC, t) for t in ECHO_TIMESTEPS]
        )
    sampled = [samples(model, name, SAMPLES[name]) for name in buckets]
    network = Workshop(model.upscaler or Upscaler()).requires_grad_(True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = upscaler_loss(list(buckets.values()), small, sampled, lpips, batch_size)
    return network.train(), loss


def _text(prints: list[Print], batch_size: int) -> tuple[Any, Any, list[str]]:
    counts = Counter(tag for item in prints for tag in item.tags)
    concepts = [tag for tag, count in counts.most_common() if count >= CONCEPT_PRINTS]
    tags = tag_matrix(prints, concepts)
    table = TextTable.load(PACKAGED_FOLDER / "text_table")
    network = WordMatch(NoisyTower(dropout=0.2), tags.mean(dim=0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    buckets: dict[str, Bucket] = load_buckets(prints, SIZES)
    captions = table.embed([item.caption for item in prints])
    loss = tower_loss(
        buckets,
        packaged_scheduler(),
        tags,
        table.embed(concepts),
        captions,
        batch_size,
    )
    return network, loss, concepts


def _run(
    network: nn.Module,
    loss: Any,
    config: LoopConfig,
    checkpoints: Path,
    say: Say,
    stop: Callable[[], bool],
    early: Path | None = None,
) -> Any:
    """Train to the end and give the averaged network; keep an early copy of it."""
    average = copy.deepcopy(network)
    recent: list[float] = []
    last = time.monotonic()
    with sdpa_kernel(SDPBackend.MATH):  # on a CPU 10x the backward speed of the fused kernel
        steps = train_steps(network, average, loss, config, checkpoints, say)
        for step in steps:
            recent.append(step.loss)
            if early and step.progress >= EARLY and not early.exists():
                save_half(average, early)
            if stop():
                steps.close()
                say(f"stopped at step {step.step}; --resume goes on from there.")
                raise KeyboardInterrupt
            if time.monotonic() - last > REPORT_EVERY:
                rate = len(recent) / (time.monotonic() - last)
                say(
                    f"step {step.step}: loss {sum(recent) / len(recent):.4f}, "
                    f"{rate:.2f} steps/s, {100 * step.progress:.1f} % done"
                )
                recent, last = [], time.monotonic()
    return average.eval()
