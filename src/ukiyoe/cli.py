"""The command line: parse, call, show. No logic of its own, no torch until it is needed."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ukiyoe import cli_app, cli_train
from ukiyoe.cli_eval import add_evaluate
from ukiyoe.errors import FileConflict, InvalidInput, UkiyoeError
from ukiyoe.recipe import Recipe, package_version, read_recipe
from ukiyoe.settings import (
    BATCH_SIZE,
    DEFAULTS,
    MAX_COUNT,
    MAX_SEED,
    ORIENTATIONS,
    PACKAGED,
    SOLVERS,
)

if TYPE_CHECKING:
    from PIL import Image

BAD_INPUT, INTERRUPTED = 2, 130
SHEET_PICTURES = 48


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Args:
            message: What argparse found.

        Raises:
            InvalidInput: Always.
        """
        raise InvalidInput(f"{message}; see {self.prog} --help.")


def build_parser() -> Parser:
    """Every command and option, with defaults from `ukiyoe.settings`."""
    parser = Parser(
        prog="ukiyoe",
        description="New postcards in the style of Japanese woodblock prints.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ukiyoe {package_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make pictures", allow_abbrev=False))
    info = commands.add_parser("info", help="print the recipe inside a picture", allow_abbrev=False)
    info.add_argument("file", metavar="FILE.png", help="a PNG made by Ukiyoe")
    _add_data(commands.add_parser("data", help="look at pictures to train on", allow_abbrev=False))
    train = commands.add_parser("train", help="train a model on pictures", allow_abbrev=False)
    cli_train.add_options(train, _number, _whole)
    cli_app.add_options(commands.add_parser("app", help="serve the app", allow_abbrev=False))
    add_evaluate(commands.add_parser("evaluate", help="measure a model", allow_abbrev=False))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    # No defaults here: what was not given comes from --recipe, or else from the settings.
    add = parser.add_argument
    add("--model", help=f'"{PACKAGED}" (default), a folder, or a Hub id')
    add("--prompt", metavar="TEXT", help="what to steer to, in words")
    add("--text-scale", type=_number, metavar="S", help=_default("text_scale", "0 to 10"))
    add("--color", metavar="C", help="mean color to steer to: any CSS color")
    add("--color-scale", type=_number, metavar="S", help=_default("color_scale", "0 to 10"))
    add("--seed", type=_whole, metavar="N", help="seed of the first picture (default 0)")
    add("--count", type=_whole, default=1, metavar="K", help="seeds N, N+1, ... (default 1)")
    add(
        "--variation",
        type=_number,
        metavar="X",
        help="0 to 1: how much of --variation-seed's noise",
    )
    add(
        "--variation-seed", type=_whole, metavar="N", help="mix in this seed's noise (default none)"
    )
    add("--steps", type=_whole, metavar="N", help=_default("num_inference_steps", "steps"))
    add("--solver", metavar="NAME", help=_default("solver", ", ".join(SOLVERS)))
    add("--orientation", metavar="SHAPE", help=f"{', '.join(ORIENTATIONS)} (default: the model's)")
    add("--batch-size", type=_whole, default=BATCH_SIZE, metavar="B", help="pictures at a time")
    add("--text-encoder", metavar="ID", help=_default("text_encoder", "or a CLIP folder or id"))
    add("--device", metavar="D", help="cpu, cuda or mps (default: the best there is)")
    add("--recipe", metavar="R", help="a PNG of ours, a .json or a share string to make again")
    add("--output", metavar="DIR", help="where to (default: a new numbered folder in postcards/)")
    add("--json", action="store_true", help="print the report as JSON")
    add("--quiet", action="store_true", help="print nothing but errors")


def _add_data(parser: argparse.ArgumentParser) -> None:
    inspect = parser.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "inspect", help="count, find doubles and broken files", allow_abbrev=False
    )
    inspect.add_argument("folder", metavar="PATH", help="a folder of pictures")
    inspect.add_argument("--sheet", metavar="FILE.png", help="also save a contact sheet")


