"""One training loop for every network of a model: a generator of steps.

The loop knows a network, a loss and a clock; what the loss means is the
caller's business (`base.py`, `upscaler.py`, `text.py`). Learning rate follows
the clock (warm-up, then cosine to zero when the time is up), weights are
averaged (EMA), and an atomic checkpoint every few minutes makes it resumable.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ukiyoe.errors import InvalidInput
from ukiyoe.training.optimizer import MuonAdamW

# Seconds; a longer step was a compilation, a paused process or a sleeping laptop: not training.
LONGEST_STEP = 5.0

Loss = Callable[[nn.Module, torch.Generator, float], Tensor]
"""``loss(network, generator, progress)``: one number; all randomness from the generator."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Attributes:
        max_minutes: Length of the whole run, resumed parts included.
        learning_rate: Peak of AdamW's learning rate.
        matrix_rate: Peak of Muon's learning rate, for hidden matrices; None: AdamW takes all.
        warmup_steps: Steps of linear warm-up.
        ema_decay: Decay a step of the weight average, once warm.
        ema_every: Average once in so many steps (the decay is adapted).
        weight_decay: AdamW's decoupled weight decay.
        gradient_clip: Largest norm of the gradient.
        checkpoint_minutes: Minutes between checkpoints.
        seed: Decides data order, noise and timesteps.
        bfloat16: Run the network under bfloat16 autocast.
    """

    max_minutes: float
    learning_rate: float = 4e-4
    matrix_rate: float | None = None
    warmup_steps: int = 300
    ema_decay: float = 0.999
    ema_every: int = 4
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    checkpoint_minutes: float = 3.0
    seed: int = 0
    bfloat16: bool = True


@dataclass(frozen=True)
class TrainingStep:
    """What one optimizer step did.

    Attributes:
        step: Number of the step, from 1.
        loss: The loss of this step's batch.
        progress: Share of the run that is over, 0 to 1.
        seconds: Time spent so far, resumed parts included.
    """

    step: int
    loss: float
    progress: float
    seconds: float


def train_steps(
    network: nn.Module,
    average: nn.Module,
    loss: Loss,
    config: LoopConfig,
    checkpoint: Path | None = None,
) -> Iterator[TrainingStep]:
    """Train a network until its time is up.

    Args:
        network: Trained in place.
        average: A second network of the same shape; holds the weight average.
        loss: Gives the loss of one batch.
        config: Length and speed.
        checkpoint: File to save to and, if it exists, to resume from.

    Yields:
        One record per optimizer step.

    Raises:
        InvalidInput: If the checkpoint is of another network.
    """
    optimizer = MuonAdamW(network, config.matrix_rate, config.learning_rate, config.weight_decay)
    step, spent = 0, 0.0
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    if checkpoint and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        try:
            network.load_state_dict(state["network"])
            average.load_state_dict(state["average"])
        except RuntimeError as error:
            raise InvalidInput(
                f"checkpoint: {checkpoint} is of another network; delete it or use another folder."
            ) from error
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
    averages = [weight.data for weight in average.parameters()]
    weights = [weight.data for weight in network.parameters()]
    before = saved = time.monotonic()
    while (progress := spent / (60 * config.max_minutes)) < 1:
        warm = min(1.0, (step + 1) / config.warmup_steps)
        optimizer.set_share(warm * 0.5 * (1 + math.cos(math.pi * progress)))
        generator = torch.Generator().manual_seed(hash((config.seed, step)) % 2**63)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            value = loss(network, generator, progress)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        step += 1
        if step % config.ema_every == 0:
            decay = min(config.ema_decay, (1 + step) / (10 + step)) ** config.ema_every
            torch._foreach_lerp_(averages, weights, 1 - decay)
        now = time.monotonic()
        spent += min(now - before, LONGEST_STEP)
        before = now
        if checkpoint and time.monotonic() - saved > 60 * config.checkpoint_minutes:
            _save(checkpoint, network, average, optimizer, step, spent, config)
            saved = time.monotonic()
        yield TrainingStep(step, value.item(), progress, spent)
    if checkpoint:
        _save(checkpoint, network, average, optimizer, step, spent, config)


def _save(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: MuonAdamW,
    step: int,
    seconds: float,
    config: LoopConfig,
) -> None:
    """Write a checkpoint beside the old one, then replace it in one move."""
    state: dict[str, Any] = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
        "config": asdict(config),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)
