"""What a postcard costs: time against bare U-Net forwards, GFLOP, the share of each part.

    python benchmarks/speed.py

Compares things only side by side in one process (A B A B, medians), so that a busy machine slows
both. Prints a table, writes ``speed.json``, and exits with 1 if a bar is missed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ukiyoe import Recipe, UkiyoePipeline
from ukiyoe.images import pil_from_tensor
from ukiyoe.model import Model
from ukiyoe.settings import BATCH_SIZE, PACKAGED

PROMPT, COLOR = "a wave", "#1f4e79"
MATMUL_SIDE = 2048
HELP_RUNS = 5


class Report:
    """Lines of a table: what, measured, bar, kept or not."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str = "", high: float | None = None) -> None:
        """Note and print a number, with the greatest value it may have."""
        bar = "" if high is None else f"<= {high:g}"
        verdict = "" if high is None else "PASS" if value <= high else "FAIL"
        row = {"name": name, "value": value, "unit": unit, "bar": bar, "verdict": verdict}
        self.rows.append(row)
        print(f"{name:54s} {value:10.3f} {unit:8s} {bar:8s} {verdict}", flush=True)


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def side_by_side(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of several works that take turns, after one unmeasured turn each."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in times.items()}


def gflop(work: Callable[[], Any]) -> float:
    """Floating-point operations of a call, in 10^9; a multiply-add counts as 2."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops() / 1e9


class Bench:
    """One pipeline and its works."""

    def __init__(self, pipe: UkiyoePipeline, batch: int, report: Report) -> None:
        self.pipe = pipe
        self.model: Model = pipe.model
        self.report = report
        guided = Recipe(
            prompt=PROMPT,
            color=COLOR,
            orientation=self.model.default_orientation,
        )
        self.guided = self._recipes(guided, batch)
        plain = Recipe(orientation=guided.orientation)
        self.plain = self._recipes(plain, batch)
        shape = self.model.latent_shape(guided.orientation)
        self.latents = torch.randn((batch, *shape), generator=torch.Generator().manual_seed(0))
        self.latents = self.latents.to(self.model.device, memory_format=torch.channels_last)
        self.steps = guided.num_inference_steps

    def _recipes(self, wish: Recipe, batch: int) -> list[Recipe]:
        signed = self.pipe.recipe(wish)
        return [Recipe(**{**vars(signed), "seed": seed}) for seed in range(batch)]

    def bare(self) -> None:
        """As many U-Net forwards as the loop makes, and nothing else."""
        with torch.inference_mode():
            for step in range(self.steps):
                self.model.unet(self.latents, 999 - step)

    def sample(self, recipes: list[Recipe]) -> torch.Tensor:
        """The sampling loop; gives the finished latents."""
        for step in self.pipe.sample(recipes):
            latents = step.sample
        return latents

    def finish(self, latents: torch.Tensor, folder: Path, recipes: list[Recipe]) -> None:
        """Decode, upscale and save as PNG with the recipe inside."""
        pictures = pil_from_tensor(self.model.finish(latents))
        for picture, recipe in zip(pictures, recipes, strict=True):
            picture.save(folder / f"seed-{recipe.seed}.png", pnginfo=recipe.png_info())

    def times(self, rounds: int) -> None:
        """The loop with and without guides against bare forwards; upscaling against the whole."""
        latents = self.sample(self.guided)
        with tempfile.TemporaryDirectory() as folder:
            found = side_by_side(
                {
                    "bare": self.bare,
                    "guided": lambda: self.sample(self.guided),
                    "plain": lambda: self.sample(self.plain),
                    "finish": lambda: self.finish(latents, Path(folder), self.guided),
                },
                rounds,
            )
        batch, add = len(self.guided), self.report.add
        add(f"{self.steps} bare U-Net forwards, batch {batch}", found["bare"], "s")
        add("sampling loop, unguided", found["plain"], "s")
        add("sampling loop, both guides", found["guided"], "s")
        add("upscaling and saving", found["finish"], "s")
        add("a picture with both guides", (found["guided"] + found["finish"]) / batch, "s")
        add("loop unguided / bare forwards", found["plain"] / found["bare"], "x")
        add("loop with both guides / bare forwards", found["guided"] / found["bare"], "x", 1.4)
        whole = found["guided"] + found["finish"]
        add("upscaling and saving, share of the whole", found["finish"] / whole, "", 0.25)
        forward = gflop(self._forward) * self.steps * batch
        add("U-Net forwards reach", forward / found["bare"], "GFLOP/s")

    def costs(self) -> None:
        """GFLOP of a default postcard with both guides and of its parts."""
        one = self.guided[:1]
        latents = self.sample(one)
        # The counter sees through no_grad, but not into inference_mode's fused operations.
        images = self.model.codec.decode(latents)
        upscaler = self.model.upscaler
        self.report.add("U-Net forward of one picture", gflop(self._forward), "GFLOP", 5)
        if upscaler is not None:
            self.report.add(
                "upscaler, one picture", gflop(lambda: _no_grad(upscaler, images)), "GFLOP"
            )
        loop = gflop(lambda: self.sample(one))
        finish = gflop(lambda: _no_grad(upscaler, images)) if upscaler is not None else 0.0
        self.report.add("guides of one picture", loop - self.steps * gflop(self._forward), "GFLOP")
        self.report.add("default postcard, both guides", loop + finish, "GFLOP", 180)

    def _forward(self) -> None:
        with torch.no_grad():
            self.model.unet(self.latents[:1], 500)


def _no_grad(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> None:
    with torch.no_grad():
        network(images)


def matmul_ceiling() -> float:
    """What float32 matrix multiplication reaches here, in GFLOP/s: best of 5."""
    a, b = (torch.randn(MATMUL_SIDE, MATMUL_SIDE) for _ in range(2))
    best = min(seconds(lambda: a @ b) for _ in range(5))
    return 2 * MATMUL_SIDE**3 / best / 1e9


def help_seconds() -> float:
    """Median wall time of ``ukiyoe --help`` as the installed command."""
    script = Path(sys.executable).with_name("ukiyoe")
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "ukiyoe.cli"]

    def run() -> None:
        subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL)

    return statistics.median(seconds(run) for _ in range(HELP_RUNS))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--rounds", type=int, default=5, help="turns of the A B A B comparison")
    parser.add_argument("--output", default="results/speed", help="folder of speed.json")
    options = parser.parse_args()
    report = Report()
    report.add("ukiyoe --help, median of 5", help_seconds(), "s", 0.5)
    report.add(
        f"float32 matmul {MATMUL_SIDE}, {torch.get_num_threads()} threads",
        matmul_ceiling(),
        "GFLOP/s",
    )
    pipe = UkiyoePipeline.from_pretrained(options.model, options.device)
    bench = Bench(pipe, options.batch_size, report)
    bench.costs()
    bench.times(options.rounds)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    results = {"options": vars(options), "rows": report.rows}
    (output / "speed.json").write_text(json.dumps(results, indent=2) + "\n")
    return 1 if any(row["verdict"] == "FAIL" for row in report.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
