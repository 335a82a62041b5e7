import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ukiyoe.color import (
    delta_e_2000,
    hex_from_srgb,
    lab_from_srgb,
    oklab_from_srgb,
    parse_color,
    srgb_from_hex,
)
from ukiyoe.errors import InvalidInput

# Sharma, Wu, Dalal 2005, table 1: two CIELAB colors and their difference.
SHARMA = np.array(
    [
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425],
        [50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615],
        [50.0, 2.8361, -74.0200, 50.0, 0.0, -82.7485, 3.4412],
        [50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000],
        [50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000],
        [50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000],
        [50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669],
        [50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669],
        [50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0009, 7.1792],
        [50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0010, 7.1792],
        [50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0011, 7.2195],
        [50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0012, 7.2195],
        [50.0, -0.0010, 2.4900, 50.0, 0.0009, -2.4900, 4.8045],
        [50.0, -0.0010, 2.4900, 50.0, 0.0010, -2.4900, 4.8045],
        [50.0, -0.0010, 2.4900, 50.0, 0.0011, -2.4900, 4.7461],
        [50.0, 2.5000, 0.0, 50.0, 0.0, -2.5000, 4.3065],
        [50.0, 2.5000, 0.0, 73.0, 25.0, -18.0, 27.1492],
        [50.0, 2.5000, 0.0, 61.0, -5.0, 29.0, 22.8977],
        [50.0, 2.5000, 0.0, 56.0, -27.0, -3.0, 31.9030],
        [50.0, 2.5000, 0.0, 58.0, 24.0, 15.0, 19.4535],
        [50.0, 2.5000, 0.0, 50.0, 3.1736, 0.5854, 1.0000],
        [50.0, 2.5000, 0.0, 50.0, 3.2972, 0.0, 1.0000],
        [50.0, 2.5000, 0.0, 50.0, 1.8634, 0.5757, 1.0000],
        [50.0, 2.5000, 0.0, 50.0, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)  # fmt: skip


def test_delta_e_2000_gives_the_published_values() -> None:
    np.testing.assert_allclose(delta_e_2000(SHARMA[:, :3], SHARMA[:, 3:6]), SHARMA[:, 6], atol=5e-5)


def test_delta_e_2000_is_symmetric_and_zero_on_equal_colors() -> None:
    first, second = SHARMA[:, :3], SHARMA[:, 3:6]
    assert np.allclose(delta_e_2000(first, second), delta_e_2000(second, first))
    assert float(delta_e_2000(first, first).max()) == 0


def test_lab_of_known_colors() -> None:
    lab = lab_from_srgb(np.array([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]]))
    assert np.allclose(lab, np.array([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]), atol=0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#1F4E79", "#1f4e79"),
        ("  #abc ", "#aabbcc"),
        ("#abcd", "#aabbcc"),
        ("#1f4e7980", "#1f4e79"),
        ("rgb(31, 78, 121)", "#1f4e79"),
        ("rgb(31 78 121 / 50%)", "#1f4e79"),
        ("rgba(31.2, 78.4, 120.9, 1)", "#1f4e79"),
        ("rgb(100%, 0%, 50%)", "#ff0080"),
        ("hsl(120, 100%, 25%)", "#008000"),
        ("hsl(120deg 100% 25%)", "#008000"),
        ("hsla(-240, 100%, 25%, 0.3)", "#008000"),
        ("SeaGreen", "#2e8b57"),
        ("rgb(300, -5, 0)", "#ff0000"),
    ],
)
def test_parse_color_reads_css(text: str, expected: str) -> None:
    assert parse_color(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "blurple", "#12", "#12345", "#gggggg", "rgb(1,2)", "rgb(nan,1,2)", "hsl(1,2,3)",
     "rgb(1deg,2,3)", "rgb(1,2,3", "#1f4e79;", "x" * 10_000, None, 7, ["#fff"]],
)  # fmt: skip
def test_parse_color_refuses_in_one_sentence(text: object) -> None:
    with pytest.raises(InvalidInput, match=r"^color: expected a CSS color") as caught:
        parse_color(text)
    assert len(str(caught.value)) < 200


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_hex_round_trip(levels: tuple[int, int, int]) -> None:
    color = "#{:02x}{:02x}{:02x}".format(*levels)
    assert hex_from_srgb(srgb_from_hex(color)) == color


def test_oklab_of_known_colors() -> None:
    colors = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])[..., None, None]
    lab = oklab_from_srgb(colors)[..., 0, 0]
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0.628, 0.225, 0.126]])
    # The floor that keeps the gradient finite lowers lightness by at most 0.07.
    assert torch.allclose(lab, expected, atol=0.075)


def test_oklab_gradient_is_finite_everywhere() -> None:
    colors = torch.tensor([-0.5, 0.0, 1e-8, 0.04045, 0.5, 1.0, 1.5])
    grid = colors[None, None, :].expand(3, 1, -1).clone().requires_grad_()
    oklab_from_srgb(grid).square().sum().backward()
    assert grid.grad is not None
    assert bool(torch.isfinite(grid.grad).all())
    assert float(grid.grad.abs().max()) < 100
