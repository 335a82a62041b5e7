"""How long until something happens: import, --help, the first picture; each a new process.

python benchmarks/startup.py
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import PAIRS, Report, ratios, side_by_side
from ukiyoe.settings import PACKAGED


def run(*arguments: str) -> None:
    """A Python of its own."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED)
    parser.add_argument("--rounds", type=int, default=PAIRS)
    parser.add_argument("--smoke", action="store_true", help="two steps: does it run?")
    parser.add_argument("--output", default="results/startup")
    options = parser.parse_args(arguments)
    more = ["--steps", "2"] if options.smoke else []

    def first_picture() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run("-m", "ukiyoe.cli", "generate", "--quiet", "--device", "cpu", "--model",
                options.model, "--output", folder, *more)  # fmt: skip

    times = side_by_side(
        {
            "nothing": lambda: run("-c", "pass"),
            "import": lambda: run("-c", "import ukiyoe"),
            "help": lambda: run("-m", "ukiyoe.cli", "--help"),
            "torch": lambda: run("-c", "import torch, diffusers"),
            "picture": first_picture,
        },
        options.rounds,
        warm=not options.smoke,
    )
    report = Report("startup")
    report.add("Python alone", times["nothing"], "s")
    report.add("import ukiyoe", times["import"], "s")
    report.add("ukiyoe --help", times["help"], "s", high=None if options.smoke else 0.5)
    report.add("import torch, diffusers (for comparison)", times["torch"], "s")
    report.add("first picture, from the prompt to the PNG", times["picture"], "s")
    report.add("... over importing torch and diffusers", ratios(times, "picture", "torch"), "x")
    return report.save(Path(options.output), vars(options), options.smoke)


if __name__ == "__main__":
    sys.exit(main())