def _default(name: str, text: str) -> str:
    return f"{text} (default {getattr(DEFAULTS, name)})"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows ``ukiyoe``; None takes the process's own.

    Returns:
        The exit code: 0, 2 for bad input, 130 when interrupted.
    """
    try:
        options = build_parser().parse_args(arguments)
        commands: dict[str, Callable[[argparse.Namespace], int]] = {
            "generate": generate,
            "info": info,
            "data": data,
            "train": cli_train.train,
            "evaluate": evaluate,
            "app": cli_app.serve,
        }
        return commands[options.command](options)
    except UkiyoeError as error:
        print(f"ukiyoe: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("ukiyoe: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (the reader went away)
        return 0


def info(options: argparse.Namespace) -> int:
    """Print a recipe, and the share string that makes the picture again."""
    recipe = read_recipe(options.file)
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if value not in (None, ""):
            print(f"{field.name}: {value}")
    print(f"share: {recipe.to_share_string()}")
    return 0


def wished_recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that --recipe and the other flags ask for together.

    Args:
        options: Parsed ``generate`` options.

    Returns:
        The recipe of the first picture; its orientation may still be the model's to choose.
    """
    base = read_recipe(options.recipe) if options.recipe is not None else Recipe()
    names = {"steps": "num_inference_steps"}
    given = {
        names.get(name, name): getattr(options, name)
        for name in [
            "model",
            "prompt",
            "text_scale",
            "color",
            "color_scale",
            "seed",
            "variation",
            "variation_seed",
            "steps",
            "solver",
            "orientation",
            "text_encoder",
        ]
        if getattr(options, name) is not None
    }
    return replace(base, **given)


def generate(options: argparse.Namespace) -> int:
    """Make pictures and save them with their recipes."""
    wish = wished_recipe(options)
    count = options.count
    if not 1 <= count <= MAX_COUNT:
        raise InvalidInput(f"count: expected 1 to {MAX_COUNT}, got {count}.")
    if options.batch_size < 1:
        raise InvalidInput(f"batch-size: expected a whole number from 1, got {options.batch_size}.")
    if wish.seed + count - 1 > MAX_SEED:
        raise InvalidInput(f"seed: expected seed + count up to 2^63 - 1, got seed {wish.seed}.")
    output = Path(options.output) if options.output else None
    if output is not None and not _writable(output):
        raise InvalidInput(f"output: {output} is not a folder we can write to.")

    from ukiyoe.images import contact_sheet  # noqa: PLC0415  (torch is loaded only now)
    from ukiyoe.pipeline import UkiyoePipeline  # noqa: PLC0415

    with _quiet_libraries():
        pipeline = UkiyoePipeline.from_pretrained(wish.model, options.device)
        if options.recipe is None and options.orientation is None:
            wish = replace(wish, orientation=pipeline.model.default_orientation)
        signed = pipeline.recipe(wish)
    if options.recipe is not None and wish.model_hash not in ("", signed.model_hash):
        _say(options, "note: the recipe was made with other weights; the picture will differ.")
    if signed.prompt is not None:
        _say(options, pipeline.explain_prompt(signed))
    recipes = [replace(signed, seed=wish.seed + k) for k in range(count)]
    output = output or _numbered_folder(Path("postcards"))
    kept = _check_conflicts(output, recipes)
    _make_folder(output)
    missing = [recipe for recipe in recipes if recipe.seed not in kept]
    seconds: dict[int, float] = {}
    interrupted = False
    try:
        for recipe, picture, spent in _pictures(pipeline, missing, options):
            _save_png(picture, output / f"seed-{recipe.seed}.png", recipe)
            seconds[recipe.seed] = spent
    except KeyboardInterrupt:
        interrupted = True
    made = [r.seed for r in recipes if r.seed in seconds or r.seed in kept]
    if made:
        report = [_report_row(output, seed, seconds.get(seed, 0.0)) for seed in made]
        sheet = contact_sheet([_open(output / f"seed-{seed}.png") for seed in made])
        _atomically(output / "contact-sheet.png", lambda path: sheet.save(path, "PNG"))
        text = json.dumps(report, indent=2) + "\n"
        _atomically(output / "report.json", lambda path: path.write_text(text, encoding="utf-8"))
        if options.json:
            print(text, end="")
        else:
            _say(options, f"{len(made)} pictures in {output}: see {output / 'contact-sheet.png'}")
    return INTERRUPTED if interrupted else 0


def _pictures(
    pipeline: Any, recipes: list[Recipe], options: argparse.Namespace
) -> Iterator[tuple[Recipe, "Image.Image", float]]:
    """Sample recipes batch by batch under a progress bar; seconds are per picture."""
    from tqdm import tqdm  # noqa: PLC0415

    from ukiyoe.images import pil_from_tensor  # noqa: PLC0415
    from ukiyoe.pipeline import split_batches  # noqa: PLC0415

    batches = split_batches(recipes, options.batch_size)
    steps = recipes[0].num_inference_steps * len(batches) if recipes else 0
    nonfinite: set[str] = set()
    bar = tqdm(total=steps, unit="step", disable=options.quiet or options.json, file=sys.stderr)
    with bar:
        for batch in batches:
            start = time.perf_counter()
            for step in pipeline.sample(batch):
                nonfinite.update(step.nonfinite)
                bar.update()
            pictures = pil_from_tensor(pipeline.model.finish(step.sample))
            spent = (time.perf_counter() - start) / len(batch)
            for recipe, picture in zip(batch, pictures, strict=True):
                yield recipe, picture, round(spent, 3)
    for name in sorted(nonfinite):
        print(f"ukiyoe: the {name} guide gave NaN or inf; it was ignored there.", file=sys.stderr)


