import math

import pytest
import torch
from torch import Tensor

from ukiyoe.guidance import (
    MAX_MOVE,
    GuidanceState,
    Wish,
    color_guide,
    color_loss,
    combine_moves,
    spherical_distance,
)
from ukiyoe.sampling import _differentiate


def state(pictures: Tensor, alpha_bar: float = 0.5) -> GuidanceState:
    leaf = pictures.clone().requires_grad_()
    return GuidanceState(leaf * alpha_bar**0.5, 500, alpha_bar, leaf, [], lambda x: x)


def test_color_loss_is_zero_on_the_color_and_one_from_black_to_white() -> None:
    white = torch.ones(1, 3, 4, 4)
    assert float(color_loss(white, torch.ones(3))) == pytest.approx(0, abs=1e-9)
    assert float(color_loss(-white, torch.ones(3))) == pytest.approx(0.87, abs=0.05)


def test_losses_do_not_depend_on_the_batch_or_the_resolution() -> None:
    pictures = torch.rand(3, 3, 8, 8) * 2 - 1
    guide = color_guide("#1f4e79")
    together = guide(state(pictures))
    assert together.shape == (3,)
    assert torch.allclose(guide(state(pictures[1:2])), together[1:2])
    larger = pictures.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(guide(state(larger)), together, atol=1e-6)


def test_the_color_gradient_leads_to_the_color() -> None:
    pictures = torch.rand(2, 3, 8, 8) * 2 - 1
    wish = Wish("color", color_guide("#1f4e79"), 10, polyak=True)
    before = color_guide("#1f4e79")(state(pictures))
    for _ in range(8):
        losses, gradients, _ = _differentiate(state(pictures), [wish])
        pictures = pictures + combine_moves([wish], losses, gradients, 0.5)
    assert bool((losses["color"] < 0.02 * before).all())


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_a_move_does_not_depend_on_the_size_of_the_loss(factor: float) -> None:
    gradient = torch.randn(2, 3, 8, 8)
    wish = Wish("x", lambda s: s.images(), 5, gain=0.2)
    move = combine_moves([wish], {"x": torch.ones(2)}, [gradient], 0.0)
    scaled = combine_moves([wish], {"x": torch.ones(2)}, [gradient * factor], 0.0)
    assert torch.allclose(move, scaled, rtol=1e-3)
    rms = move.square().mean(dim=(1, 2, 3)).sqrt()
    assert torch.allclose(rms, torch.full((2,), 0.1), rtol=1e-3)


def test_moves_are_bounded() -> None:
    gradient = torch.randn(1, 3, 8, 8)
    wishes = [Wish("x", lambda s: s.images(), 10, gain=50.0)]
    move = combine_moves(wishes, {"x": torch.ones(1)}, [gradient], 0.0)
    assert float(move.square().mean().sqrt()) == pytest.approx(MAX_MOVE, rel=1e-3)


def test_a_zero_gradient_moves_nothing() -> None:
    wish = Wish("x", lambda s: s.images(), 10)
    move = combine_moves([wish], {"x": torch.zeros(1)}, [torch.zeros(1, 3, 4, 4)], 0.5)
    assert float(move.abs().max()) == 0


def test_the_weaker_of_two_opposed_wishes_yields() -> None:
    along = torch.zeros(1, 3, 4, 4)
    along[:, 0] = 1
    against = -along.clone()
    against[:, 1] = 1
    strong = Wish("strong", lambda s: s.images(), 5, gain=0.2)
    weak = Wish("weak", lambda s: s.images(), 2, gain=0.2)
    losses = {"strong": torch.ones(1), "weak": torch.ones(1)}
    move = combine_moves([weak, strong], losses, [against, along], 0.0)
    alone = combine_moves([strong], losses, [along], 0.0)
    assert torch.allclose(move[:, 0], alone[:, 0], atol=1e-6)  # the strong one is served in full
    assert float(move[:, 1].mean()) < 0  # what does not oppose it remains


def test_windows_are_keyed_on_the_noise_level() -> None:
    wish = Wish("x", lambda s: s.images(), 5, window=(0.5, 0.9))
    levels = [1 - sigma**2 for sigma in (0.4, 0.6, 0.8, 0.95)]
    assert [wish.acts(alpha_bar) for alpha_bar in levels] == [False, True, True, False]


def test_images_are_decoded_once_and_only_if_asked() -> None:
    calls = []

    def decode(x: Tensor) -> Tensor:
        calls.append(1)
        return x

    x = torch.zeros(1, 3, 2, 2)
    some = GuidanceState(x, 1, 0.5, x, [], decode)
    assert calls == []
    some.images(), some.images()
    assert calls == [1]


def test_spherical_distance_of_known_angles() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = spherical_distance(x, x[0])
    expected = torch.tensor([0.0, 2 * math.pi**2 / 16, math.pi**2 / 2])
    assert torch.allclose(found, expected, atol=1e-2)
