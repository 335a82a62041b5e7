from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SHARED, needs_prints
from ukiyoe.errors import InvalidInput
from ukiyoe.evaluation.metrics import (
    kid,
    kid_subsets,
    lightness_range,
    luminance,
    near_copies,
    pearson,
    tint_residual,
)

RANDOM = np.random.default_rng(0)


def test_kid_by_hand() -> None:
    """Two points each in one dimension: kernels written out."""
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    within_x, within_y = (1 * 2 + 1) ** 3, (0 * 3 + 1) ** 3
    across = np.mean([(a * b + 1) ** 3 for a in (1, 2) for b in (0, 3)])
    assert kid(x, y) == pytest.approx(within_x + within_y - 2 * across)


def test_kid_is_about_zero_for_one_distribution_and_grows_with_distance() -> None:
    x, y = RANDOM.normal(size=(2, 400, 16))
    mean, spread = kid_subsets(x, y)
    assert abs(mean) < 3 * spread
    assert kid(x, y) < 0.1 < kid(x, y + 0.5) < kid(x, y + 1)


def test_kid_ignores_order_and_is_symmetric() -> None:
    x, y = RANDOM.normal(size=(50, 8)), RANDOM.normal(size=(40, 8)) + 1
    assert kid(x[::-1], RANDOM.permutation(y)) == pytest.approx(kid(x, y))
    assert kid(y, x) == pytest.approx(kid(x, y))


def test_near_copies_are_found() -> None:
    prints = np.array([[0.0, 0], [10, 0], [0, 10]])
    made = np.array([[0.1, 0], [5, 0], [3, 3]])
    assert near_copies(made, prints).tolist() == [True, False, False]


def test_pearson() -> None:
    x = RANDOM.normal(size=100)
    assert pearson(x, 3 * x - 2) == pytest.approx(1)
    assert pearson(x, -x) == pytest.approx(-1)
    assert pearson(x, np.ones(100)) == 0


def test_a_tint_leaves_nothing_and_another_picture_leaves_much() -> None:
    picture = RANDOM.random((24, 16, 3))
    tinted = picture * [0.2, 0.5, 0.9] + [0.1, 0.2, 0.05]
    assert tint_residual(picture, tinted) == pytest.approx(0, abs=1e-9)
    assert tint_residual(picture, RANDOM.random((24, 16, 3))) > 0.9


def test_lightness_range_and_luminance() -> None:
    ramp = Image.fromarray(np.linspace(0, 255, 256).astype(np.uint8)[None].repeat(384, 0))
    assert lightness_range(ramp) == pytest.approx(96, abs=2)
    assert lightness_range(Image.new("RGB", (9, 9), "red")) == 0
    assert luminance(ramp).shape == (32 * 48,)


def features() -> object:
    pytest.importorskip("onnxruntime")
    from ukiyoe.evaluation.features import OnnxFeatures

    return OnnxFeatures


def test_a_broken_network_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no")
    for name in ("x.onnx", "none.onnx"):
        with pytest.raises(InvalidInput, match=r"^features: "):
            features()(tmp_path / name)  # type: ignore[operator]


@needs_prints
def test_kid_reproduces_the_reference_of_a_flat_color() -> None:
    network = features()(SHARED / "eval/mobilenet_v2.onnx")  # type: ignore[operator]
    paths = sorted((SHARED / "prints/images").iterdir())[::40]
    prints = [Image.open(path).convert("RGB") for path in paths]
    flat = [p.resize((1, 1), Image.Resampling.BOX).resize((224, 224)) for p in prints]
    assert kid(network(flat), network(prints)) == pytest.approx(2.13, abs=0.35)
    together, alone = network(prints[:3]), network(prints[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)
