"""Bring your own pictures: any diffusers DDPM, trained on any folder, in one call.

Pictures are surveyed (doubles go before the split), cut once into a cache, and learned with the
model's own forward process and prediction type. Checkpoints lie in ``checkpoints/finetune`` of
the output, what was seen on the way in ``training``, and the result, a diffusers folder, at its
top.
"""

import copy
import math
import shutil
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ukiyoe.errors import FileConflict, InvalidInput
from ukiyoe.evaluation.features import OnnxFeatures
from ukiyoe.model import Model, load_model
from ukiyoe.settings import PACKAGED
from ukiyoe.training.base import packaged_unet
from ukiyoe.training.cache import cache_folder, cached_buckets
from ukiyoe.training.data import Bucket, orientation_of
from ukiyoe.training.denoising import denoising_loss
from ukiyoe.training.fleet import Fleet, join_fleet
from ukiyoe.training.loop import LoopConfig, TrainingStep, run_steps
from ukiyoe.training.order import stream
from ukiyoe.training.presets import AUGMENTATIONS, Preset
from ukiyoe.training.report import write_report
from ukiyoe.training.result import GRID, model_card, public_name, push, save_result
from ukiyoe.training.sources import picture_folder
from ukiyoe.training.survey import Survey, survey
from ukiyoe.training.watch import GRIDS, Look, Watch, read_history, trained_sizes

