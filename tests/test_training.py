import copy
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import tiny_unet
from ukiyoe.cli import main
from ukiyoe.errors import InvalidInput
from ukiyoe.model import SpaceToDepth, load_model, save_model
from ukiyoe.training.base import (
    FACTOR,
    autoguided,
    base_loss,
    loss_weight,
    packaged_scheduler,
    packaged_unet,
)
from ukiyoe.training.data import Print, crops, draw, load_buckets, open_print, read_labels
from ukiyoe.training.loop import LoopConfig, Moment, ema_decay, run_steps, train_steps
from ukiyoe.training.optimizer import MuonAdamW
from ukiyoe.training.stages import _take_over
from ukiyoe.training.upscaler import shrink
from ukiyoe.upscaler import Upscaler

SIZES = {"portrait": (24, 16), "landscape": (16, 24), "square": (16, 16)}


@pytest.fixture
def prints(tmp_path: Path) -> list[Print]:
    """Six prints of every shape, one of them squeezed by its source."""
    rows: list[dict[str, object]] = []
    shapes = [(40, 60), (40, 62), (60, 40), (50, 50), (120, 40), (40, 40)]
    for index, (width, height) in enumerate(shapes):
        pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append({"file": f"{index}.png", "split": "val" if index == 1 else "train"})
    rows[5] |= {"aspect": "portrait", "squashed": True, "tags": ["wave"]}
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read_labels(tmp_path)


def test_labels_are_read_and_split(prints: list[Print]) -> None:
    folder = prints[0].path.parent
    assert len(read_labels(folder, "train")) == 5
    assert len(read_labels(folder, "val")) == 1
    assert prints[5].tags == ("wave",)
    with pytest.raises(InvalidInput, match="no print of split"):
        read_labels(folder, "test")
    with pytest.raises(InvalidInput, match=r"labels\.jsonl"):
        read_labels(folder / "none")


def test_squeezed_prints_are_stretched_back(prints: list[Print]) -> None:
    width, height = open_print(prints[5]).size
    assert height / width == pytest.approx(1.5, abs=0.05)


def test_every_print_lands_in_the_bucket_of_its_shape(prints: list[Print]) -> None:
    buckets = load_buckets(prints, SIZES)
    assert buckets["portrait"].prints == [0, 1, 5]
    assert buckets["landscape"].prints == [2, 4, 4, 4]  # the long one is cut three times
    assert set(buckets["square"].prints) == set(range(6))
    assert buckets["portrait"].pixels.shape == (3, 3, 27, 18)


def test_crops_are_not_squeezed() -> None:
    picture = Image.new("RGB", (90, 30))
    picture.paste((255, 255, 255), (30, 0, 60, 30))
    left, middle, right = crops(picture, (10, 10))
    assert max(np.asarray(x)[:, 1:-1].max() for x in (left, right)) < 4
    assert np.asarray(middle)[:, 1:-1].min() > 251


