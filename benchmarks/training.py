"""What the training loop costs: pictures a second against bare loops with the same network.

    python benchmarks/training.py --model packaged --batch-size 16
    python benchmarks/training.py --model google/ddpm-celebahq-256 --batch-size 1 --steps 3

Three loops take turns in one process (A B C A B C, medians), each with its own copy of the network
and its own AdamW, so that a busy machine slows all of them:

- bare: forward, backward and AdamW on one batch that lies in memory, and nothing else;
- theirs: what diffusers' train_unconditional.py does in a step (pictures from a DataLoader with
  its transforms, noise, timesteps, MSE, clipping, AdamW, a cosine schedule, its EMA);
- ours: `run_steps` with the loss of `ukiyoe train`, minus its checkpoints and looks.

Prints a table, writes ``results/training.json``, and exits with 1 if a bar is missed.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ukiyoe.model import Model, load_model
from ukiyoe.training.data import Bucket
from ukiyoe.training.denoising import denoising_loss
from ukiyoe.training.loop import LoopConfig, run_steps
from ukiyoe.training.presets import TUNE

BARS = {"bare": 0.95, "theirs": 0.98}  # least share of their pictures a second
PICTURES = 64


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """What train_unconditional.py's transforms do to decoded pictures."""

    def __init__(self, pixels: torch.Tensor, size: tuple[int, int]) -> None:
        self.pixels, self.size = pixels, size

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> torch.Tensor:
        height, width = self.size
        picture = self.pixels[index, :, :height, :width]
        return (picture.float() / 255 - 0.5) / 0.5


def endless(loader: Any) -> Iterator[torch.Tensor]:
    while True:
        yield from loader


def bare_loop(model: Model, bucket: Bucket, batch_size: int) -> Callable[[], None]:
    network = copy.deepcopy(model.unet).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    height, width = bucket.size
    pictures = bucket.pixels[:batch_size, :, :height, :width].float() / 127.5 - 1
    x_t = model.codec.encode(pictures).contiguous(memory_format=torch.channels_last)
    timesteps = torch.arange(batch_size)

    def step() -> None:
        F.mse_loss(network(x_t, timesteps).sample, x_t).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def their_loop(model: Model, bucket: Bucket, batch_size: int) -> Callable[[], None]:
    network = copy.deepcopy(model.unet).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, 10_000)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True)
    loader = torch.utils.data.DataLoader(
        Pictures(bucket.pixels, bucket.size), batch_size, shuffle=True, drop_last=True
    )
    batches = endless(loader)
    longest = model.num_train_timesteps

    def step() -> None:
        x_0 = model.codec.encode(next(batches))
        noise = torch.randn(x_0.shape)
        timesteps = torch.randint(0, longest, (len(x_0),)).long()
        x_t = model.scheduler.add_noise(x_0, noise, timesteps)
        loss = F.mse_loss(network(x_t, timesteps).sample.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        loss.item()

    return step


def our_loop(model: Model, bucket: Bucket, batch_size: int) -> Callable[[], None]:
    network = copy.deepcopy(model.unet).requires_grad_(True).train()
    average = copy.deepcopy(network)
    loss, _ = denoising_loss(model, {"square": bucket}, replace(TUNE, batch_size=batch_size), 0)
    config = LoopConfig(max_steps=10**9, learning_rate=1e-5, bfloat16=False)
    steps = run_steps(network, average, loss, config)

    def step() -> None:
        next(steps)

    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="of each loop, a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results") / "training.json")
    options = parser.parse_args()
    model = load_model(options.model, "cpu")
    height, width = model.sizes[model.default_orientation]
    shape = (max(PICTURES, options.batch_size), 3, height * 17 // 16, width * 17 // 16)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    bucket = Bucket(pixels, list(range(len(pixels))), (height, width))
    makers = {"bare": bare_loop, "theirs": their_loop, "ours": our_loop}
    loops = {name: make(model, bucket, options.batch_size) for name, make in makers.items()}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    with sdpa_kernel(SDPBackend.MATH):  # for all three, or the comparison would be unfair
        for turn in range(options.turns + 1):
            for name, step in loops.items():
                start = time.perf_counter()
                for _ in range(options.steps):
                    step()
                seconds = time.perf_counter() - start
                if turn:  # the first one warms up
                    rates[name].append(options.batch_size * options.steps / seconds)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    rows = [{"name": name, "pictures_per_second": rate} for name, rate in middle.items()]
    for name, rate in middle.items():
        print(f"{name:8s} {rate:10.2f} pictures/s")
    passed = True
    for name, bar in BARS.items():
        share = middle["ours"] / middle[name]
        verdict = "PASS" if share >= bar else "FAIL"
        passed &= share >= bar
        print(f"ours / {name:8s} {share:6.3f}  >= {bar}  {verdict}")
        rows.append({"name": f"ours / {name}", "share": share, "bar": bar, "verdict": verdict})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    facts = {"model": options.model, "batch_size": options.batch_size, "rows": rows}
    options.output.write_text(json.dumps(facts, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