SCRATCH = "scratch"
SHIFT = 1 + 1 / 16  # pictures are kept this much larger than their crop
LOOKS = 10  # in a run, when no number of steps between them is given
CHECKPOINTS, BEST = Path("checkpoints") / "finetune", "best.kid"
FOLDER, REPORT = "training", "report.html"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What to train, on what, for how long.

    Attributes:
        data: A folder of pictures, a saved dataset, or a dataset's Hub id.
        output: The model folder.
        start: "packaged", "scratch", a folder or a Hub id; None is the preset's.
        preset: Every number of the training itself.
        seed: Decides data order, noise, timesteps and augmentations.
        resume: Go on with the run in the output folder, if there is one.
        max_minutes: Length by the clock.
        steps: Length in optimizer steps.
        epochs: Length in rounds through the pictures. Without any, the preset's length.
        image_column: Column of a dataset that holds the pictures.
        features: An ONNX feature network; with it KID is measured, and the best network by KID
            is the result.
        sample_every: Steps between looks; None looks ten times.
        checkpoint_minutes: Minutes between checkpoints.
        keep_checkpoints: How many to keep.
        bfloat16: Whether to compute in it; None: where it is faster.
        compile_network: Run the network through ``torch.compile``.
        gradient_checkpointing: Compute activations twice instead of keeping them.
        push_to_hub: Hub id to upload the result to.
    """

    data: str
    output: Path
    preset: Preset
    start: str | None = None
    seed: int = 0
    resume: bool = False
    max_minutes: float | None = None
    steps: int | None = None
    epochs: float | None = None
    image_column: str | None = None
    features: Path | None = None
    sample_every: int | None = None
    checkpoint_minutes: float = LoopConfig.checkpoint_minutes
    keep_checkpoints: int = LoopConfig.keep_checkpoints
    bfloat16: bool | None = None
    compile_network: bool = False
    gradient_checkpointing: bool = False
    push_to_hub: str | None = None


def finetune(
    run: Run,
    say: Say = lambda _: None,
    show: Callable[[TrainingStep, int], None] = lambda _step, _pictures: None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> Path:
    """Train a model on pictures, and write it with its card and its report.

    Args:
        run: What to do.
        say: Told how it goes, a line at a time.
        show: Given every step, and how many pictures it saw.
        stop: Asked after every step; True writes a checkpoint and the model so far, and ends
            with a KeyboardInterrupt.
        progress: Wraps lists of pictures while they are read.

    Returns:
        The model folder.

    Raises:
        KeyboardInterrupt: If it was asked to stop.
    """
    _check(run)
    fleet = join_fleet()
    if not fleet.leads:
        say, progress = (lambda _: None), iter
    start = run.start or run.preset.start
    features = OnnxFeatures(run.features) if run.features else None
    model = _start(start, run.seed, fleet)
    found, train, validation = _pictures(run, model, fleet, progress)
    say(found.report())
    loss, length = denoising_loss(model, train, run.preset, run.seed, fleet)
    config = _loop_config(run, length)
    network = model.unet.requires_grad_(True).train()
    average = copy.deepcopy(network)
    if run.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if run.compile_network:
        network.compile()
    session = _Session(run, average, None, say)
    if fleet.leads:
        session.watch = _watch(run, model, found, validation, features, fleet.device)
    notes = {
        "start": start,
        "preset": repr(run.preset),
        "seed": run.seed,
        "pictures": stream(*(look.content for look in found.looks)),
        "length": f"{config.max_steps} steps" if config.max_steps else f"{config.max_minutes} min",
    }
    checkpoints = run.output / CHECKPOINTS
    begun = partial(_begin, session, notes)
    steps = run_steps(network, average, loss, config, checkpoints, say, fleet, notes, begun)
    stopped = False
    # On a CPU 10x the backward speed of the fused kernel.
    with sdpa_kernel(SDPBackend.MATH) if fleet.device.type == "cpu" else nullcontext():
        for step in steps:
            session.after(step)
            if fleet.leads:
                show(step, run.preset.batch_size * run.preset.accumulation)
            if fleet.any(stop()):
                stopped = True
                steps.close()
                break
        if fleet.leads:
            _finish(session, model, found, finished=not stopped)
    fleet.wait()
    if stopped:
        say(
            f"stopped at step {session.step}; the model so far is in {run.output}, and --resume "
            "goes on from there."
        )
        raise KeyboardInterrupt
    return run.output


class _Session:
    """What the leading process knows while a run goes on."""

    def __init__(self, run: Run, average: Any, watch: Watch | None, say: Say) -> None:
        self.run, self.average, self.watch, self.say = run, average, watch, say
        self.step, self.seconds, self.looked = 0, 0.0, -1
        self.lowest = math.inf  # KID
        self._part = 0  # of LOOKS

    @property
    def best(self) -> Path:
        return self.run.output / CHECKPOINTS.parent / BEST

    def after(self, step: TrainingStep) -> None:
        """Note a step, and look at the network when it is time."""
        self.step, self.seconds = step.step, step.seconds
        if self.watch is None:
            return
        self.watch.note(step)
        every, part = self.run.sample_every, int(step.progress * LOOKS)
        due = step.step % every == 0 if every else part > self._part
        self._part = max(part, self._part)
        if due:
            self.look()

    def look(self) -> None:
        """Look at the averaged network; keep it if no other had a lower KID."""
        if self.watch is None or self.looked == self.step:
            return
        self.looked = self.step
        seen = self.watch.look(self.step, self.average)
        if seen.kid is not None and seen.kid < self.lowest:
            self.lowest = seen.kid
            part = self.best.with_suffix(".part")
            part.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {"average": self.average.state_dict(), "kid": seen.kid, "step": seen.step}, part
            )
            part.replace(self.best)
        self.say(_described(seen))

    def load_best(self) -> int:
        """Make the average the best network so far by KID; gives the step it is of."""
        if not self.best.is_file():
            return self.step
        state = torch.load(self.best, map_location="cpu", weights_only=True)
        self.average.load_state_dict(state["average"])
        return int(state["step"])


def _described(seen: Look) -> str:
    parts = [f"step {seen.step}"]
    if seen.validation_loss is not None:
        parts.append(f"validation loss {seen.validation_loss:.4f}")
    if seen.kid is not None:
        parts.append(f"KID {seen.kid:.3f} (± {seen.kid_spread:.3f})")
    if seen.copies is not None:
        parts.append(f"near copies {100 * seen.copies:.0f} %")
    return ", ".join(parts) + f", samples in {seen.grid}"


def _check(run: Run) -> None:
    """Refuse what cannot work before anything is loaded."""
    ends = [name for name in ("max_minutes", "steps", "epochs") if getattr(run, name) is not None]
    if len(ends) > 1:
        raise InvalidInput(f"{ends[1]}: expected one length for a run, got {' and '.join(ends)}.")
    for name in ends:
        if not 0 < getattr(run, name) < math.inf:
            raise InvalidInput(f"{name}: expected more than 0, got {getattr(run, name)}.")
    preset = run.preset
    for name in ("batch_size", "accumulation", "learning_rate"):
        if not 0 < getattr(preset, name) < math.inf:
            raise InvalidInput(f"{name}: expected more than 0, got {getattr(preset, name)}.")
    if unknown := set(preset.augment) - set(AUGMENTATIONS):
        raise InvalidInput(
            f"augment: expected some of {', '.join(AUGMENTATIONS)}, got {', '.join(unknown)}."
        )
    if run.sample_every is not None and run.sample_every < 1:
        raise InvalidInput(f"sample-every: expected 1 or more steps, got {run.sample_every}.")
    if run.keep_checkpoints < 1:
        raise InvalidInput(f"keep-checkpoints: expected 1 or more, got {run.keep_checkpoints}.")
    if run.resume:
        return
    if any((run.output / CHECKPOINTS).glob("*.pt")):
        raise FileConflict(
            f"output: {run.output} holds an earlier run; add --resume to go on with it, or choose "
            "another folder."
        )
    if (run.output / "model_index.json").exists():
        raise FileConflict(f"output: {run.output} holds a model already; choose another folder.")


def _start(start: str, seed: int, fleet: Fleet) -> Model:
    """The model to train, in the shapes it is trained in."""
    model = load_model(PACKAGED if start == SCRATCH else start, fleet.device.type)
    if start == SCRATCH:
        torch.manual_seed(seed)
        network = packaged_unet().to(fleet.device, memory_format=torch.channels_last)
        model = replace(model, unet=network, name=SCRATCH)
    own = model.unet.config.sample_size
    if "sizes" in model.extras or isinstance(own, int | None):
        return model
    height, width = (side * model.codec.factor for side in own)
    name = orientation_of(width, height)
    sizes = {**model.sizes, name: (height, width)}
    return replace(model, sizes=sizes, default_orientation=name)  # type: ignore[arg-type]


def _pictures(
    run: Run, model: Model, fleet: Fleet, progress: Callable[[Any], Iterable[Any]]
) -> tuple[Survey, dict[str, Bucket], dict[str, Bucket]]:
    """What there is to learn from, cut for training and for validation."""
    cache = cache_folder()
    if not fleet.leads:
        fleet.wait()  # the leading process fills the cache, the others read it
    folder = picture_folder(run.data, run.image_column, cache, progress)
    found = survey(folder, progress=progress)
    shapes = trained_sizes(model)
    cut: dict[str, dict[str, Bucket]] = {"train": {}, "val": {}}
    for split in cut:
        pairs = zip(found.prints, found.looks, strict=True)
        chosen = [(item, look.content) for item, look in pairs if item.split == split]
        if chosen:
            jitter = SHIFT if split == "train" and "shift" in run.preset.augment else 1.0
            prints, contents = [item for item, _ in chosen], [content for _, content in chosen]
            cut[split] = cached_buckets(cache, prints, contents, shapes, jitter, progress)
    if fleet.leads:
        fleet.wait()
    if not cut["train"]:
        raise InvalidInput(f"data: {run.data} has no picture of split 'train'.")
    return found, cut["train"], cut["val"]


def _watch(
    run: Run,
    model: Model,
    found: Survey,
    validation: dict[str, Bucket],
    features: OnnxFeatures | None,
    device: torch.device,
) -> Watch:
    loss = None
    if validation:
        plain = replace(run.preset, augment=(), accumulation=1)
        seed = stream(run.seed, "validation")
        loss, _ = denoising_loss(model, validation, plain, seed, Fleet(device=device))
    train, held_out = (
        [item for item in found.prints if item.split == split] for split in ("train", "val")
    )
    return Watch(run.output / FOLDER, model, train, held_out, loss, features)


def _loop_config(run: Run, length: int) -> LoopConfig:
    """The loop's settings; `length` is how many batches one round through the pictures has."""
    preset = run.preset
    minutes, steps, epochs = run.max_minutes, run.steps, run.epochs
    if minutes is None and steps is None and epochs is None:
        minutes, epochs = preset.max_minutes, preset.epochs
    if epochs is not None:
        steps = math.ceil(epochs * length / preset.accumulation)
    return LoopConfig(
        max_minutes=math.inf if minutes is None else minutes,
        max_steps=steps,
        learning_rate=preset.learning_rate,
        matrix_rate=preset.matrix_rate,
        warmup_steps=preset.warmup_steps,
        ema_decay=preset.ema_decay,
        ema_every=preset.ema_every,
        weight_decay=preset.weight_decay,
        betas=preset.betas,
        schedule=preset.schedule,
        accumulation=preset.accumulation,
        gradient_clip=preset.gradient_clip,
        checkpoint_minutes=run.checkpoint_minutes,
        keep_checkpoints=run.keep_checkpoints,
        seed=run.seed,
        bfloat16=run.bfloat16,
    )


