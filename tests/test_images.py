import numpy as np
import pytest
import torch
from PIL import Image

from ukiyoe.errors import InvalidInput
from ukiyoe.images import contact_sheet, pil_from_tensor, resize, tensor_from_pil


def test_round_trip_keeps_every_level() -> None:
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    picture = pil_from_tensor(levels / 127.5 - 1)[0]
    assert np.array_equal(np.asarray(picture)[..., 0].ravel(), np.arange(256))
    assert torch.equal(((tensor_from_pil([picture]) + 1) * 127.5).round(), levels.float())


def test_overshoot_is_clamped_not_wrapped() -> None:
    wild = torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2).expand(1, 3, -1, -1)
    assert np.asarray(pil_from_tensor(wild)[0])[0, :, 0].tolist() == [0, 255]


def test_nan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NaN"):
        pil_from_tensor(torch.full((1, 3, 2, 2), float("nan")))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("L", (2, 2), 128), 128),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 0)), 255),
        (Image.new("LA", (2, 2), (10, 255)), 10),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 255)), 0),
        (Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)), 255),
        (Image.new("1", (2, 2), 1), 255),
        (Image.new("P", (2, 2), 0), 0),
    ],
)
def test_every_mode_comes_out_right(picture: Image.Image, expected: int) -> None:
    assert float(tensor_from_pil([picture]).mean()) == pytest.approx(expected / 127.5 - 1, abs=0.01)


def test_exif_rotation_is_applied() -> None:
    picture = Image.new("RGB", (4, 2))
    picture.getexif()[0x0112] = 6
    assert tensor_from_pil([picture]).shape == (1, 3, 4, 2)


def test_different_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one size"):
        tensor_from_pil([Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2))])


def test_resize_is_antialiased() -> None:
    stripes = torch.tensor([-1.0, 1.0]).repeat(32).view(1, 1, 1, 64).expand(1, 3, 64, -1)
    assert float(resize(stripes, 8, 8).abs().max()) < 0.2


@pytest.mark.parametrize("count", [1, 2, 4, 5, 48, 300])
def test_contact_sheet_shows_every_picture(count: int) -> None:
    reds = [Image.new("RGB", (20, 30), (255, 0, 0)) for _ in range(count)]
    sheet = contact_sheet(reds)
    assert max(sheet.size) <= 4000
    red = (np.asarray(sheet) == [255, 0, 0]).all(axis=-1).sum()
    assert red == count * 600


def test_contact_sheet_stays_small_and_refuses_nothing() -> None:
    assert max(contact_sheet([Image.new("RGB", (900, 900))] * 100).size) <= 4000
    with pytest.raises(InvalidInput, match="at least one"):
        contact_sheet([])