def test_draw_shifts_within_the_bucket(prints: list[Print]) -> None:
    bucket = load_buckets(prints, SIZES)["portrait"]
    indices = torch.zeros(64, dtype=torch.long)
    drawn = draw(bucket, indices, torch.Generator().manual_seed(0))
    assert drawn.shape == (64, 3, 24, 16)
    assert float(drawn.abs().max()) <= 1
    assert len({float(x.sum()) for x in drawn}) > 4
    again = draw(bucket, indices, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_the_weight_is_one_at_noise_and_capped_at_little_noise() -> None:
    alpha_bar = torch.linspace(0, 0.99, 20)
    snr = alpha_bar / (1 - alpha_bar)
    expected = (snr + 1).clamp(max=5) / (snr + 1)
    assert torch.allclose(loss_weight(alpha_bar), expected, atol=1e-6)
    assert float(loss_weight(torch.zeros(1))) == 1


def test_the_forward_process_has_its_closed_form() -> None:
    scheduler = packaged_scheduler()
    x_0, noise = torch.full((1, 12, 4, 4), 0.3), torch.randn(1, 12, 4, 4)
    for t in (0, 400, 999):
        level = scheduler.alphas_cumprod[t]
        expected = level.sqrt() * x_0 + (1 - level).sqrt() * noise
        assert torch.allclose(scheduler.add_noise(x_0, noise, torch.tensor([t])), expected)


def test_a_perfect_prediction_has_no_loss(prints: list[Print]) -> None:
    """Answering v from x_0 makes the loss 0; answering epsilon does not."""
    scheduler, codec = packaged_scheduler(), SpaceToDepth(2)
    bucket = load_buckets(prints[2:3], {"landscape": (32, 48)}, jitter=1.0)
    x_0 = codec.encode(bucket["landscape"].pixels[:1].float() / 127.5 - 1)

    class Oracle(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor) -> "Oracle":
            level = scheduler.alphas_cumprod[t][:, None, None, None]
            noise = (x_t - level.sqrt() * x_0) / (1 - level).sqrt()
            self.sample = level.sqrt() * noise - (1 - level).sqrt() * x_0
            return self

    loss = base_loss(bucket, scheduler, codec.encode, batch_size=4)
    assert float(loss(Oracle(), torch.Generator().manual_seed(0), 0.5)) < 1e-6


class Constant(nn.Module):
    """Estimates the same v everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x_t: Tensor, t: Tensor) -> "Constant":
        self.sample = torch.full_like(x_t, self.value)
        return self


def test_autoguidance_leads_away_from_the_weak_network(prints: list[Print]) -> None:
    strong, weak = Constant(0.5), Constant(0.3)
    x_t, t = torch.zeros(2, 12, 4, 4), torch.tensor([3, 700])
    for weight, v in ((1.0, 0.5), (2.0, 0.7), (0.0, 0.3)):
        guided = autoguided(strong, weak, weight)(x_t, t)
        assert torch.allclose(guided, torch.tensor(v))
    bucket = {"square": load_buckets(prints, SIZES)["square"]}
    teacher = autoguided(strong, weak, 2.0)
    loss = base_loss(bucket, packaged_scheduler(), SpaceToDepth(2).encode, 4, teacher=teacher)
    generator = torch.Generator().manual_seed(0)
    assert float(loss(Constant(0.7), generator, 0.0)) < 1e-9
    assert float(loss(Constant(0.5), generator, 0.0)) > 1e-3


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def line_loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
    target = torch.tensor([1.0, -1.0]) + 0.01 * torch.randn(2, generator=generator)
    return (next(network.parameters()) - target).square().mean()


def steps(
    count: int, checkpoints: Path | None = None, total: int = 10**6, say: Any = print
) -> tuple[list[float], Line, Line]:
    """The first steps of a long run."""
    network, average = Line(), Line()
    config = LoopConfig(max_steps=total, learning_rate=0.05, warmup_steps=1, checkpoint_minutes=0)
    losses = []
    run = train_steps(network, average, line_loss, config, checkpoints, say)
    for step in run:
        losses.append(step.loss)
        if len(losses) == count:
            run.close()
    return losses, network, average


def test_training_learns_and_averages() -> None:
    losses, network, average = steps(200)
    assert losses[-1] < 0.01 * losses[0]
    assert torch.allclose(network.weight.data, torch.tensor([1.0, -1.0]), atol=0.1)
    assert 0.3 < float(average.weight[0]) < 1.1


def test_a_resumed_run_repeats_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    whole, network, average = steps(20, total=20)
    first, _, _ = steps(12, tmp_path, total=20)
    rest, again, average_again = steps(8, tmp_path, total=20)
    assert first + rest == whole
    assert torch.equal(again.weight, network.weight)
    assert torch.equal(average_again.weight, average.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000019.pt", "00000020.pt"]


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_broken_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    whole, _, _ = steps(20, total=20)
    steps(12, tmp_path, total=20)
    newest = tmp_path / "00000012.pt"
    content = newest.read_bytes()
    newest.write_bytes({"cut": content[: len(content) // 2], "empty": b""}.get(damage, b"x" * 999))
    said: list[str] = []
    rest, _, _ = steps(9, tmp_path, total=20, say=said.append)
    assert rest == whole[11:]
    assert "00000012.pt is broken" in said[0]
    assert said[1].endswith("step 11.")


def test_nothing_starts_over_if_no_checkpoint_is_whole(tmp_path: Path) -> None:
    steps(12, tmp_path, total=20)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="none of the 2 in"):
        steps(1, tmp_path, total=20)


def test_the_average_is_that_of_a_reference() -> None:
    """The loop's in-place average of every fourth step against the textbook's, in float64."""
    network, average = Line(), Line()
    config = LoopConfig(max_steps=200, learning_rate=0.05, warmup_steps=1, ema_decay=0.9)
    expected = network.weight.detach().double().clone()
    for step in train_steps(network, average, line_loss, config):
        if step.step % 4 == 0:
            decay = min(0.9, (1 + step.step) / (10 + step.step)) ** 4
            expected = decay * expected + (1 - decay) * network.weight.detach().double()
        assert torch.allclose(average.weight.double(), expected, atol=1e-6)
    assert ema_decay(LoopConfig(ema_decay=0.0, ema_every=1), 5) == 0  # no average


def test_a_step_of_parts_has_the_gradient_of_the_whole() -> None:
    seen: list[int] = []

    def loss(network: nn.Module, moment: Moment) -> Tensor:
        seen.append(moment.part)
        return (next(network.parameters()) - moment.part).square().sum()

    weights = []
    for parts in (1, 3):
        network = Line()
        config = LoopConfig(max_steps=1, learning_rate=0.1, warmup_steps=1, accumulation=parts)
        list(run_steps(network, Line(), loss, config))
        weights.append(network.weight.detach().clone())
    assert seen == [0, 0, 1, 2]
    assert torch.equal(weights[0], torch.zeros(2))  # its only part is at its least already
    assert torch.allclose(weights[1], torch.full((2,), 0.1), atol=1e-3)  # AdamW's first step


def test_the_learning_rate_warms_up_and_falls_or_stays() -> None:
    def shares(**options: Any) -> list[float]:
        config = LoopConfig(max_steps=20, warmup_steps=4, **options)
        return [step.share for step in train_steps(Line(), Line(), line_loss, config)]

    constant, cosine = shares(schedule="constant"), shares()
    assert constant[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert constant[-1] == 1
    assert cosine[10] == pytest.approx(0.5)
    assert cosine[-1] < 0.01
    assert shares(schedule="constant")[0] == 0.25


def test_long_steps_count_if_all_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compilation or a sleeping laptop is no training; a large network's steps are."""

    def spent(durations: list[float]) -> list[float]:
        clock = 0.0

        def loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
            nonlocal clock
            clock += durations.pop(0) if durations else 1e9
            return next(network.parameters()).sum()

        monkeypatch.setattr("time.monotonic", lambda: clock)
        config = LoopConfig(max_steps=len(durations))
        return [step.seconds for step in train_steps(Line(), Line(), loss, config)]

    assert spent([60.0, 0.5, 0.5, 600.0, 0.5]) == [5.0, 5.5, 6.0, 11.0, 11.5]
    assert spent([30.0, 30.0, 31.0]) == [5.0, 35.0, 66.0]


@pytest.mark.parametrize("attempt", range(5))
def test_a_killed_run_goes_on(tmp_path: Path, attempt: int) -> None:
    """Killed at a random moment, it resumes to the losses of a run that was left alone."""
    whole, _, _ = steps(40, total=40)
    code = (
        "import sys, time; sys.path.insert(0, 'tests'); import test_training as t; "
        "from pathlib import Path; loss = t.line_loss\n"
        "def slow(*a): time.sleep(0.02); return loss(*a)\n"
        f"t.line_loss = slow; t.steps(40, Path({str(tmp_path)!r}), total=40)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    while not any(tmp_path.glob("*.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.6))
    process.kill()
    process.wait()
    done = int(max(tmp_path.glob("*.pt")).stem)
    assert 0 < done < 40
    rest, _, _ = steps(40 - done, tmp_path, total=40)
    assert rest == whole[done:]


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps(5, tmp_path)

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InvalidInput, match=r"No space left on device.*the one before is kept"):
        steps(5, tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00000004.pt", "00000005.pt"]


def test_a_run_needs_an_end() -> None:
    with pytest.raises(InvalidInput, match="max_minutes or max_steps"):
        next(train_steps(Line(), Line(), line_loss, LoopConfig()))


def test_an_earlier_run_is_not_touched_unless_resumed(tmp_path: Path, prints: list[Print]) -> None:
    folder = tmp_path / "model" / "checkpoints" / "base"
    folder.mkdir(parents=True)
    (folder / "00000007.pt").write_bytes(b"")
    data = str(prints[0].path.parent)
    options = ["--data", data, "--output", str(tmp_path / "model")]
    assert main(["train", "--stage", "base", *options]) == 2


def test_muon_turns_every_direction_of_a_hidden_matrix_alike() -> None:
    """A steep and a flat direction move equally far; biases and edges are AdamW's business."""
    torch.manual_seed(0)
    network = nn.ModuleDict({"conv_in": nn.Conv2d(3, 8, 1), "hidden": nn.Conv2d(8, 8, 3)})
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = MuonAdamW(network, matrix_rate=0.1, rate=0.01, weight_decay=0.0)
    optimizer.set_share(0.5)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape) * torch.logspace(0, -1, len(weight)).view(
            -1, *[1] * (weight.ndim - 1)
        )
    optimizer.step()
    moved = {name: weight.detach() - before[name] for name, weight in network.named_parameters()}
    spread = torch.linalg.svdvals(moved["hidden.weight"].flatten(1))
    assert float(spread.max() / spread.min()) < 2
    assert abs(float(moved["hidden.weight"].square().mean().sqrt()) - 0.5 * 0.1 * 0.2) < 0.003
    for name in ("conv_in.weight", "conv_in.bias", "hidden.bias"):  # AdamW's first step: sign
        assert torch.allclose(moved[name].abs(), torch.tensor(0.005), rtol=1e-3)
    assert all(weight.grad is None for weight in network.parameters())


