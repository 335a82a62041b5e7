"""Peak memory against batch and size, each in a process of its own.

python benchmarks/memory.py
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from timing import Report
from ukiyoe.evaluation.machine import peak_memory
from ukiyoe.settings import PACKAGED

BATCHES = (1, 4, 16)
SIDES = (64, 128, 256)  # px, of the 113.7 M network
STEPS = 2  # the peak is the same at every step


def child(task: dict[str, str]) -> int:
    """Do one thing and print the most memory this process held, in MiB."""
    if task["what"] != "nothing":
        from celebahq import model as celebahq_model
        from ukiyoe import UkiyoePipeline

        if task["what"] == "side":
            pipe = UkiyoePipeline(celebahq_model(int(task["size"]), task["tiny"] == "yes"))
            pipe(seeds=[0], num_inference_steps=STEPS, batch_size=1)
        else:
            pipe = UkiyoePipeline.from_pretrained(task["model"], "cpu")
            batch = int(task["size"])
            prompt = "a wave" if (pipe.model.folder / "text_tower").is_dir() else None
            pipe(prompt, color="#1f4e79", seeds=range(batch), num_inference_steps=STEPS,
                 batch_size=batch)  # fmt: skip
    print(json.dumps(peak_memory()))
    return 0


def measure(**task: str) -> float:
    """Peak memory of a child process, in MiB."""
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--smoke", action="store_true", help="tiny networks: does it run?")
    parser.add_argument("--output", default="results/memory")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.child)
    if peak_memory() is None:
        print("memory: nobody counts it on this system.")
        return 0
    report = Report("memory")
    report.add("Python alone", measure(what="nothing"), "MiB")
    for batch in BATCHES[:1] if options.smoke else BATCHES:
        peak = measure(what="batch", size=str(batch), model=options.model)
        report.add(f"postcards with guides, batch {batch}", peak, "MiB")
    for side in SIDES[:1] if options.smoke else SIDES:
        tiny = "yes" if options.smoke else "no"
        peak = measure(what="side", size=str(side), tiny=tiny)
        report.add(f"113.7 M network, one picture of {side} px", peak, "MiB")
    return report.save(Path(options.output), vars(options) | {"child": ""}, options.smoke)


if __name__ == "__main__":
    sys.exit(main())
