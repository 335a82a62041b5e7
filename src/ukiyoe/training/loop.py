"""One training loop for every network of a model: a generator of steps.

The loop knows a network, a loss and a clock; what the loss means is the
caller's business (`base.py`, `upscaler.py`, `text.py`). Learning rate follows
the clock or the steps (warm-up, then cosine to zero at the end), weights are
averaged (EMA), and an atomic checkpoint every few minutes makes it resumable.
Closing the generator saves one more, so that nothing done is lost.
"""

import math
import time
from collections.abc import Callable, Generator
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
        max_minutes: Length of the whole run, resumed parts included, if `max_steps` is None.
        max_steps: Optimizer steps of the whole run. Only so a resumed run repeats an
            uninterrupted one bit by bit: the clock never does.
        learning_rate: Peak of AdamW's learning rate.
        matrix_rate: Peak of Muon's learning rate, for hidden matrices; None: AdamW takes all.
        warmup_steps: Steps of linear warm-up.
        ema_decay: Decay a step of the weight average, once warm.
        ema_every: Average once in so many steps (the decay is adapted).
        weight_decay: AdamW's decoupled weight decay.
        gradient_clip: Largest norm of the gradient.
        checkpoint_minutes: Minutes between checkpoints.
        keep_checkpoints: How many to keep, the newest ones.
        seed: Decides data order, noise and timesteps.
        bfloat16: Run the network under bfloat16 autocast. None: where it is faster; on CPUs
            without AMX it takes 1.7x the time of float32.
    """

    max_minutes: float = math.inf
    max_steps: int | None = None
    learning_rate: float = 4e-4
    matrix_rate: float | None = None
    warmup_steps: int = 300
    ema_decay: float = 0.999
    ema_every: int = 4
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    checkpoint_minutes: float = 3.0
    keep_checkpoints: int = 2
    seed: int = 0
    bfloat16: bool | None = None


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
    checkpoints: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Generator[TrainingStep]:
    """Train a network until its time is up.

    Args:
        network: Trained in place.
        average: A second network of the same shape; holds the weight average.
        loss: Gives the loss of one batch.
        config: Length and speed.
        checkpoints: Folder to save to and, if it holds any, to resume from.
        say: Told what was found there.

    Yields:
        One record per optimizer step. Closing the generator saves a checkpoint.

    Raises:
        InvalidInput: If the run has no end, or the checkpoint is of another network.
        GeneratorExit: When it is closed.
    """
    if config.max_steps is None and not config.max_minutes < math.inf:
        raise InvalidInput("max_minutes: expected max_minutes or max_steps, got neither.")
    optimizer = MuonAdamW(network, config.matrix_rate, config.learning_rate, config.weight_decay)
    step, spent = 0, 0.0
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    state = _newest(checkpoints, say) if checkpoints else None
    if state:
        try:
            network.load_state_dict(state["network"])
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(
                f"checkpoint: {checkpoints} is of another network; delete it or use another folder."
            ) from error
        step, spent = state["step"], state["seconds"]
    half = _has_amx() if config.bfloat16 is None else config.bfloat16
    averages = [weight.data for weight in average.parameters()]
    weights = [weight.data for weight in network.parameters()]
    before = saved = time.monotonic()

    def save() -> None:
        if checkpoints:
            states = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": spent,
                "config": asdict(config),
            }
            _save(checkpoints, states, config.keep_checkpoints)

    while (progress := _progress(config, step, spent)) < 1:
        warm = min(1.0, (step + 1) / config.warmup_steps)
        optimizer.set_share(warm * 0.5 * (1 + math.cos(math.pi * progress)))
        generator = torch.Generator().manual_seed(hash((config.seed, step)) % 2**63)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
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
        if time.monotonic() - saved > 60 * config.checkpoint_minutes:
            save()
            saved = time.monotonic()
        try:
            yield TrainingStep(step, value.item(), progress, spent)
        except GeneratorExit:  # only here is the state whole
            save()
            raise
    save()


def _has_amx() -> bool:
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())  # torch >= 2.6


def _progress(config: LoopConfig, step: int, seconds: float) -> float:
    """Share of the run that is over."""
    if config.max_steps is not None:
        return step / config.max_steps
    return seconds / (60 * config.max_minutes)


def _newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except Exception as error:  # a cut-off file fails in many ways
            say(f"checkpoint {path} is broken ({type(error).__name__}); trying the one before.")
            continue
        say(f"going on from {path}, step {state['step']}.")
        return state
    return None


def _save(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Write a checkpoint, complete or not at all, then forget the oldest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{state['step']:08d}.pt"
    temporary = path.with_suffix(".part")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise InvalidInput(
            f"checkpoint: cannot write {path} ({error}); the one before is kept, free some space "
            "and resume."
        ) from error
    for old in sorted(folder.glob("*.pt"))[:-keep]:
        old.unlink()
