"""Plots: round numbers on the axes, everything inside the frame, words that cannot break out."""

import re
from xml.etree import ElementTree

import pytest

from ukiyoe.evaluation.plots import HEIGHT, WIDTH, svg, ticks
from ukiyoe.evaluation.result import Plot, Series


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.47, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-3, 12, [-5, 0, 5, 10, 15]),
        (5, 50, [0, 10, 20, 30, 40, 50]),
    ],
)
def test_ticks_are_round_and_span_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def lines(count: int) -> Plot:
    series = tuple(
        Series(f"a solver with a name {k}", (5.0, 10.0, 50.0), (2.0 + k, 1.0, 0.5), (0.1, 0.2, 0.1))
        for k in range(count)
    )
    return Plot("KID", "lines", "steps", "KID", series)


def places(drawing: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(drawing)
    return [
        (float(mark.attrib["cx"]), float(mark.attrib["cy"]))
        for mark in root.iter("{http://www.w3.org/2000/svg}circle")
    ]


def test_every_point_is_drawn_inside_and_higher_is_up() -> None:
    found = places(svg(lines(2)))
    assert len(found) == 6
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in found)
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] < found[1][1] < found[2][1]  # 2, 1, 0.5 from the top


def test_a_long_legend_takes_more_rows_above_the_plot() -> None:
    few, many = svg(lines(2)), svg(lines(4))
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in few
    assert f'viewBox="0 -20 {WIDTH} {HEIGHT + 20}"' in many
    names = re.findall(r'<text x="([\d.]+)" y="(\d+)\.0"[^>]*>a solver', many)
    assert all(float(x) + 6.6 * len("a solver with a name 0") < WIDTH for x, _ in names)
    assert len({y for _, y in names}) == 2


def test_distributions_of_one_value_and_of_several() -> None:
    for values in ((0.5,), (0.5, 0.5), (0.1, 0.4, 0.9)):
        plot = Plot("x", "distribution", "ratio", "share", (Series("pictures", values, ()),))
        drawing = svg(plot)
        ElementTree.fromstring(drawing)
        assert f"(mean {sum(values) / len(values):.3g})" in drawing


def test_words_are_escaped() -> None:
    plot = lines(2)
    wild = Plot("<b>", "lines", "<script>", '"&', plot.series)
    drawing = svg(wild)
    ElementTree.fromstring(drawing)
    assert "<script>" not in drawing
