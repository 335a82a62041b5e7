"""``ukiyoe evaluate``: its options, its pictures, its progress. No torch until it runs."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukiyoe.errors import InvalidInput
from ukiyoe.settings import EVALUATION, MAX_COUNT, PACKAGED

if TYPE_CHECKING:
    from PIL import Image

    from ukiyoe.evaluation.session import EvaluationData, Prints
    from ukiyoe.training.data import Print

INTERRUPTED = 130


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``ukiyoe evaluate``."""
    add = parser.add_argument
    add("--model", default=PACKAGED, help=f'"{PACKAGED}" (default), a folder, or a Hub id')
    add("--data", metavar="PRINTS", help="a folder with a labels.jsonl, or any pictures")
    add(
        "--guides",
        nargs="+",
        metavar="WISH",
        help='wishes to measure: color=C, text=WORDS, "text=WORDS color=C", or none '
        "(default: four colors, four words, two of both)",
    )
    add("--count", default=EVALUATION.count, type=int, metavar="N",
        help=f"unguided pictures to make (default {EVALUATION.count})")  # fmt: skip
    add("--features", default=EVALUATION.features, metavar="F",
        help=f"inception, dinov2, clip or FILE.onnx (default {EVALUATION.features})")  # fmt: skip
    add("--output", metavar="DIR", help="where to (default: a new numbered folder in evaluations/)")
    add("--curves", action="store_true", help="also KID over steps and solvers (slow)")
    add("--compare", nargs=2, metavar=("A", "B"), help="put two finished reports side by side")


def evaluate(options: argparse.Namespace, output: Path) -> int:
    """Measure a model, or compare two reports.

    Args:
        options: Parsed ``evaluate`` options.
        output: Where the report goes.

    Returns:
        The exit code.

    Raises:
        InvalidInput: If an option is missing or out of range.
    """
    if not 1 <= options.count <= MAX_COUNT:
        raise InvalidInput(f"count: expected 1 to {MAX_COUNT}, got {options.count}.")
    if options.compare:
        from ukiyoe.evaluation.report import write_comparison  # noqa: PLC0415

        first, second = map(Path, options.compare)
        print(f"report: {write_comparison(first, second, output)}")
        return 0
    if options.data is None:
        raise InvalidInput("data: expected --data PRINTS to compare with, or --compare A B.")
    return _measure(options, output)


def _measure(options: argparse.Namespace, output: Path) -> int:
    import numpy as np  # noqa: PLC0415

    from ukiyoe.evaluation.effects import parse_guide  # noqa: PLC0415
    from ukiyoe.evaluation.networks import load_network  # noqa: PLC0415
    from ukiyoe.evaluation.report import write_report  # noqa: PLC0415
    from ukiyoe.evaluation.run import evaluation_parts  # noqa: PLC0415
    from ukiyoe.pipeline import UkiyoePipeline  # noqa: PLC0415

    guides = options.guides
    if guides is not None:
        guides = [] if guides == ["none"] else [parse_guide(text) for text in guides]
    pipe = UkiyoePipeline.from_pretrained(options.model)
    data = read_data(Path(options.data), pipe.model.picture_size(pipe.model.default_orientation))
    network = load_network(options.features, lambda text: print(text, file=sys.stderr))
    features: dict[str, Any] = {}
    parts = evaluation_parts(
        pipe,
        data,
        network,
        Path(options.features).name,
        guides,
        options.count,
        options.curves,
        _progress,
        features.__setitem__,
    )
    found = None
    try:
        for so_far in parts:
            found = so_far
    except KeyboardInterrupt:
        if found is None:
            raise
        print("ukiyoe: interrupted; the report holds what was measured.", file=sys.stderr)
    assert found is not None  # there is at least one part
    page = write_report(found, output)
    np.savez(output / "features.npz", **features)
    for measure in found.measures:
        if measure.value is not None:
            bar = "" if measure.spread is None else f" ± {measure.spread:.3g}"
            name = f"{measure.group}: {measure.name}" if measure.group else measure.name
            print(f"{name:52s} {measure.value:.4g}{bar} {measure.unit}".rstrip())
    print(f"report: {page}")
    return 0 if any(m.section == "Time and memory" for m in found.measures) else INTERRUPTED


def read_data(folder: Path, size: tuple[int, int]) -> "EvaluationData":
    """Real pictures to compare with.

    Args:
        folder: With a ``labels.jsonl``, its val prints are the reference and its train prints
            may have been copied. Any other folder of pictures is both.
        size: Height and width of the pictures, the shape that prints are cut to.

    Returns:
        The pictures, not opened yet.

    Raises:
        InvalidInput: If there is no usable picture.
    """
    from ukiyoe.evaluation.session import EvaluationData  # noqa: PLC0415
    from ukiyoe.training.data import read_labels  # noqa: PLC0415
    from ukiyoe.training.survey import survey  # noqa: PLC0415

    if (folder / "labels.jsonl").is_file():
        val, train = read_labels(folder, "val"), read_labels(folder, "train")
        missing = [item.path for item in (*val, *train) if not item.path.is_file()]
        if missing:
            raise InvalidInput(
                f"data: {folder / 'labels.jsonl'} lists {missing[0].name}, which is not there "
                f"({len(missing)} files are missing)."
            )
        return EvaluationData(
            folder.name, _whole(val), _whole(train), _cut(train, size), _cut(val, size)
        )
    found = survey(folder, progress=lambda items: _progress(items, "reading pictures")).prints
    whole = _whole(found)
    return EvaluationData(folder.name, whole, whole, _cut(found, size), None)


def _whole(items: list["Print"]) -> "Prints":
    """Prints as their files are, margins and all: what a KID of the prints is measured on."""
    from ukiyoe.evaluation.session import Prints  # noqa: PLC0415

    return Prints(len(items), lambda k: _open(items[k].path), tuple(item.tags for item in items))


def _cut(items: list["Print"], size: tuple[int, int]) -> "Prints":
    """The middle of each print in the shape of our pictures."""
    from ukiyoe.evaluation.session import Prints  # noqa: PLC0415
    from ukiyoe.training.data import crops, open_print  # noqa: PLC0415

    def middle(index: int) -> "Image.Image":
        cuts = list(crops(open_print(items[index]), size))
        return cuts[len(cuts) // 2]

    return Prints(len(items), middle)


def _open(path: Path) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except Exception as error:  # PIL raises many kinds on broken files
        raise InvalidInput(f"data: {path} is not a readable picture.") from error


def _progress(items: Iterable[Any], label: str = "") -> Iterable[Any]:
    from tqdm import tqdm  # noqa: PLC0415

    bar: Iterable[Any] = tqdm(items, desc=label, leave=False, file=sys.stderr)
    return bar
