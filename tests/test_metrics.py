"""Metrics against closed forms, against other people's code, and what must not change them."""

from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.errors import InvalidInput
from ukiyoe.evaluation.frechet import fid, frechet_distance
from ukiyoe.evaluation.manifold import nearest, prdc, prdc_spread
from ukiyoe.evaluation.metrics import kid, kid_subsets, share_error, subset_indices
from ukiyoe.evaluation.palette import gamut_coverage, palette, palette_overlap

Array = NDArray[np.float64]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def white(random: np.random.Generator, count: int, dims: int) -> Array:
    """Points whose sample mean is exactly 0 and sample covariance exactly the identity."""
    x = random.normal(size=(count, dims))
    x -= x.mean(axis=0)
    q, _ = np.linalg.qr(x)
    found: Array = q * np.sqrt(count - 1)
    return found


@pytest.mark.parametrize("count", [40, 8])  # more and fewer pictures than dimensions
def test_frechet_distance_of_normal_distributions(random: np.random.Generator, count: int) -> None:
    """|m_1 - m_2|^2 + sum (s_1 - s_2)^2 for axis-aligned covariances."""
    x = white(random, count, 6)
    scale_1, scale_2 = random.uniform(0.5, 2, size=(2, 6))
    mean_1, mean_2 = random.normal(size=(2, 6))
    expected = ((mean_1 - mean_2) ** 2).sum() + ((scale_1 - scale_2) ** 2).sum()
    found = frechet_distance(x * scale_1 + mean_1, x * scale_2 + mean_2)
    assert found == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_agrees_with_the_matrix_root(random: np.random.Generator) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    mix = random.normal(size=(2, 5, 5))
    x, y = (random.normal(size=(60, 5)) @ m + i for i, m in enumerate(mix))
    s_x, s_y = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(s_x @ s_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s_x + s_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)
    wide = np.hstack([x, np.zeros((60, 100))]), np.hstack([y, np.zeros((60, 100))])
    assert frechet_distance(*wide) == pytest.approx(expected, rel=1e-8)


def test_fid_says_how_biased_it_is(random: np.random.Generator) -> None:
    """Of one distribution the distance is all bias: the estimate must take most of it away."""
    y = random.normal(size=(3000, 10))
    found = [fid(random.normal(size=(300, 10)), y) for _ in range(8)]
    value, bias, spread = (
        np.mean([getattr(f, n) for f in found]) for n in ("value", "bias", "spread")
    )
    assert value > 0.05
    assert abs(value - bias) < 0.25 * value
    assert 0 < spread < bias
    moved = fid(random.normal(size=(300, 10)) + 1, y)
    assert moved.bias < 0.1 * moved.value  # a real distance is no bias
    with pytest.raises(InvalidInput, match="at least 4"):
        fid(y[:3], y)


