"""What our sampling loop adds: to bare U-Net forwards, and next to diffusers' DDIMPipeline.

python benchmarks/sampler.py
"""

import argparse
import sys
from pathlib import Path

import torch
from diffusers import DDIMPipeline, DDIMScheduler

from celebahq import model as celebahq_model
from timing import PAIRS, Report, ratios, side_by_side
from ukiyoe import UkiyoePipeline
from ukiyoe.model import load_model
from ukiyoe.sampling import sample_steps
from ukiyoe.settings import DEFAULTS, PACKAGED

BATCH = 4
SIDE, STEPS = 64, 10  # of the 113.7 M network; the smaller the picture, the more a loop weighs


def overhead(name: str, rounds: int, steps: int, report: Report, bars: bool) -> None:
    """The unguided loop against as many forwards of the same network, batch 4."""
    model = load_model(name, "cpu")
    shape = model.latent_shape(model.default_orientation)
    latents = torch.randn(BATCH, *shape).to(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            for step in range(steps):
                model.unet(latents, 999 - step)

    def loop() -> None:
        seeds = range(BATCH)
        for _ in sample_steps(model, seeds, model.default_orientation, steps, DEFAULTS.solver):
            pass

    times = side_by_side({"bare": bare, "loop": loop}, rounds)
    report.add(f"{steps} bare U-Net forwards, batch {BATCH}", times["bare"], "s")
    report.add("our loop, unguided", times["loop"], "s")
    found = ratios(times, "loop", "bare")
    report.add("our loop / bare forwards", found, "x", high=1.03 if bars else None)


def against_diffusers(
    rounds: int, side: int, steps: int, tiny: bool, report: Report, bars: bool
) -> None:
    """Whole pictures of one network, ours and diffusers', the same solver and steps."""
    model = celebahq_model(side, tiny)
    ours = UkiyoePipeline(model)
    theirs = DDIMPipeline(model.unet, DDIMScheduler(num_train_timesteps=1000))
    theirs.set_progress_bar_config(disable=True)
    times = side_by_side(
        {
            "theirs": lambda: theirs(1, num_inference_steps=steps).images,
            "ours": lambda: (
                ours(seeds=[0], solver="ddim", num_inference_steps=steps, batch_size=1).images
            ),
        },
        rounds,
    )
    parameters = sum(weight.numel() for weight in model.unet.parameters()) / 1e6
    report.add("the network", parameters, "M")
    report.add(f"DDIMPipeline, {steps} steps at {side} px", times["theirs"], "s")
    report.add("UkiyoePipeline, the same", times["ours"], "s")
    found = ratios(times, "ours", "theirs")
    report.add("ours / DDIMPipeline", found, "x", high=1.02 if bars else None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--rounds", type=int, default=PAIRS)
    parser.add_argument("--side", type=int, default=SIDE, help="px, of the 113.7 M network")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the 113.7 M network")
    parser.add_argument("--smoke", action="store_true", help="tiny networks: does it run?")
    parser.add_argument("--output", default="results/sampler")
    options = parser.parse_args(arguments)
    report = Report("sampler")
    bars, smoke = not options.smoke, options.smoke
    steps = 2 if smoke else DEFAULTS.num_inference_steps
    overhead(options.model, options.rounds, steps, report, bars)
    side, steps = (16, 2) if smoke else (options.side, options.steps)
    against_diffusers(options.rounds, side, steps, smoke, report, bars)
    return report.save(Path(options.output), vars(options), smoke)


if __name__ == "__main__":
    sys.exit(main())
