"""Color: what people write, what screens show, what eyes see."""

import colorsys
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ukiyoe.errors import InvalidInput

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# B. Ottosson, "A perceptual color space for image processing", 2020: linear sRGB -> LMS -> OKLab.
LMS_FROM_LINEAR = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
OKLAB_FROM_LMS = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# IEC 61966-2-1, linear sRGB -> CIE XYZ, and the D65 white it implies.
XYZ_FROM_LINEAR = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = XYZ_FROM_LINEAR.sum(axis=1)

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
FUNCTION = re.compile(
    rf"(rgba?|hsla?)\(\s*({NUMBER})(%|deg)?[\s,]+({NUMBER})(%?)[\s,]+({NUMBER})(%?)"
    rf"(?:\s*[,/]\s*{NUMBER}%?)?\s*\)"
)


def parse_color(text: object) -> str:
    """Read any CSS color.

    Args:
        text: ``#1f4e79``, ``#abc``, ``rgb(31, 78, 121)``, ``rgba(31.5, 78, 121, 1)``,
            ``hsl(210, 59%, 30%)``, or a CSS name. Transparency is ignored.

    Returns:
        The color as ``#rrggbb``.

    Raises:
        InvalidInput: If it is none of these.
    """
    found = _parse(text)
    if found is None:
        raise InvalidInput(
            "color: expected a CSS color such as #1f4e79, rgb(31, 78, 121) or seagreen, "
            f"got {str(text)[:60]!r}."
        )
    return found