def _check_conflicts(output: Path, recipes: list[Recipe]) -> set[int]:
    """Seeds whose file is already exactly this recipe; a file that would change is an error."""
    kept = set()
    for recipe in recipes:
        path = output / f"seed-{recipe.seed}.png"
        if not path.exists():
            continue
        try:
            same = read_recipe(str(path)) == recipe and bool(_open(path).load())
        except (UkiyoeError, OSError):
            same = False
        if not same:
            raise FileConflict(
                f"output: {path} exists and is another picture; choose another folder or remove it."
            )
        kept.add(recipe.seed)
    if not kept and (output / "contact-sheet.png").exists():
        raise FileConflict(
            f"output: {output} holds the contact sheet of other pictures; choose another folder."
        )
    return kept


def _report_row(output: Path, seed: int, seconds: float) -> dict[str, object]:
    """What was achieved, measured on the saved picture."""
    from ukiyoe.achieved import achieved  # noqa: PLC0415

    path = output / f"seed-{seed}.png"
    recipe = read_recipe(str(path))
    found = achieved(_open(path), recipe)
    return {
        "file": path.name,
        "seed": seed,
        "mean_color": found.mean_color,
        "delta_e_2000": found.delta_e_2000,
        "seconds": seconds,
        "share": recipe.to_share_string(),
    }


def data(options: argparse.Namespace) -> int:
    """Report on a folder of pictures."""
    from PIL import ImageOps  # noqa: PLC0415
    from tqdm import tqdm  # noqa: PLC0415

    from ukiyoe.images import contact_sheet  # noqa: PLC0415
    from ukiyoe.training.data import open_print  # noqa: PLC0415
    from ukiyoe.training.survey import survey  # noqa: PLC0415

    sheet = Path(options.sheet) if options.sheet else None
    if sheet is not None and (sheet.suffix.lower() != ".png" or not _writable(sheet.parent)):
        raise InvalidInput(f"sheet: expected a .png in a folder we can write to, got {sheet}.")
    found = survey(
        Path(options.folder), progress=lambda items: tqdm(items, unit="pic", leave=False)
    )
    print(found.report())
    if sheet is not None:
        spread = range(0, len(found.prints), max(1, len(found.prints) // SHEET_PICTURES))
        shown = [open_print(found.prints[i]) for i in spread][:SHEET_PICTURES]
        _make_folder(sheet.parent)
        picture = contact_sheet([ImageOps.contain(p, (256, 256)) for p in shown])
        _atomically(sheet, lambda path: picture.save(path, "PNG"))
        print(f"contact sheet: {sheet}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure a model, or put two reports side by side."""
    from ukiyoe import cli_eval  # noqa: PLC0415

    output = Path(options.output) if options.output else _numbered_folder(Path("evaluations"))
    if not _writable(output):
        raise InvalidInput(f"output: {output} is not a folder we can write to.")
    if any((output / name).exists() for name in ("report.json", "report.html")):
        raise FileConflict(f"output: {output} holds a report already; choose another folder.")
    return cli_eval.evaluate(options, output)


def _save_png(picture: "Image.Image", path: Path, recipe: Recipe) -> None:
    _atomically(path, lambda part: picture.save(part, "PNG", pnginfo=recipe.png_info()))


def _atomically(path: Path, write: Any) -> None:
    """Write beside the target, then move there: a file is whole or absent."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise InvalidInput(f"output: cannot write {path} ({error.strerror}).") from error
    finally:
        part.unlink(missing_ok=True)


def _open(path: Path) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415

    with Image.open(path) as picture:
        return picture.convert("RGB")


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written to."""
    try:
        while not folder.exists():
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK)
    except OSError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"output: cannot make {folder} ({error.strerror}).") from error


def _numbered_folder(parent: Path) -> Path:
    """The first of parent/0001, parent/0002, ... that is not there yet."""
    number = 1
    while (parent / f"{number:04d}").exists():
        number += 1
    return parent / f"{number:04d}"


def _say(options: argparse.Namespace, text: str) -> None:
    if text and not (options.quiet or options.json):
        print(text, flush=True)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep the loading chatter of diffusers and transformers off the terminal."""
    import diffusers  # noqa: PLC0415

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    yield


if __name__ == "__main__":
    sys.exit(main())