def test_kid_agrees_with_torchmetrics(random: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    x, y = random.normal(size=(90, 64)), random.gamma(2, size=(70, 64))
    indices = subset_indices(90, 70, 12, 50, seed=3)
    theirs = [float(poly_mmd(torch.from_numpy(x[i]), torch.from_numpy(y[j]))) for i, j in indices]
    mean, spread = kid_subsets(x, y, 12, 50, seed=3)
    assert mean == pytest.approx(np.mean(theirs), abs=1e-6)
    assert spread == pytest.approx(np.std(theirs), abs=1e-6)
    for (i, j), their in zip(indices, theirs, strict=True):
        assert kid(x[i], y[j]) == pytest.approx(their, abs=1e-6)


def test_kid_of_one_distribution_is_zero_within_its_spread(random: np.random.Generator) -> None:
    x = random.normal(size=(300, 32))
    mean, spread = kid_subsets(x[:150], x[150:], size=100)
    assert abs(mean) < 3 * spread
    assert kid(x, x) < 0  # unbiased: a set is nearer to itself than a new sample would be


def test_subsets_draw_without_replacement() -> None:
    for i, j in subset_indices(20, 30, 5, 20):
        assert sorted(i) == list(range(20))
        assert len(set(j)) == 20
    with pytest.raises(InvalidInput, match=r"^size: expected 2 to 20"):
        subset_indices(20, 30, 5, 21)
    with pytest.raises(InvalidInput, match=r"^subsets: "):
        subset_indices(20, 30, 0, 10)


def test_prdc_of_disjoint_sets_is_zero_and_of_equal_sets_one(random: np.random.Generator) -> None:
    x = random.normal(size=(50, 4))
    assert asdict(prdc(x, x + 1000)) == dict.fromkeys(
        ("precision", "recall", "density", "coverage"), 0.0
    )
    same = prdc(x, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_prdc_agrees_with_the_authors_code(
    random: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = pytest.importorskip("prdc").compute_prdc
    real, made = random.normal(size=(60, 3)), random.normal(size=(80, 3)) * 1.5 + 0.5
    expected = theirs(real, made, nearest_k=5)
    assert asdict(prdc(real, made)) == pytest.approx(expected, abs=1e-12)
    capsys.readouterr()  # it prints


def test_prdc_by_hand() -> None:
    """On a line with k = 1: reaches of the real ones 1, 1, 4; of the made ones 0.5, 0.5."""
    real, made = np.array([[0.0], [1.0], [5.0]]), np.array([[0.25], [0.75]])
    found = prdc(real, made, neighbors=1)
    assert found.precision == 1
    assert found.recall == pytest.approx(2 / 3)  # nothing is made near 5
    assert found.density == pytest.approx(2)  # each lies in the reach of 0 and of 1
    assert found.coverage == pytest.approx(2 / 3)  # the nearest to 5 is 4.25 away, beyond its 4
    with pytest.raises(InvalidInput, match=r"^neighbors: expected 1 to 1"):
        prdc(real, made, neighbors=2)


def test_measures_do_not_depend_on_the_order(random: np.random.Generator) -> None:
    x, y = random.normal(size=(40, 6)), random.normal(size=(50, 6)) + 0.3
    mixed_x, mixed_y = random.permutation(x), random.permutation(y)
    assert kid(mixed_x, mixed_y) == pytest.approx(kid(x, y), abs=1e-12)
    assert frechet_distance(mixed_x, mixed_y) == pytest.approx(frechet_distance(x, y), abs=1e-9)
    assert asdict(prdc(mixed_x, mixed_y)) == pytest.approx(asdict(prdc(x, y)), abs=1e-12)


def test_symmetry(random: np.random.Generator) -> None:
    x, y = random.normal(size=(40, 6)), random.normal(size=(50, 6)) + 0.3
    assert kid(x, y) == pytest.approx(kid(y, x), abs=1e-12)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), abs=1e-9)
    one, other = prdc(x, y), prdc(y, x)
    assert (one.precision, one.recall) == (other.recall, other.precision)


def test_prdc_spread_is_that_of_halves(random: np.random.Generator) -> None:
    x, y = random.normal(size=(60, 4)), random.normal(size=(60, 4))
    found = prdc_spread(x, y)
    assert all(0 < value < 0.3 for value in (found.precision, found.recall, found.coverage))
    assert found == prdc_spread(x, y)


def test_nearest_print(random: np.random.Generator) -> None:
    training = random.normal(size=(30, 5))
    order = random.permutation(30)
    assert nearest(training[order] + 1e-3, training).tolist() == order.tolist()


def flat(color: str) -> Image.Image:
    return Image.new("RGB", (30, 50), color)


def test_palette_of_flat_colors() -> None:
    made = palette([flat("red"), flat("white")])
    assert made.lightness == pytest.approx([53.24, 100], abs=0.05)
    assert made.chroma == pytest.approx([104.55, 0], abs=0.1)
    assert made.cells.sum() == pytest.approx(1)
    assert (made.cells > 0).sum() == 2


def test_gamut_and_overlap() -> None:
    real = palette([flat("red"), flat("navy"), flat("white"), flat("black")])
    some = palette([flat("red"), flat("white")])
    assert gamut_coverage(some, real) == pytest.approx(0.5)
    assert gamut_coverage(real, some) == pytest.approx(1)
    assert palette_overlap(some, real) == pytest.approx(0.5)
    assert palette_overlap(real, real) == pytest.approx(1)
    assert palette_overlap(palette([flat("lime")]), real) == 0
    with pytest.raises(InvalidInput, match=r"^pictures: "):
        palette([])


def test_the_error_of_a_share_is_never_zero() -> None:
    """Two hits and two misses added: 10 of 12 for 8 of 8."""
    assert share_error(8, 8) == pytest.approx(np.sqrt(10 / 12 * 2 / 12 / 12))
    assert share_error(0, 8) == pytest.approx(share_error(8, 8))
    assert share_error(4, 8) > share_error(8, 8) > share_error(800, 800) > 0
