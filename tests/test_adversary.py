from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ukiyoe.model import load_model
from ukiyoe.training.adversary import ACTIVATIONS, Adversary, adversarial_losses
from ukiyoe.training.data import Bucket
from ukiyoe.training.perceptual import Lpips
from ukiyoe.training.upscaler import FIRST_SEED, PATCH, Workshop, samples, upscaler_loss
from ukiyoe.upscaler import SCALE, Upscaler

SIDES = (11, 5, 3, 3, 3)
INDICES = (0, 3, 6, 8, 10)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    """AlexNet's shape with random weights that keep the size of what passes."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    before = 3
    for number, (index, side) in enumerate(zip(INDICES, SIDES, strict=True)):
        channels = ACTIVATIONS[number][0]
        shape = (channels, before, side, side)
        fan_in = before * side**2
        weight = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        weights[f"features.{index}.weight"] = weight
        weights[f"features.{index}.bias"] = torch.zeros(channels)
        weights[f"lin{number}.weight"] = torch.full((1, channels, 1, 1), 0.1)
        before = channels
    path = tmp_path_factory.mktemp("lpips") / "alexnet.safetensors"
    save_file(weights, path)
    return Lpips(path)


def _stripes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    waves = torch.sin(torch.arange(64) * 1.5 + torch.rand(count, 1, generator=generator) * 6)
    return waves[:, None, None, :].expand(count, 3, 64, 64).contiguous()


def test_each_side_of_the_game_learns_only_from_its_own_loss(alexnet: Lpips) -> None:
    adversary, made = Adversary(), _stripes(2, 0).requires_grad_()
    maker, judge = adversarial_losses(adversary, alexnet, made, _stripes(2, 1))
    maker.backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in adversary.parameters())
    made.grad = None
    judge.backward()
    assert made.grad is None
    assert all(weight.grad is not None for weight in adversary.parameters())


def test_pictures_that_follow_the_makers_loss_fool_the_adversary(alexnet: Lpips) -> None:
    torch.manual_seed(0)
    adversary = Adversary()
    optimizer = torch.optim.AdamW(adversary.parameters(), lr=2e-3)
    flat = 0.2 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    losses = []
    for step in range(30):
        _, judge = adversarial_losses(adversary, alexnet, flat, _stripes(4, step))
        judge.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(judge.item())
    assert losses[-1] < 0.5 * losses[0]  # it tells them apart
    made = flat.clone().requires_grad_()
    before, _ = adversarial_losses(adversary, alexnet, made, flat)
    (gradient,) = torch.autograd.grad(before, made)
    after, _ = adversarial_losses(adversary, alexnet, made - 5 * gradient.sign() / 255, flat)
    assert after.item() < before.item()


def test_samples_are_the_default_ones_of_seeds_nobody_measures(ddpm_folder: Path) -> None:
    model = load_model(ddpm_folder, "cpu")
    made = samples(model, "square", 3)
    height, width = model.sizes["square"]
    assert made.shape == (3, 3, height, width)
    assert made.dtype == torch.uint8
    assert torch.equal(made[:2], samples(model, "square", 2))
    assert FIRST_SEED > 2**16


def test_the_upscaler_learns_to_enlarge(alexnet: Lpips) -> None:
    """Both halves of a batch have a say; the distance to known prints falls."""
    torch.manual_seed(0)
    side = PATCH + 4
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (2, 3, side, side), generator=generator, dtype=torch.uint8)
    large = coarse.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)
    bucket = Bucket(large, [0, 1], (SCALE * side, SCALE * side))
    loss = upscaler_loss([bucket], [[coarse]], [coarse], alexnet, batch_size=2)
    network = Workshop(Upscaler(channels=8, blocks=1, far_channels=8, far_blocks=1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    values = []
    for step in range(12):
        value = loss(network, torch.Generator().manual_seed(step % 2), 0.0)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]
