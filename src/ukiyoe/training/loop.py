"""One training loop for every network of a model: a generator of steps.

The loop knows a network, a loss and a clock; what the loss means is the
caller's business (`base.py`, `upscaler.py`, `text.py`, `finetune.py`). Learning rate follows
the clock or the steps (warm-up, then cosine to zero at the end), weights are
averaged (EMA), and an atomic checkpoint every few minutes makes it resumable.
Closing the generator saves one more, so that nothing done is lost.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ukiyoe.errors import InvalidInput
from ukiyoe.training.fleet import ALONE, Fleet
from ukiyoe.training.optimizer import ADAMW_BETAS, MuonAdamW

# A longer step was a compilation, a paused process or a sleeping laptop: not training. In seconds,
# and in times the fastest step so far: large networks take longer than that for every step.
LONGEST_STEP, LONGEST_RATIO = 5.0, 4.0

Loss = Callable[[nn.Module, torch.Generator, float], Tensor]
"""``loss(network, generator, progress)``: one number; all randomness from the generator."""


@dataclass(frozen=True)
class Moment:
    """Which forward of a run this is: all that data order, noise and timesteps depend on.

    Attributes:
        step: Number of the optimizer step, from 0.
        part: Number of the forward within it, from 0 (gradient accumulation).
        progress: Share of the run that is over, 0 to 1.
    """

    step: int
    part: int
    progress: float


MomentLoss = Callable[[nn.Module, Moment], Tensor]
"""``loss(network, moment)``: one number, the mean over this process's share of the batch."""


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
        betas: AdamW's.
        schedule: "cosine" falls to zero at the end; "constant" stays.
        accumulation: Forwards and backwards a step.
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
    betas: tuple[float, float] = ADAMW_BETAS
    schedule: Literal["cosine", "constant"] = "cosine"
    accumulation: int = 1
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
        share: Share of the peak learning rate it was taken with.
    """

    step: int
    loss: float
    progress: float
    seconds: float
    share: float = 1.0


def train_steps(
    network: nn.Module,
    average: nn.Module,
    loss: Loss,
    config: LoopConfig,
    checkpoints: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Generator[TrainingStep]:
    """Train a network on one process, with a generator that is new at every step.

    Args:
        network: Trained in place.
        average: A second network of the same shape; holds the weight average.
        loss: Gives the loss of one batch.
        config: Length and speed.
        checkpoints: Folder to save to and, if it holds any, to resume from.
        say: Told what was found there.

    Returns:
        The steps, see `run_steps`.
    """

    def moment_loss(forward: nn.Module, moment: Moment) -> Tensor:
        numbers = (config.seed, moment.step, moment.part)
        # Runs that began before there were parts go on as they were.
        seed = hash(numbers if moment.part else numbers[:2]) % 2**63
        return loss(forward, torch.Generator().manual_seed(seed), moment.progress)

    return run_steps(network, average, moment_loss, config, checkpoints, say)


def run_steps(
    network: nn.Module,
    average: nn.Module,
    loss: MomentLoss,
    config: LoopConfig,
    checkpoints: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    fleet: Fleet = ALONE,
    notes: dict[str, Any] | None = None,
    begun: Callable[[int, dict[str, Any]], None] = lambda _step, _notes: None,
) -> Generator[TrainingStep]:
    """Train a network until its time is up.

    Args:
        network: Trained in place; on the fleet's device.
        average: A second network of the same shape; holds the weight average.
        loss: Gives the loss of one forward.
        config: Length and speed.
        checkpoints: Folder to save to and, if it holds any, to resume from.
        say: Told what was found there.
        fleet: The processes that train together; the leading one saves.
        notes: What else a checkpoint should remember, in plain types.
        begun: Told, before the first step, how many steps are done, and the notes of the
            checkpoint that is gone on from (empty without one); may refuse.

    Yields:
        One record per optimizer step. Closing the generator saves a checkpoint.

    Raises:
        InvalidInput: If the run has no end, the checkpoint is of another network, or the loss is
            no longer a number.
        GeneratorExit: When it is closed.
    """
    if config.max_steps is None and not config.max_minutes < math.inf:
        raise InvalidInput("max_minutes: expected max_minutes or max_steps, got neither.")
    # First: Accelerate moves a network to "cpu:0", which gives its weights other memory.
    forward = fleet.wrap(network)
    optimizer = MuonAdamW(
        network, config.matrix_rate, config.learning_rate, config.weight_decay, config.betas
    )
    step, spent, fastest = 0, 0.0, 0.0
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    state = newest_checkpoint(checkpoints, say) if checkpoints else None
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
    begun(step, state.get("notes", {}) if state else {})
    averages = [weight.data for weight in average.parameters()]
    weights = [weight.data for weight in network.parameters()]
    before = saved = time.monotonic()

    def save() -> None:
        if checkpoints and fleet.leads:
            states = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": spent,
                "schedule": "steps" if config.max_steps is not None else "clock",
                "config": asdict(config),
                "notes": notes or {},
            }
            _save(checkpoints, states, config.keep_checkpoints)

    while (progress := _progress(config, step, spent)) < 1:
        optimizer.set_share(share := _share(config, step, progress))
        torch.manual_seed(hash((step, config.seed, fleet.rank)) % 2**63)  # for dropout
        total = _backward(forward, loss, config, fleet, step, progress)
        now = time.monotonic()
        total, elapsed = fleet.mean(total, now - before)
        before = now
        if not math.isfinite(total):
            raise InvalidInput(
                f"loss: it is {total} at step {step + 1}; resume from the checkpoint before with a "
                "lower learning rate."
            )
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        step += 1
        if step % config.ema_every == 0:
            torch._foreach_lerp_(averages, weights, 1 - ema_decay(config, step))
        spent += min(elapsed, max(LONGEST_STEP, LONGEST_RATIO * fastest))
        fastest = min(fastest or elapsed, elapsed)
        if time.monotonic() - saved > 60 * config.checkpoint_minutes:
            save()
            saved = time.monotonic()
        try:
            yield TrainingStep(step, total, progress, spent, share)
        except GeneratorExit:  # only here is the state whole
            save()
            raise
    save()


def _backward(
    forward: nn.Module,
    loss: MomentLoss,
    config: LoopConfig,
    fleet: Fleet,
    step: int,
    progress: float,
) -> float:
    """Add up the gradients of a step's parts; gives their mean loss in this process."""
    half = _half_is_fast(fleet.device) if config.bfloat16 is None else config.bfloat16
    total = 0.0
    for part in range(config.accumulation):
        last = part == config.accumulation - 1
        with nullcontext() if last else fleet.keep_apart(forward):
            with torch.autocast(fleet.device.type, torch.bfloat16, enabled=half):
                value = loss(forward, Moment(step, part, progress))
            (value / config.accumulation).backward()
        total += value.item() / config.accumulation
    return total