def test_muon_resumes_where_it_stopped() -> None:
    def train(states: list[dict[str, Any]] | None, steps: int) -> list[dict[str, Any]]:
        optimizer = MuonAdamW(network, 0.1, 0.01, 0.01)
        if states:
            optimizer.load_state_dict(states)
        for _ in range(steps):
            loss = (network(torch.ones(1, 4)) - 3).square().sum()
            loss.backward()
            optimizer.step()
        return copy.deepcopy(optimizer.state_dict())

    torch.manual_seed(0)
    start = nn.Linear(4, 4)
    network = copy.deepcopy(start)
    train(None, 6)
    whole = network.weight.detach().clone()
    network = copy.deepcopy(start)
    train(train(None, 3), 3)
    assert torch.equal(network.weight, whole)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    steps(2, tmp_path)
    network = nn.Linear(3, 3)
    run = train_steps(
        network, copy.deepcopy(network), line_loss, LoopConfig(max_minutes=1), tmp_path
    )
    with pytest.raises(InvalidInput, match="another network"):
        next(run)


def test_a_saved_model_loads_and_keeps_its_weights(tmp_path: Path) -> None:
    unet, upscaler = packaged_unet(), Upscaler(channels=8, blocks=1)
    nn.init.normal_(upscaler.out.weight, std=0.1)
    sizes = {"portrait": [48, 32], "landscape": [32, 48], "square": [48, 48]}
    extras = {"space_to_depth": FACTOR, "sizes": sizes}
    save_model(tmp_path, unet, packaged_scheduler(), extras, upscaler)
    model = load_model(tmp_path, "cpu")
    assert model.picture_size("portrait") == (384, 256)
    assert model.scheduler.config.prediction_type == "v_prediction"
    for found, saved in zip(model.unet.parameters(), unet.parameters(), strict=True):
        assert torch.allclose(found, saved, atol=1e-3)
    picture = torch.rand(1, 3, 24, 16)
    with torch.no_grad():
        assert model.upscaler is not None
        assert torch.allclose(model.upscaler(picture), upscaler(picture), atol=1e-2)


def test_the_upscaler_starts_as_an_enlargement() -> None:
    flat = torch.full((1, 3, 8, 12), 0.25)
    with torch.no_grad():
        large = Upscaler(channels=8, blocks=1)(flat)
    assert large.shape == (1, 3, 64, 96)
    assert float((large - 0.25).abs().max()) < 0.2  # the last layer's bias is all it adds


def test_shrink_is_antialiased() -> None:
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).expand(1, 3, 64, -1)
    assert int((shrink(stripes).int() - 127).abs().max()) < 30


def test_training_goes_on_from_a_model(ddpm_folder: Path) -> None:
    model, network = load_model(ddpm_folder, "cpu"), tiny_unet()
    _take_over(network, model)
    for found, saved in zip(network.parameters(), model.unet.parameters(), strict=True):
        assert torch.equal(found, saved)
    with pytest.raises(InvalidInput, match="from: the U-Net"):
        _take_over(packaged_unet(), model)
