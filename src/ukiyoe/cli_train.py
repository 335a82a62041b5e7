"""``ukiyoe train``: its options, and what they call. No torch until it is needed."""

import argparse
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukiyoe.errors import InvalidInput
from ukiyoe.settings import PACKAGED
from ukiyoe.training.presets import AUGMENTATIONS, PRESETS, TUNE, Preset

if TYPE_CHECKING:
    from ukiyoe.training.loop import TrainingStep

STAGES = ("base", "sharpen", "upscaler", "text")
STAGE_MINUTES, STAGE_BATCH = 60.0, 32
REPORT_EVERY = 30.0  # seconds between lines where there is no terminal
# Options that only one of the two kinds of training has.
FINE_TUNING = (
    "preset",
    "epochs",
    "image_column",
    "accumulation",
    "learning_rate",
    "weighting",
    "augment",
    "features",
    "sample_every",
    "checkpoint_minutes",
    "keep_checkpoints",
    "precision",
    "compile",
    "gradient_checkpointing",
    "push_to_hub",
)
STAGE_ONLY = ("lpips",)


def add_options(
    parser: argparse.ArgumentParser, number: Callable[[str], float], whole: Callable[[str], int]
) -> None:
    """Declare every option of ``ukiyoe train``.

    Args:
        parser: The command's.
        number: Reads a number.
        whole: Reads a whole number.
    """
    add = parser.add_argument
    add("--data", required=True, metavar="D", help="a folder of pictures, or a dataset's Hub id")
    add("--output", required=True, metavar="DIR", help="where the model goes")
    add("--resume", action="store_true", help="go on with the run in the output folder")
    add("--from", dest="start", metavar="M", help=f'"{PACKAGED}", "scratch", a folder or a Hub id')
    purposes = "; ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items())
    add("--preset", choices=tuple(PRESETS), help=f"{purposes} (default {TUNE.name})")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--max-minutes", type=number, metavar="M", help="training time")
    length.add_argument("--steps", type=whole, metavar="N", help="optimizer steps instead")
    length.add_argument("--epochs", type=number, metavar="E", help="rounds through the pictures")
    add("--image-column", metavar="C", help="column of a dataset that holds the pictures")
    add("--batch-size", type=whole, metavar="B", help="pictures a forward, all processes together")
    add("--accumulation", type=whole, metavar="A", help="forwards a step")
    add("--learning-rate", type=number, metavar="R", help="peak of AdamW's")
    add("--weighting", choices=("min-snr", "min-snr+1", "none"), help="which noise levels count")
    add("--augment", metavar="A,B", help=f"some of {', '.join(AUGMENTATIONS)}, or none")
    add("--features", metavar="FILE.onnx", help="feature network; measures KID on the way")
    add("--sample-every", type=whole, metavar="N", help="steps between samples (default: 10 times)")
    add("--checkpoint-minutes", type=number, metavar="M", help="between checkpoints (default 3)")
    add("--keep-checkpoints", type=whole, metavar="K", help="how many (default 2)")
    add("--precision", choices=("float32", "bfloat16"), help="default: the faster one here")
    add("--compile", action="store_true", default=None, help="compile the network")
    add(
        "--gradient-checkpointing",
        action="store_true",
        default=None,
        help="less memory, more time",
    )
    add("--push-to-hub", metavar="ID", help="upload the result")
    add("--seed", type=whole, default=0, metavar="N", help="seed of the run")
    add("--stage", choices=STAGES, help="train a part of the packaged model by its own recipe")
    add("--lpips", metavar="FILE", help="LPIPS weights (--stage upscaler)")