def _begin(session: _Session, notes: dict[str, Any], step: int, before: dict[str, Any]) -> None:
    """Take up a history, or begin one with a look at the start."""
    for name in ("start", "preset", "seed"):
        if before and before.get(name) != notes[name]:
            raise InvalidInput(
                f"resume: this run was begun with {name} {before.get(name)}, not {notes[name]}; "
                "give the same options, or choose another folder."
            )
    if before and before["pictures"] != notes["pictures"]:
        session.say("the pictures have changed since this run began; it goes on with the new ones.")
    session.step = step
    if session.watch is None:
        return
    session.watch.resume(step)
    if step == 0:
        session.best.unlink(missing_ok=True)
        session.look()
    elif session.best.is_file():
        session.lowest = torch.load(session.best, map_location="cpu", weights_only=True)["kid"]


def _finish(session: _Session, model: Model, found: Survey, finished: bool) -> None:
    """Write the result, its card and its report; upload it if that was asked for."""
    run, watch = session.run, session.watch
    if watch is None:
        return
    watch.flush()
    if finished:
        session.look()
    taken = session.load_best()
    facts = _facts(session, model, found, taken)
    output = run.output
    # Stopped between two looks, the last grid is of a few steps before.
    grids = [row["grid"] for row in read_history(output / FOLDER) if row.get("grid")]
    of_taken = f"{GRIDS}/{taken:08d}.png"
    if grids:
        shutil.copy(output / FOLDER / (of_taken if of_taken in grids else grids[-1]), output / GRID)
    # A public card tells no one's paths: files are named by the report only.
    summary = "\n".join(line for line in found.report().splitlines() if not line.startswith("  "))
    name = run.push_to_hub or output.resolve().name
    save_result(output, model, session.average, model_card(model, name, facts, summary))
    write_report(output / FOLDER / REPORT, output / FOLDER, name, facts, found.report())
    session.say(f"model in {output}, report in {output / FOLDER / REPORT}")
    if run.push_to_hub and finished:
        session.say(f"uploaded to {push(output, run.push_to_hub)}")


