import numpy as np
import pytest
from PIL import Image

from ukiyoe.achieved import achieved
from ukiyoe.recipe import Recipe


def test_a_flat_picture_of_the_wished_color_is_exact() -> None:
    found = achieved(Image.new("RGB", (8, 8), "#1f4e79"), Recipe(color="#1f4e79"))
    assert (found.mean_color, found.delta_e_2000) == ("#1f4e79", 0.0)
    assert "the same to the eye" in found.words()


def test_the_mean_is_over_all_pixels() -> None:
    half = np.zeros((4, 4, 3), dtype=np.uint8)
    half[:2] = 200
    found = achieved(Image.fromarray(half), Recipe())
    assert found.mean_color == "#646464"
    assert found.delta_e_2000 is None
    assert found.words() == "Mean color #646464."


@pytest.mark.parametrize(
    ("color", "words"),
    [("#1f4e7d", "the same to the eye"), ("#20557d", "very close"), ("#285e86", "close"),
     ("#40704f", "far from it"), ("#4d7396", "leaning towards it"), ("#b23a2e", "far from it")],
)  # fmt: skip
def test_words_follow_the_difference(color: str, words: str) -> None:
    found = achieved(Image.new("RGB", (2, 2), color), Recipe(color="#1f4e79"))
    assert f": {words} (" in found.words()