def train(options: argparse.Namespace) -> int:
    """Train a model on pictures, or one stage of the packaged model by its own recipe.

    Args:
        options: Parsed ``train`` options.

    Returns:
        The exit code.

    Raises:
        InvalidInput: If an option is out of range, or does not go with the others.
    """
    minutes = options.max_minutes
    if minutes is not None and not 0 < minutes < math.inf:
        raise InvalidInput(f"max-minutes: expected more than 0, got {minutes}.")
    for name in ("steps", "batch_size", "accumulation", "sample_every", "keep_checkpoints"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise InvalidInput(
                f"{_label(name)}: expected a whole number from 1, got {getattr(options, name)}."
            )
    staged = options.stage is not None
    for name in FINE_TUNING if staged else STAGE_ONLY:
        if getattr(options, name) is not None:
            where = "without --stage" if staged else "with --stage upscaler"
            raise InvalidInput(f"{_label(name)}: expected only {where}; leave one of them out.")
    with _stop_asked() as stop:
        if staged:
            _train_stage(options, stop)
        else:
            _fine_tune(options, stop)
    return 0


def _train_stage(options: argparse.Namespace, stop: Callable[[], bool]) -> None:
    from ukiyoe.training.stages import train_stage  # noqa: PLC0415

    train_stage(
        options.stage,
        Path(options.data),
        Path(options.output),
        max_minutes=STAGE_MINUTES if options.max_minutes is None else options.max_minutes,
        max_steps=options.steps,
        resume=options.resume,
        start=options.start,
        batch_size=STAGE_BATCH if options.batch_size is None else options.batch_size,
        seed=options.seed,
        lpips=Path(options.lpips) if options.lpips else None,
        say=lambda text: print(text, flush=True),
        stop=stop,
    )


def chosen_preset(options: argparse.Namespace) -> Preset:
    """The preset, with what other options change of it.

    Args:
        options: Parsed ``train`` options.

    Returns:
        What to train with.

    Raises:
        InvalidInput: If an augmentation is unknown.
    """
    preset = PRESETS[options.preset or TUNE.name]
    names = ("batch_size", "accumulation", "learning_rate", "weighting")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in names if getattr(options, name) is not None
    }
    if options.augment is not None:
        wished = [name.strip() for name in options.augment.split(",")]
        augment = tuple(name for name in AUGMENTATIONS if name in wished)
        if wished != ["none"] and len(augment) != len(wished):
            raise InvalidInput(
                f"augment: expected some of {', '.join(AUGMENTATIONS)} with commas between, or "
                f"none, got {options.augment!r}."
            )
        given["augment"] = augment
    return replace(preset, **given)


def _fine_tune(options: argparse.Namespace, stop: Callable[[], bool]) -> None:
    preset = chosen_preset(options)  # before torch is loaded

    from tqdm import tqdm  # noqa: PLC0415

    from ukiyoe.training.finetune import Run, finetune  # noqa: PLC0415

    given = {
        name: getattr(options, name)
        for name in ("checkpoint_minutes", "keep_checkpoints")
        if getattr(options, name) is not None
    }
    run = Run(
        data=options.data,
        output=Path(options.output),
        preset=preset,
        start=options.start,
        seed=options.seed,
        resume=options.resume,
        max_minutes=options.max_minutes,
        steps=options.steps,
        epochs=options.epochs,
        image_column=options.image_column,
        features=Path(options.features) if options.features else None,
        sample_every=options.sample_every,
        bfloat16=None if options.precision is None else options.precision == "bfloat16",
        compile_network=bool(options.compile),
        gradient_checkpointing=bool(options.gradient_checkpointing),
        push_to_hub=options.push_to_hub,
        **given,
    )
    with _progress() as show:
        finetune(
            run,
            say=lambda text: tqdm.write(text, file=sys.stdout),
            show=show,
            stop=stop,
            progress=lambda items: tqdm(items, unit="pic", leave=False, file=sys.stderr),
        )


@contextmanager
def _progress() -> Iterator[Callable[["TrainingStep", int], None]]:
    """A bar where there is a terminal, a line now and then elsewhere."""
    from tqdm import tqdm  # noqa: PLC0415

    form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    drawn = sys.stderr.isatty()
    recent: list[float] = []
    last = time.monotonic()
    with tqdm(total=1.0, bar_format=form, disable=not drawn, file=sys.stderr) as bar:

        def show(step: "TrainingStep", pictures: int) -> None:
            nonlocal last
            recent.append(step.loss)
            del recent[:-100]
            now = time.monotonic()
            rate = pictures * step.step / max(step.seconds, 1e-9)
            loss = sum(recent) / len(recent)
            text = f"step {step.step}, loss {loss:.4f}, {rate:.1f} pictures/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update(min(1.0, step.progress) - bar.n)
            if not drawn and now - last > REPORT_EVERY:
                print(f"{text}, {100 * step.progress:.1f} % done", flush=True)
                last = now

        yield show


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; the first one asks to stop, the second one ends at once."""
    stopping = threading.Event()

    def ask(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _label(name: str) -> str:
    return name.replace("_", "-")
