"""Where pictures come from: a folder, a dataset saved by ``datasets``, or one on the Hub.

Datasets become folders of their original files, named after their bytes, so that everything
after this point knows folders only; a picture that repeats (as the prints of
``huggan/ukiyoe2photo`` do, to match the photos) is written once.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from ukiyoe.errors import InvalidInput, MissingExtra
from ukiyoe.training.survey import CAPTION_COLUMNS

SUFFIXES = {"JPEG2000": ".jp2", "MPO": ".jpg"}  # Pillow's formats that are no file extension


def picture_folder(
    data: str,
    image_column: str | None,
    cache: Path,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> Path:
    """A folder of pictures, wherever they are.

    Args:
        data: A folder of pictures, a folder written by ``Dataset.save_to_disk``, or a dataset's
            Hub id.
        image_column: Which column of a dataset holds the pictures; None finds the only one.
        cache: Where the pictures of a dataset go.
        progress: Wraps the rows while they are written.

    Returns:
        The folder.

    Raises:
        InvalidInput: If there is no such data, or it has no such column.
    """
    folder = Path(data).expanduser()
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    if folder.is_dir() and not saved:
        if image_column is not None:
            raise InvalidInput(
                f"image-column: expected a dataset as data, got a folder of pictures, {data}."
            )
        return folder
    if not saved and (data.count("/") != 1 or data.startswith((".", "/", "~")) or folder.exists()):
        raise InvalidInput(
            f"data: expected a folder of pictures, a saved dataset or a Hub id (owner/name), got "
            f"{data}."
        )
    rows = _open(data if not saved else folder)
    column = _image_column(rows, image_column)
    return _write(rows, column, cache, progress)


def _open(source: str | Path) -> Any:
    """All splits of a dataset, by name."""
    try:
        import datasets  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtra(
            "data: datasets is not installed; run pip install 'ukiyoe[train]'."
        ) from error
    try:
        if isinstance(source, Path):
            found = datasets.load_from_disk(source)
        else:
            found = datasets.load_dataset(source)
    except Exception as error:  # network, script, format: no common base class
        raise InvalidInput(
            f"data: cannot load the dataset {str(source)!r} ({type(error).__name__}); check the id "
            "and the network, or pass a folder of pictures."
        ) from error
    return found if isinstance(found, dict) else {"train": found}


def _image_column(splits: Any, wished: str | None) -> str:
    features = next(iter(splits.values())).features
    pictures = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    if wished is None and len(pictures) == 1:
        return str(pictures[0])
    if wished not in pictures:
        named = ", ".join(pictures) or "none"
        asked = "no column" if wished is None else repr(wished)
        raise InvalidInput(
            f"image-column: expected one of the dataset's picture columns ({named}), got {asked}."
        )
    return str(wished)


def _write(splits: Any, column: str, cache: Path, progress: Callable[[Any], Iterable[Any]]) -> Path:
    """Every different picture of a column as a file, with a ``metadata.csv`` beside them.

    All splits go into one folder: pictures repeat across splits too, and the survey splits what
    is left when the doubles are gone.
    """
    import datasets  # noqa: PLC0415  (here only if it was there before)

    fingerprint = "".join(f"{name}{rows._fingerprint}" for name, rows in sorted(splits.items()))
    name = hashlib.sha256(f"{fingerprint}{column}".encode()).hexdigest()[:24]
    folder = cache / "datasets" / name
    table = folder / "metadata.csv"
    if table.is_file():
        return folder
    captions: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for rows in splits.values():
            described = next((c for c in CAPTION_COLUMNS if c in rows.features), None)
            for row in progress(rows.cast_column(column, datasets.Image(decode=False))):
                content = _content(row[column])
                file = hashlib.sha256(content).hexdigest()[:24] + _suffix(content)
                if file not in captions:
                    (folder / file).write_bytes(content)
                    captions[file] = str((described and row[described]) or "")
        part = table.with_suffix(f".{os.getpid()}")
        with part.open("w", encoding="utf-8", newline="") as lines:
            csv.writer(lines).writerows([("file_name", "caption"), *captions.items()])
        part.replace(table)
    except OSError as error:
        raise InvalidInput(f"data: cannot write {folder} ({error.strerror}).") from error
    return folder


def _content(cell: Any) -> bytes:
    """The original bytes of a picture; nothing, which the survey will list, of an empty cell."""
    if cell and cell.get("bytes"):
        return bytes(cell["bytes"])
    path = Path(cell["path"]) if cell and cell.get("path") else None
    return path.read_bytes() if path and path.is_file() else b""


def _suffix(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return SUFFIXES.get(picture.format or "", f".{(picture.format or 'png').lower()}")
    except Exception:  # the survey will list it as broken
        return ".png"
