"""Plots as inline SVG: nothing to install, nothing to download, sharp at any size."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from ukiyoe.evaluation.result import Plot

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 52
# Indigo, vermilion, ochre, pine, plum, gray: told apart by lightness, too.
PALETTE = ("#1f4e79", "#c0432f", "#b8862b", "#4f7942", "#7a4f8a", "#6b6b6b")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "", "4 4")
BINS = 24
ROW = 20  # height of a row of the legend


def svg(plot: Plot) -> str:
    """Draw a plot.

    Args:
        plot: Lines with error bars, or distributions.

    Returns:
        An ``<svg>`` element that needs nothing else.
    """
    drawn, named = _distribution(plot) if plot.kind == "distribution" else _lines(plot)
    legend, above = _legend(named)
    return (
        f'<svg viewBox="0 {-above} {WIDTH} {HEIGHT + above}" role="img" '
        f'aria-label="{escape(plot.title)}" xmlns="http://www.w3.org/2000/svg">{drawn}{legend}</svg>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that span a range.

    Args:
        low: Start of the range.
        high: End of the range, above the start.
        about: How many numbers to aim for.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten; the first is at most ``low``, the last at
        least ``high``.
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


class _Axes:
    """Numbers to places on the drawing, and what frames them."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.x_ticks, self.y_ticks = (ticks(*_range(values)) for values in (xs, ys))

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def frame(self, plot: Plot) -> str:
        """Grid, numbers, names of the axes."""
        parts = []
        for value in self.y_ticks:
            y = self.y(value)
            line = "axis" if value in (0, self.y_ticks[0]) else "grid"
            parts.append(f'<path class="{line}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(_text(LEFT - 8, y + 4, f"{value:g}", "end"))
        for value in self.x_ticks:
            parts.append(_text(self.x(value), HEIGHT - BOTTOM + 18, f"{value:g}", "middle"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_text(middle, HEIGHT - 10, plot.x_label, "middle"))
        height = (TOP + HEIGHT - BOTTOM) / 2
        turn = f' transform="rotate(-90 14 {height:.0f})"'
        parts.append(_text(14, height, plot.y_label, "middle", turn))
        return "".join(parts)


def _lines(plot: Plot) -> tuple[str, list[str]]:
    """The drawing, and the names its legend needs."""
    xs = [x for line in plot.series for x in line.x]
    ys = [
        y + sign * s
        for line in plot.series
        for y, s in zip(line.y, line.spread or [0.0] * len(line.y), strict=True)
        for sign in (-1, 1)
    ]
    axes = _Axes(xs, ys)
    parts = [axes.frame(plot)]
    for number, line in enumerate(plot.series):
        color = PALETTE[number % len(PALETTE)]
        points = [(axes.x(x), axes.y(y)) for x, y in zip(line.x, line.y, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = DASHES[number % len(DASHES)]
        parts.append(
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
        for index, (x, y) in enumerate(points):
            if line.spread:
                low, high = (axes.y(line.y[index] + d * line.spread[index]) for d in (-1, 1))
                parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{color}"/>')
            label = line.labels[index] if line.labels else ""
            title = escape(f"{line.name} {label}: {line.x[index]:.3g}, {line.y[index]:.3g}")
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}" stroke="#fffdf7">'
                f"<title>{title}</title></circle>"
            )
            if label:
                parts.append(_text(x + 8, y - 8, label, "start"))
    return "".join(parts), [line.name for line in plot.series] if len(plot.series) > 1 else []


def _distribution(plot: Plot) -> tuple[str, list[str]]:
    """The drawing, and the names its legend needs."""
    values = [value for line in plot.series for value in line.x]
    low, high = _range(values)
    edges = np.linspace(low, high, BINS + 1)
    shares = [
        np.histogram(np.array(line.x), edges)[0] / max(len(line.x), 1) for line in plot.series
    ]
    axes = _Axes([low, high], [0.0, max(float(share.max()) for share in shares)])
    parts = [axes.frame(plot)]
    floor = axes.y(0)
    for number, (line, share) in enumerate(zip(plot.series, shares, strict=True)):
        color = PALETTE[number % len(PALETTE)]
        steps = "".join(
            f"V{axes.y(float(top)):.1f}H{axes.x(float(right)):.1f}"
            for top, right in zip(share, edges[1:], strict=True)
        )
        parts.append(
            f'<path d="M{axes.x(low):.1f} {floor:.1f}{steps}V{floor:.1f}Z" fill="{color}" '
            f'fill-opacity="0.22" stroke="{color}" stroke-width="1.5"/>'
        )
        x = axes.x(float(np.mean(line.x)))
        dash = DASHES[number % len(DASHES)]
        parts.append(
            f'<path d="M{x:.1f} {floor:.1f}V{TOP - 6}" stroke="{color}" stroke-width="2" '
            f'stroke-dasharray="{dash}"><title>mean of {escape(line.name)}</title></path>'
        )
    means = [f"{line.name} (mean {float(np.mean(line.x)):.3g})" for line in plot.series]
    return "".join(parts), means


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """Names with their colors, in as many rows as they need, and the height of the rows above."""
    parts, x, row = [], float(LEFT), 0
    for number, name in enumerate(names):
        width = 44 + 6.6 * len(name)
        if x > LEFT and x + width > WIDTH:
            x, row = float(LEFT), row + 1
        color = PALETTE[number % len(PALETTE)]
        dash = DASHES[number % len(DASHES)]
        y = 16 + ROW * row
        parts.append(
            f'<path d="M{x:.0f} {y}h22" stroke="{color}" stroke-width="3" '
            f'stroke-dasharray="{dash}"/>'
        )
        parts.append(_text(x + 28, y + 4, name, "start"))
        x += width
    # The last row stays where a single one is; the others go above it.
    return f'<g transform="translate(0 {-ROW * row})">{"".join(parts)}</g>', ROW * row


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The span of numbers; of equal ones, a span around them."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return float(low), float(high)


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