def ema_decay(config: LoopConfig, step: int) -> float:
    """Share of the average that stays when the weights of a step come in.

    Args:
        config: Gives the decay a step once warm, and how often the average is taken.
        step: Number of the step, from 1.

    Returns:
        Short memory at first, so that the average does not hold on to the initial weights.
    """
    return min(config.ema_decay, (1 + step) / (10 + step)) ** config.ema_every


def _half_is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # torch >= 2.6
    return device.type == "cpu" and bool(has_amx())


def _share(config: LoopConfig, step: int, progress: float) -> float:
    """Share of the peak learning rate: warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "constant":
        return warm
    return warm * 0.5 * (1 + math.cos(math.pi * progress))


def _progress(config: LoopConfig, step: int, seconds: float) -> float:
    """Share of the run that is over."""
    if config.max_steps is not None:
        return step / config.max_steps
    return seconds / (60 * config.max_minutes)


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole.

    Args:
        folder: Where checkpoints lie.
        say: Told which one is used, and which ones are broken.

    Returns:
        What `run_steps` saved, its tensors on the CPU; None if there is none.

    Raises:
        InvalidInput: If all of them are broken.
    """
    paths = sorted(folder.glob("*.pt"), reverse=True)
    for path in paths:
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a cut-off file fails in many ways
            say(f"checkpoint {path} is broken ({type(error).__name__}); trying the one before.")
            continue
        say(f"going on from {path}, step {state['step']}.")
        return state
    if paths:
        raise InvalidInput(
            f"checkpoint: none of the {len(paths)} in {folder} is whole; start again in another "
            "folder."
        )
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
