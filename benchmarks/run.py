"""Every benchmark, one after the other, and ``benchmarks/RESULTS.md`` from what they found.

make bench                                     # hours; quality and evaluate need --data
python benchmarks/run.py --only sampler,memory
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ukiyoe.evaluation.machine import machine, versions

HERE = Path(__file__).parent
NAMES = ("startup", "sampler", "memory", "reference", "speed", "quality", "evaluate")
NEED_DATA = ("quality", "evaluate")
WITH_SMOKE = ("startup", "sampler", "memory", "reference")
TITLES = {
    "startup": "Until something happens",
    "sampler": "Our sampling loop",
    "memory": "Memory",
    "reference": "Against the published recipe",
    "speed": "What a postcard costs",
    "quality": "Every claim about quality",
    "evaluate": "Steps, solvers and KID (ukiyoe evaluate --curves)",
}


def command(name: str, options: argparse.Namespace) -> list[str]:
    """How to run one benchmark."""
    folder = str(Path(options.results) / name)
    if name == "evaluate":
        arguments = ["-m", "ukiyoe.cli", "evaluate", "--curves", "--guides", "none"]
        arguments += ["--data", options.data, "--features", options.features]
    else:
        arguments = [str(HERE / f"{name}.py")]
        if name == "quality":
            arguments += ["--data", options.data, "--features", options.features]
        if options.smoke:
            arguments.append("--smoke")
    return [sys.executable, *arguments, "--model", options.model, "--output", folder]


def tables(results: Path) -> str:
    """Every result on disk as Markdown, each with its own machine and date."""
    parts = [
        "# Results",
        "",
        "Written by `make bench`; do not edit. A value is a median, ± half the distance between "
        "the quartiles of its rounds; a ratio is the median over neighbors.",
    ]
    for name in NAMES:
        for path in sorted((results / name).glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content.get("rows") or _rows_of_evaluation(content)
            if not rows:
                continue
            about = content.get("about", content)
            written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(path.stat().st_mtime))
            here = {"date": written, "machine": machine(), "versions": versions()}
            notes = [str(about.get(key, value)) for key, value in here.items()]
            smoke = "**A smoke run: the numbers mean nothing.** " if content.get("smoke") else ""
            parts += ["", f"## {TITLES[name]}", "", smoke + "; ".join(notes), ""]
            parts += ["| what | value | bar | |", "|---|---|---|---|"]
            parts += [_line(row) for row in rows]
    return "\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    spread = "" if row.get("spread") is None else f" ± {row['spread']:.2g}"
    value = "not measured" if row["value"] is None else f"{row['value']:.4g}{spread}"
    unit = f" {row['unit']}" if row.get("unit") else ""
    name = row["name"].replace("|", "\\|")
    return f"| {name} | {value}{unit} | {row.get('bar', '')} | {row.get('verdict', '')} |"


def _rows_of_evaluation(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Numbers and curves of ``ukiyoe evaluate`` as lines of a table."""
    rows = list(content.get("measures", []))
    for plot in content.get("plots", []):
        if plot["title"] != "KID over steps":
            continue
        for line in plot["series"]:
            for x, y, spread in zip(line["x"], line["y"], line["spread"], strict=True):
                name = f"KID, {x:g} steps of {line['name']}"
                rows.append({"name": name, "value": y, "spread": spread})
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--data", default="../shared/prints", help="prints with labels.jsonl")
    parser.add_argument("--features", default="../shared/eval/mobilenet_v2.onnx")
    parser.add_argument("--results", default="results")
    parser.add_argument("--output", default=str(HERE / "RESULTS.md"))
    parser.add_argument("--smoke", action="store_true", help="tiny networks: do they run?")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"--only: expected some of {','.join(NAMES)}, got {unknown[0]!r}")
    failed = []
    for name in names:
        if options.smoke and name not in WITH_SMOKE:
            continue
        if name in NEED_DATA and not Path(options.data).is_dir():
            print(f"-- {name}: skipped, {options.data} is not there", flush=True)
            continue
        print(f"-- {name}", flush=True)
        if name == "evaluate":  # it never writes over a report; this one is ours
            shutil.rmtree(Path(options.results) / name, ignore_errors=True)
        if subprocess.run(command(name, options), check=False).returncode:
            failed.append(name)
    Path(options.output).write_text(tables(Path(options.results)), encoding="utf-8")
    print(f"results: {options.output}" + "".join(f"\nmissed a bar or failed: {n}" for n in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