def _facts(session: _Session, model: Model, found: Survey, taken: int) -> dict[str, str]:
    """How it was trained and what that reached, in words."""
    run, preset = session.run, session.run.preset
    rows = read_history(run.output / FOLDER)
    looks = [row for row in rows if "grid" in row]
    seen = next((row for row in looks if row["step"] == taken), looks[-1] if looks else {})
    seconds = max((row.get("seconds", 0.0) for row in rows), default=session.seconds)
    each = preset.batch_size * preset.accumulation
    facts = {
        "start": public_name(model),
        "preset": f"{preset.name} ({preset.purpose})",
        "pictures": str(sum(item.split == "train" for item in found.prints)),
        "steps": f"{session.step} of {each} pictures, {seconds / 60:.1f} minutes",
        "learning rate": f"{preset.learning_rate:g}, {preset.schedule}",
        "predicts": str(model.scheduler.config.prediction_type),
        "weighting": preset.weighting,
        "weights": f"moving average after step {taken}",
        "seed": str(run.seed),
    }
    if seen.get("validation_loss") is not None:
        facts["validation loss"] = f"{seen['validation_loss']:.4f}"
    if seen.get("kid") is not None:
        first = f"; {looks[0]['kid']:.3f} before training" if looks[0]["step"] == 0 else ""
        facts["KID to held-out pictures"] = (
            f"{seen['kid']:.3f} (± {seen['kid_spread']:.3f} over subsets{first})"
        )
    if seen.get("copies") is not None:
        facts["near copies among samples"] = f"{100 * seen['copies']:.0f} %"
    return facts
