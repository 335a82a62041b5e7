"""What an evaluation found: plain data, to and from ``report.json``."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ukiyoe.errors import InvalidInput

REPORT = "report.json"
FORMAT = 1
SHOWN_SIDE = 320  # px; longer side of a picture in the report


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes:
        section: The table it belongs to.
        name: What was measured.
        value: The number; None where it could not be measured, and the note says why.
        spread: Its error bar, one standard deviation; None for counts and single timings.
        group: A row of the table, for tables with several columns.
        unit: "s", "%", ... or nothing.
        better: "lower", "higher" or "" if neither is.
        note: What to know about it.
    """

    section: str
    name: str
    value: float | None
    spread: float | None = None
    group: str = ""
    unit: str = ""
    better: str = ""
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        name: Its label.
        x: Where.
        y: How much, as many as x.
        spread: One standard deviation of each y; empty for none.
        labels: What each point is called; empty for none.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    spread: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Lines over an axis, or the distribution of values.

    Attributes:
        title: What it shows.
        kind: "lines", or "distribution" (x holds the values, y is empty).
        x_label: The horizontal axis.
        y_label: The vertical axis.
        series: The lines.
        note: How to read it.
    """

    title: str
    kind: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """A grid of pictures.

    Attributes:
        name: Names its files.
        title: What it shows.
        columns: Pictures in a row.
        captions: One per picture.
        pictures: The pictures, or where ``report.json`` lies beside them, their files.
        note: How they were chosen.
    """

    name: str
    title: str
    columns: int
    captions: tuple[str, ...]
    pictures: tuple[Image.Image, ...] = field(repr=False)
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one model.

    Attributes:
        about: What was measured, with what, when and where.
        measures: The numbers.
        plots: The plots.
        galleries: The pictures.
    """

    about: dict[str, str]
    measures: tuple[Measure, ...] = ()
    plots: tuple[Plot, ...] = ()
    galleries: tuple[Gallery, ...] = ()

    def value(self, name: str, group: str = "") -> float:
        """A number by its name.

        Args:
            name: What was measured.
            group: Its row, for tables with several columns.

        Returns:
            The first such number.

        Raises:
            InvalidInput: If it was not measured.
        """
        for measure in self.measures:
            if (measure.name, measure.group) == (name, group) and measure.value is not None:
                return measure.value
        raise InvalidInput(f"report: expected a measure {name!r}, got none.")


def save_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write ``report.json`` and the pictures it names.

    Args:
        evaluation: What was found.
        folder: Where to; made if missing.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "format": FORMAT,
        "about": evaluation.about,
        "measures": [asdict(measure) for measure in evaluation.measures],
        "plots": [asdict(plot) for plot in evaluation.plots],
        "galleries": [],
    }
    for gallery in evaluation.galleries:
        names = []
        for index, picture in enumerate(gallery.pictures):
            names.append(f"pictures/{gallery.name}-{index:03d}.jpg")
            (folder / names[-1]).write_bytes(jpeg(picture))
        kept = {key: getattr(gallery, key) for key in ("name", "title", "columns", "captions")}
        content["galleries"].append({**kept, "note": gallery.note, "pictures": names})
    write_whole(folder / REPORT, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def load_evaluation(folder: Path) -> Evaluation:
    """Read a ``report.json`` with its pictures.

    Args:
        folder: What `save_evaluation` wrote; the ``report.json`` itself will do.

    Returns:
        The evaluation.

    Raises:
        InvalidInput: If there is none, or it is broken or of a newer version.
    """
    path = folder if folder.suffix == ".json" else folder / REPORT
    if not path.is_file():
        raise InvalidInput(
            f"compare: expected a folder that ukiyoe evaluate wrote, got {folder}, which has no "
            f"{REPORT}."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise InvalidInput(f"compare: {path} is of a newer version of Ukiyoe.")
        return Evaluation(
            {str(key): str(value) for key, value in content["about"].items()},
            tuple(Measure(**row) for row in content["measures"]),
            tuple(_plot(row) for row in content["plots"]),
            tuple(_gallery(row, path.parent) for row in content["galleries"]),
        )
    except InvalidInput:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"compare: {path} is broken, or no report of ours.") from error


def jpeg(picture: Image.Image) -> bytes:
    """A picture as the report shows it, at most `SHOWN_SIDE` px a side."""
    small = picture.convert("RGB")
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_whole(path: Path, text: str) -> None:
    """Write beside the target, then move there: a file is whole or absent.

    Args:
        path: The file.
        text: What it will hold.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _plot(row: dict[str, Any]) -> Plot:
    lists: Callable[[Any], Any] = lambda value: tuple(value) if isinstance(value, list) else value  # noqa: E731
    series = tuple(Series(**{key: lists(v) for key, v in line.items()}) for line in row["series"])
    return Plot(**{**row, "series": series})


def _gallery(row: dict[str, Any], folder: Path) -> Gallery:
    pictures = []
    for name in row["pictures"]:
        with Image.open(folder / name) as picture:
            pictures.append(picture.convert("RGB"))
    return Gallery(**{**row, "captions": tuple(row["captions"]), "pictures": tuple(pictures)})
