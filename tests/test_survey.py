"""Folders of pictures as people really have them."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ukiyoe.cli import main
from ukiyoe.errors import InvalidInput
from ukiyoe.training.data import open_print
from ukiyoe.training.survey import survey

pytest.importorskip("imagehash")


def picture(seed: int, size: tuple[int, int] = (120, 180)) -> Image.Image:
    """A random landscape of soft blobs: distinct, with the low frequencies of a real picture."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims to be 60,000 pixels a side."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


PNG, JPEG = encoded(picture(1), "PNG"), encoded(picture(1), "JPEG")
FRAMES = [picture(seed) for seed in (2, 3)]
MOVING = {"save_all": True, "append_images": FRAMES[1:]}
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.png", b"", "broken"),
    "text": ("a.png", b"not a picture at all", "broken"),
    "html": ("a.jpg", b"<!doctype html><title>404</title>", "broken"),
    "zeros": ("a.jpg", bytes(4096), "broken"),
    "only a signature": ("a.png", PNG[:8], "broken"),
    "half a png": ("a.png", PNG[: len(PNG) // 2], "broken"),
    "half a jpeg": ("a.jpg", JPEG[: len(JPEG) // 2], "broken"),
    "jpeg header": ("a.jpg", JPEG[:200], "broken"),
    "damaged png": ("a.png", PNG[:60] + bytes(40) + PNG[100:], "broken"),
    "bomb": ("a.png", bomb(), "larger"),
    "gif film": ("a.gif", encoded(FRAMES[0], "GIF", **MOVING), "animated (2"),
    "webp film": ("a.webp", encoded(FRAMES[0], "WEBP", **MOVING), "animated (2"),
    "png film": ("a.png", encoded(FRAMES[0], "PNG", **MOVING), "animated (2"),
    "many pages": ("a.tiff", encoded(FRAMES[0], "TIFF", **MOVING), "animated (2"),
    "tiny": ("a.png", encoded(picture(1, (8, 8)), "PNG"), "tiny (8x8"),
    "a line": ("a.png", encoded(picture(1, (500, 2)), "PNG"), "tiny (500x2"),
    "one pixel": ("a.gif", encoded(picture(1, (1, 1)), "GIF"), "tiny (1x1"),
    "truncated tiff": ("a.tif", encoded(picture(1), "TIFF")[:300], "broken"),
    "truncated bmp": ("a.bmp", encoded(picture(1), "BMP")[:200], "broken"),
    "truncated webp": ("a.webp", encoded(picture(1), "WEBP")[:50], "broken"),
    "zip": ("a.webp", b"PK\x03\x04" + bytes(100), "broken"),
    "wrong magic": ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(500), "broken"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_listed_not_fatal(name: str, tmp_path: Path) -> None:
    file, content, reason = HOSTILE[name]
    (tmp_path / file).write_bytes(content)
    picture(7).save(tmp_path / "good.png")
    found = survey(tmp_path)
    assert [item.path.name for item in found.prints] == ["good.png"]
    assert [path.name for path, _ in found.skipped] == [file]
    assert found.skipped[0][1].startswith(reason)
    assert file in found.report()


def test_folders_links_and_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    picture(1).save(tmp_path / "deep" / "deeper" / "a.PNG", "PNG")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".hidden").mkdir()
    picture(2).save(tmp_path / ".hidden" / "d.png")
    (tmp_path / "notes.txt").write_text("hello")
    found = survey(tmp_path)
    assert [item.path.name for item in found.prints] == ["a.PNG"]
    assert not found.skipped


def _rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    picture(5).rotate(90, expand=True).save(path, exif=exif)


def _deep(path: Path) -> None:
    gray = np.asarray(picture(5).convert("L"), dtype=np.uint16) * 257
    Image.fromarray(gray).save(path)


def _alpha(path: Path) -> None:
    clear = picture(5)
    clear.putalpha(Image.new("L", clear.size, 0))
    clear.save(path)


def _palette(path: Path) -> None:
    picture(5).quantize(255).save(path)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "rotated by EXIF": ("a.jpg", _rotated),
    "CMYK": ("a.jpg", lambda path: picture(5).convert("CMYK").save(path)),
    "16 bits": ("a.png", _deep),
    "palette": ("a.png", _palette),
    "gray": ("a.png", lambda path: picture(5).convert("L").save(path)),
    "gray and alpha": ("a.png", lambda path: picture(5).convert("LA").save(path)),
    "black and white": ("a.png", lambda path: picture(5).convert("1").save(path)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_comes_out_right(kind: str, tmp_path: Path) -> None:
    name, save = KINDS[kind]
    save(tmp_path / name)
    (item,) = survey(tmp_path, validation_share=0).prints
    opened = open_print(item)
    assert (opened.mode, opened.size) == ("RGB", (120, 180))
    expected, found = (
        np.asarray(p.convert("L").resize((12, 18), Image.Resampling.BOX), dtype=float)
        for p in (picture(5), opened)
    )
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.75
    assert abs(expected.mean() - found.mean()) < 20


def test_transparency_shows_paper_white(tmp_path: Path) -> None:
    _alpha(tmp_path / "a.png")
    (item,) = survey(tmp_path).prints
    assert np.asarray(open_print(item)).min() == 255


def test_doubles_are_found_before_the_split(tmp_path: Path) -> None:
    for seed in range(20):
        picture(seed).save(tmp_path / f"{seed:02d}.png")
    first = picture(0)
    first.save(tmp_path / "copy.bmp")
    first.resize((60, 90)).save(tmp_path / "small.png")
    first.save(tmp_path / "recoded.jpg", quality=30)
    large = first.crop((1, 2, 119, 178)).resize((240, 360))
    large.save(tmp_path / "large.png")
    ImageEnhance.Brightness(first).enhance(1.08).save(tmp_path / "brighter.png")
    found = survey(tmp_path, validation_share=0.25)
    doubles = {double.name: kept.name for double, kept in found.doubles}
    names = ["00.png", "copy.bmp", "small.png", "recoded.jpg", "brighter.png"]
    assert doubles == dict.fromkeys(names, "large.png")  # the one with most pixels stays
    assert len(found.prints) == 20
    assert sum(item.split == "val" for item in found.prints) == 5


def test_different_colors_of_one_drawing_are_no_doubles(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "navy").save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "gold").save(tmp_path / "b.png")
    assert len(survey(tmp_path).prints) == 2


def test_the_split_goes_by_content_and_stays(tmp_path: Path) -> None:
    for seed in range(20):
        picture(seed).save(tmp_path / f"{seed}.png")

    def held_out() -> set[str]:
        found = survey(tmp_path, validation_share=0.2)
        pairs = zip(found.prints, found.looks, strict=True)
        return {look.content for item, look in pairs if item.split == "val"}

    before = held_out()
    assert len(before) == 4
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(f"renamed-{path.name}"))
    assert held_out() == before


def test_captions_come_from_labels_or_a_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a wave\n", encoding="utf-8-sig")
    assert [item.caption for item in survey(tmp_path).prints] == ["a wave", ""]
    rows = [{"file": "b.png", "caption": "a boat", "split": "val"}, {"file": "a.png"}]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = survey(tmp_path).prints
    assert [(item.caption, item.split) for item in found] == [("a boat", "val"), ("", "train")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.jsonl", "{"),
        ("labels.jsonl", "[]"),
        ("labels.jsonl", '{"caption": "no file"}'),
        ("metadata.csv", "path,text\na.png,a wave\n"),
        ("metadata.csv", b"\xff\xfe\xfa"),
    ],
)
def test_broken_labels_are_one_sentence(
    name: str, content: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["data", "inspect", str(tmp_path)]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("ukiyoe: data: ")
    assert "\n" not in message.split("ukiyoe: ")[-1]


def test_no_usable_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no usable picture"):
        survey(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InvalidInput, match="1 files were skipped, the first because it is broken"):
        survey(tmp_path)
    with pytest.raises(InvalidInput, match="expected a folder"):
        survey(tmp_path / "a.png")
    with pytest.raises(InvalidInput, match="validation_share"):
        survey(tmp_path, validation_share=1)


def test_inspect_prints_a_report_and_saves_a_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        picture(seed).save(tmp_path / f"{seed}.png")
    picture(4, (180, 120)).save(tmp_path / "4.png")
    picture(0).save(tmp_path / "again.png")
    sheet = tmp_path / "out" / "sheet.png"
    assert main(["data", "inspect", str(tmp_path), "--sheet", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert "pictures: 4 (4 train)" in text
    assert "shapes: 3 portrait, 1 landscape" in text
    assert "shorter side: 120 to 120 px" in text
    assert "doubles left out: 1" in text
    with Image.open(sheet) as image:
        assert image.width > 400
    assert main(["data", "inspect", str(tmp_path), "--sheet", str(tmp_path / "a.txt")]) == 2
