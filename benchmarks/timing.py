"""What the benchmarks share: works that take turns, tables with spread, results on disk.

Things are compared only side by side in one process (A B A B), so that a busy machine slows both;
a ratio is the median of the ratios of neighbors.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ukiyoe.evaluation.machine import machine, versions

PAIRS = 9  # turns of every comparison


@dataclass(frozen=True)
class Row:
    """A line of the table: what, measured, its spread, the bar, kept or not."""

    name: str
    value: float
    spread: float | None
    unit: str
    bar: str
    verdict: str


class Report:
    """Lines of a table, printed as they come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[Row] = []

    def add(
        self,
        name: str,
        values: float | list[float],
        unit: str = "",
        low: float | None = None,
        high: float | None = None,
    ) -> float:
        """Note the median of some numbers with its spread, and the least or greatest it may be."""
        found = values if isinstance(values, list) else [float(values)]
        value = statistics.median(found)
        spread = half_quartiles(found) if len(found) > 2 else None
        kept = (low is None or value >= low) and (high is None or value <= high)
        bar = f">= {low:g}" if low is not None else f"<= {high:g}" if high is not None else ""
        row = Row(name, value, spread, unit, bar, ("PASS" if kept else "FAIL") if bar else "")
        self.rows.append(row)
        mark = "" if spread is None else f"± {spread:.3g}"
        print(f"{name:58s} {value:10.4g} {mark:10s} {unit:6s} {bar:9s} {row.verdict}", flush=True)
        return value

    def save(self, folder: Path, options: dict[str, Any], smoke: bool = False) -> int:
        """Write ``NAME.json``; gives the exit code, 1 if a bar was missed."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "machine": machine(),
            "versions": versions(),
            "smoke": smoke,
            "options": {key: str(value) for key, value in options.items()},
            "rows": [asdict(row) for row in self.rows],
        }
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return 1 if any(row.verdict == "FAIL" for row in self.rows) else 0


def half_quartiles(values: list[float]) -> float:
    """Half the distance between the quartiles: a spread that one hiccup does not blow up."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def side_by_side(
    works: Mapping[str, Callable[[], Any]], rounds: int = PAIRS, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of several works that take turns, after one unmeasured turn each."""
    for work in works.values() if warm else ():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        # Every other round backwards: whoever runs second must not always be the same.
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(seconds(works[name]))
    return times


def ratios(times: dict[str, list[float]], of: str, to: str) -> list[float]:
    """How many times as long one work took as its neighbor, round by round."""
    return [a / b for a, b in zip(times[of], times[to], strict=True)]