def _parse(text: object) -> str | None:
    if not isinstance(text, str) or len(text) > 100:
        return None
    plain = text.strip().lower()
    if plain in ImageColor.colormap:
        plain = str(ImageColor.colormap[plain]).lower()
    if re.fullmatch(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", plain):
        digits = plain[1:]
        if len(digits) <= 4:
            digits = "".join(2 * digit for digit in digits)
        return "#" + digits[:6]
    match = FUNCTION.fullmatch(plain)
    if not match:
        return None
    kind, first, unit, second, second_unit, third, third_unit = match.groups()
    values = [float(first), float(second), float(third)]
    if kind.startswith("rgb"):
        units = (unit or "", second_unit, third_unit)
        if "deg" in units:
            return None
        red, green, blue = (
            value / (100 if unit == "%" else 255) for value, unit in zip(values, units, strict=True)
        )
    else:
        if unit == "%" or not (second_unit and third_unit):
            return None
        hue, saturation, lightness = values[0] / 360 % 1, values[1] / 100, values[2] / 100
        red, green, blue = colorsys.hls_to_rgb(
            hue, min(max(lightness, 0.0), 1.0), min(max(saturation, 0.0), 1.0)
        )
    return hex_from_srgb((red, green, blue))


def hex_from_srgb(color: tuple[float, float, float] | NDArray[np.float64]) -> str:
    """An sRGB color in [0, 1] as ``#rrggbb``; values outside are clamped."""
    return "#" + "".join(f"{round(255 * min(max(float(value), 0.0), 1.0)):02x}" for value in color)


def srgb_from_hex(color: str) -> tuple[float, float, float]:
    """``#rrggbb`` as sRGB in [0, 1]."""
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def oklab_from_srgb(
    colors: "Float[Tensor, ' *batch 3 height width']",
) -> "Float[Tensor, ' *batch 3 height width']":
    """Perceptual coordinates of sRGB colors, differentiable everywhere.

    Args:
        colors: In [0, 1]; what overshoots is continued by odd symmetry.

    Returns:
        OKLab: lightness 0 to 1, then two opponent axes of about -0.4 to 0.4.

    Source:
        OKLab: B. Ottosson, 2020. The transfer curve: IEC 61966-2-1.
    """
    import torch  # noqa: PLC0415  (parsing a color must not cost the import of torch)

    size = colors.abs()
    curved = ((size.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    linear = torch.where(size <= 0.04045, size / 12.92, curved) * colors.sign()
    lms = torch.einsum("ij,...jhw->...ihw", linear.new_tensor(LMS_FROM_LINEAR), linear)
    # The cube root is infinitely steep at black; a floor of one 8-bit step keeps it finite.
    root = torch.sign(lms) * ((lms.abs() + 3e-4) ** (1 / 3) - 3e-4 ** (1 / 3))
    return torch.einsum("ij,...jhw->...ihw", root.new_tensor(OKLAB_FROM_LMS), root)


def lab_from_srgb(colors: Any) -> NDArray[np.float64]:
    """CIELAB (D65) of sRGB colors.

    Args:
        colors: An array (..., 3) in [0, 1].

    Returns:
        L* (0 to 100), a*, b*, of the same shape.

    Source:
        CIE 15:2004; IEC 61966-2-1.
    """
    srgb = np.asarray(colors, dtype=np.float64)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ XYZ_FROM_LINEAR.T / WHITE
    cube = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = cube[..., 0], cube[..., 1], cube[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def delta_e_2000(lab_1: Any, lab_2: Any) -> NDArray[np.float64]:
    """How different two colors look: about 1 is just noticeable, black to white is 100.

    Args:
        lab_1: CIELAB colors, (..., 3).
        lab_2: CIELAB colors, broadcast against the first.

    Returns:
        The color difference, without the last axis.

    Source:
        Sharma, Wu, Dalal 2005, "The CIEDE2000 Color-Difference Formula", eqs. 2-22.
    """
    first = np.asarray(lab_1, dtype=np.float64)
    second = np.asarray(lab_2, dtype=np.float64)
    l_1, a_1, b_1 = np.moveaxis(first, -1, 0)
    l_2, a_2, b_2 = np.moveaxis(second, -1, 0)
    c_mean = (np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2  # eqs. 2-3
    g = 0.5 * (1 - np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7)))  # eq. 4
    a_1, a_2 = (1 + g) * a_1, (1 + g) * a_2  # eq. 5
    c_1, c_2 = np.hypot(a_1, b_1), np.hypot(a_2, b_2)  # eq. 6
    h_1 = np.degrees(np.arctan2(b_1, a_1)) % 360  # eq. 7
    h_2 = np.degrees(np.arctan2(b_2, a_2)) % 360
    delta_l, delta_c = l_2 - l_1, c_2 - c_1  # eqs. 8-9
    gray = c_1 * c_2 == 0
    turn = h_2 - h_1  # eq. 10
    turn = np.where(turn > 180, turn - 360, np.where(turn < -180, turn + 360, turn))
    turn = np.where(gray, 0.0, turn)
    delta_h = 2 * np.sqrt(c_1 * c_2) * np.sin(np.radians(turn / 2))  # eq. 11
    l_mean, c_mean = (l_1 + l_2) / 2, (c_1 + c_2) / 2  # eqs. 12-13
    total = h_1 + h_2  # eq. 14
    wrapped = np.where(total < 360, total + 360, total - 360)
    h_mean = np.where(np.abs(h_1 - h_2) <= 180, total, wrapped) / 2
    h_mean = np.where(gray, total, h_mean)
    t = (  # eq. 15
        1
        - 0.17 * np.cos(np.radians(h_mean - 30))
        + 0.24 * np.cos(np.radians(2 * h_mean))
        + 0.32 * np.cos(np.radians(3 * h_mean + 6))
        - 0.20 * np.cos(np.radians(4 * h_mean - 63))
    )
    theta = 30 * np.exp(-(((h_mean - 275) / 25) ** 2))  # eq. 16
    r_c = 2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7))  # eq. 17
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)  # eq. 18
    s_c = 1 + 0.045 * c_mean  # eq. 19
    s_h = 1 + 0.015 * c_mean * t  # eq. 20
    r_t = -np.sin(np.radians(2 * theta)) * r_c  # eq. 21
    lightness, chroma, hue = delta_l / s_l, delta_c / s_c, delta_h / s_h
    square = lightness**2 + chroma**2 + hue**2 + r_t * chroma * hue  # eq. 22
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))
