"""Formulas against the papers they are from."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import save_ddpm, save_ldm
from ukiyoe.model import load_model
from ukiyoe.training.data import Bucket
from ukiyoe.training.denoising import cut, denoising_loss
from ukiyoe.training.fleet import Fleet
from ukiyoe.training.loop import Moment
from ukiyoe.training.objective import min_snr_weight, noised, original_and_noise, wanted
from ukiyoe.training.order import batch_order, generator_of, quotas, stream
from ukiyoe.training.presets import SEED, TUNE, Preset

KINDS: tuple[Any, ...] = ("epsilon", "v_prediction", "sample")
ALPHA_BAR = torch.linspace(0.001, 0.999, 40)


def test_adding_noise_step_by_step_and_at_once_is_the_same() -> None:
    """q(x_t | x_0) has mean sqrt(alpha_bar) x_0 and variance 1 - alpha_bar: DDPM, eq. 4."""
    betas = torch.linspace(1e-3, 0.2, 12)
    alpha_bar = torch.cumprod(1 - betas, 0)[-1:]
    mean, variance = 0.7, 0.0
    for beta in betas.tolist():  # eq. 2
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    x_0 = torch.full((1, 1, 400, 400), 0.7)
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    x_t = noised(x_0, noise, alpha_bar)
    assert float(noised(x_0, torch.zeros_like(x_0), alpha_bar)[0, 0, 0, 0]) == pytest.approx(mean)
    assert float(x_t.mean()) == pytest.approx(mean, abs=0.01)
    assert float(x_t.var()) == pytest.approx(variance, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_gives_back_picture_and_noise(kind: Any) -> None:
    x_0, noise = torch.randn(2, 40, 3, 4, 4, dtype=torch.float64)
    alpha_bar = ALPHA_BAR.double()
    x_t = noised(x_0, noise, alpha_bar)
    found = original_and_noise(kind, wanted(kind, x_0, noise, alpha_bar), x_t, alpha_bar)
    assert torch.allclose(found[0], x_0, atol=1e-9)
    assert torch.allclose(found[1], noise, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_means_to_the_sampler_what_it_means_here(kind: Any, tmp_path: Path) -> None:
    model = load_model(save_ddpm(tmp_path, prediction_type=kind, clip_sample=False), "cpu")
    x_0, noise = torch.randn(2, 1, 3, 16, 16)
    alpha_bar = model.scheduler.alphas_cumprod[[20]]
    x_t, answer = noised(x_0, noise, alpha_bar), wanted(kind, x_0, noise, alpha_bar)
    object.__setattr__(
        model, "unet", lambda sample, timestep: type("Output", (), {"sample": answer})
    )
    assert torch.allclose(model.predict_original(x_t, 20, float(alpha_bar)), x_0, atol=1e-4)


def test_weights_are_those_of_the_min_snr_paper() -> None:
    snr, gamma = ALPHA_BAR / (1 - ALPHA_BAR), 5.0
    least = snr.clamp(max=gamma)
    for kind, expected in zip(KINDS, (least / snr, least / (snr + 1), least), strict=True):
        assert torch.allclose(min_snr_weight(kind, ALPHA_BAR, gamma), expected, rtol=1e-4)
        assert bool((min_snr_weight(kind, ALPHA_BAR, gamma, "none") == 1).all())


def test_weights_of_all_answers_are_one_weight_of_the_picture() -> None:
    """The same error of x_0 costs the same, whatever the network predicts."""
    x_0, wrong, noise = torch.randn(3, 40, 1, 2, 2, dtype=torch.float64)
    alpha_bar = ALPHA_BAR.double()
    x_t = noised(x_0, noise, alpha_bar)
    level = alpha_bar[:, None, None, None]
    implied = (x_t - level.sqrt() * wrong) / (1 - level).sqrt()
    costs = []
    for kind in KINDS:
        error = wanted(kind, wrong, implied, alpha_bar) - wanted(kind, x_0, noise, alpha_bar)
        costs.append(min_snr_weight(kind, alpha_bar) * error.square().mean(dim=(1, 2, 3)))
    assert torch.allclose(costs[0], costs[2])
    assert torch.allclose(costs[1], costs[2])


def test_pure_noise_counts_where_it_can() -> None:
    nothing = torch.zeros(1)
    assert [float(min_snr_weight(kind, nothing)) for kind in KINDS] == [1, 0, 0]
    assert [float(min_snr_weight(kind, nothing, weighting="min-snr+1")) for kind in KINDS] == [
        1
    ] * 3
    snr = ALPHA_BAR / (1 - ALPHA_BAR)
    kept = (snr + 1).clamp(max=5)
    assert torch.allclose(
        min_snr_weight("v_prediction", ALPHA_BAR, 5, "min-snr+1"), kept / (snr + 1)
    )


def bucket_of(count: int, size: tuple[int, int] = (16, 16), first: int = 0) -> Bucket:
    """Pictures that differ, with room to shift."""
    shape = (count, 3, size[0] + 2, size[1] + 2)
    pixels = np.random.default_rng(count).integers(0, 255, shape, dtype=np.uint8)
    return Bucket(torch.from_numpy(pixels), list(range(first, first + count)), size)


def test_a_round_shows_every_picture_once_and_rounds_differ() -> None:
    order, length = batch_order({"square": bucket_of(10)}, 4, seed=0)
    assert length == 3
    rounds = [torch.cat([order(r * length + i)[1] for i in range(length)]) for r in range(2)]
    assert [sorted(set(seen.tolist())) for seen in rounds] == [list(range(10))] * 2
    assert all(len(order(i)[1]) == 4 for i in range(9))
    assert not torch.equal(*rounds)
    again, _ = batch_order({"square": bucket_of(10)}, 4, seed=0)
    assert torch.equal(again(7)[1], order(7)[1])
    other, _ = batch_order({"square": bucket_of(10)}, 4, seed=1)
    assert any(not torch.equal(other(i)[1], order(i)[1]) for i in range(3))


def test_a_batch_larger_than_the_set_repeats_it() -> None:
    order, length = batch_order({"square": bucket_of(3)}, 8, seed=0)
    assert length == 1
    counts = torch.bincount(order(0)[1])
    assert counts.sum() == 8
    assert int(counts.max() - counts.min()) <= 1


def test_a_batch_has_one_shape_and_square_cuts_are_few() -> None:
    tall, wide = bucket_of(30, (24, 16)), bucket_of(10, (16, 24), first=30)
    square = bucket_of(45)  # cuts of the 40 above, and 5 squares
    buckets = {"portrait": tall, "landscape": wide, "square": square}
    assert quotas(buckets) == {"portrait": 30, "landscape": 10, "square": 9}
    assert quotas({"square": square}) == {"square": 45}
    order, length = batch_order(buckets, 5, seed=0)
    names = [order(i)[0] for i in range(length)]
    assert [names.count(name) for name in buckets] == [6, 2, 2]
    assert names[:6] != ["portrait"] * 6  # mixed


def test_streams_are_fixed_and_differ() -> None:
    assert stream(0, "picture", 1, 2) == 5704620479137973418
    seeds = {stream(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125


def test_no_picture_is_mirrored_unless_asked() -> None:
    bucket = bucket_of(1)
    plain = {tuple(cut(bucket, 0, (), generator_of(i)).flatten().tolist()) for i in range(9)}
    assert len(plain) == 1
    (middle,) = plain
    assert torch.allclose(
        torch.tensor(middle).view(3, 16, 16), bucket.pixels[0, :, 1:17, 1:17] / 127.5 - 1
    )
    shifted = {float(cut(bucket, 0, ("shift",), generator_of(i)).sum()) for i in range(99)}
    assert len(shifted) == 9  # 3 x 3 places
    mirrored = [cut(bucket, 0, ("flip",), generator_of(i)) for i in range(40)]
    assert {bool(torch.equal(x, torch.tensor(middle).view(3, 16, 16))) for x in mirrored} == {
        True,
        False,
    }
    assert all(x.abs().max() <= 1 for x in (cut(bucket, 0, ("color",), generator_of(3)),))


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_has_no_loss(kind: Any, tmp_path: Path) -> None:
    model = load_model(save_ddpm(tmp_path, prediction_type=kind), "cpu")
    bucket = bucket_of(1)
    x_0 = cut(bucket, 0, (), generator_of(0))[None]

    class Oracle(nn.Module):
        def forward(self, x_t: Tensor, timesteps: Tensor) -> "Oracle":
            alpha_bar = model.scheduler.alphas_cumprod[timesteps]
            originals = x_0.expand(len(x_t), -1, -1, -1)
            _, noise = original_and_noise("sample", originals, x_t, alpha_bar)
            self.sample = wanted(kind, originals, noise, alpha_bar)
            return self

    preset = Preset("test", "", batch_size=8, augment=(), weighting="min-snr")
    loss, _ = denoising_loss(model, {"square": bucket}, preset, seed=0)
    assert float(loss(Oracle(), Moment(0, 0, 0.0))) < 1e-6
    assert float(loss(model.unet, Moment(0, 0, 0.0))) > 1e-2


def test_a_batch_is_the_same_in_parts_and_over_processes(tmp_path: Path) -> None:
    """8 pictures at once, 2 forwards of 4, or 2 processes: one loss."""
    model = load_model(save_ddpm(tmp_path), "cpu")
    buckets = {"square": bucket_of(20)}

    def total(batch_size: int, accumulation: int, world: int = 1) -> float:
        preset = Preset("test", "", batch_size=batch_size, accumulation=accumulation)
        losses = []
        for rank in range(world):
            loss, _ = denoising_loss(model, buckets, preset, 5, Fleet(rank, world))
            losses += [float(loss(model.unet, Moment(3, p, 0.0))) for p in range(accumulation)]
        return sum(losses) / len(losses)

    with torch.no_grad():
        assert total(8, 1, world=2) == pytest.approx(total(8, 1), abs=1e-6)
        assert total(4, 2, world=4) == pytest.approx(total(4, 2), abs=1e-6)


def test_latent_models_learn_in_their_latents(tmp_path: Path) -> None:
    model = load_model(save_ldm(tmp_path), "cpu")
    seen = []

    class Spy(nn.Module):
        def forward(self, x_t: Tensor, timesteps: Tensor) -> "Spy":
            seen.append((tuple(x_t.shape), timesteps))
            self.sample = torch.zeros_like(x_t)
            return self

    preset = Preset("test", "", batch_size=5)
    loss, _ = denoising_loss(model, {"square": bucket_of(5, (32, 32))}, preset, 0)
    loss(Spy(), Moment(0, 0, 0.0))
    shape, timesteps = seen[0]
    assert shape == (5, 3, 16, 16)
    assert sorted((timesteps // 10).tolist()) == [0, 1, 2, 3, 4]  # T = 50: one in every fifth


def test_the_seed_preset_is_the_blogs() -> None:
    assert SEED.start == "google/ddpm-celebahq-256"
    assert (SEED.learning_rate, SEED.accumulation, SEED.epochs) == (1e-5, 2, 1)
    assert (SEED.weighting, SEED.ema_decay, SEED.augment) == ("none", 0, ())
    assert "flip" not in TUNE.augment
