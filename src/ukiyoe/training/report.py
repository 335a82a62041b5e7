"""A training run as one HTML file: curves, grids over time, data report. Opens offline."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ukiyoe.training.watch import read_history

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 56, 24  # px of a chart, and of its margins
GRID_SIDE = 900  # px; larger grids are scaled down
GRIDS_SHOWN = 12
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #f7f3ea;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { font-weight: 600 } figure { margin: 1rem 0 } figcaption { color: #665 }
img, svg { max-width: 100%; height: auto } table { border-collapse: collapse }
td { padding: .15rem 1rem .15rem 0; border-bottom: 1px solid #ddd5c4 }
pre { white-space: pre-wrap; background: #fffdf8; padding: 1rem; max-height: 30rem; overflow: auto }
"""


def write_report(path: Path, folder: Path, title: str, facts: dict[str, str], summary: str) -> None:
    """Write the report of a run.

    Args:
        path: The file; replaced as a whole.
        folder: Holds the history and the grids (see `watch.py`).
        title: What was trained.
        facts: How it was trained, as a table.
        summary: The data report.
    """
    rows = read_history(folder)
    curves = [
        ("Training loss", _points(rows, "loss")),
        ("Validation loss (same noise every time)", _points(rows, "validation_loss")),
        ("KID to the held-out pictures", _points(rows, "kid")),
        ("Share of near copies", _points(rows, "copies")),
        ("Share of the peak learning rate", _points(rows, "share")),
    ]
    table = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in facts.items()
    )
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<table>{table}</table>",
        *(f"<h2>{name}</h2>{chart(points)}" for name, points in curves if points),
        "<h2>Samples from the same seeds, over time</h2>",
        *(_figure(folder, row) for row in _spread([row for row in rows if "grid" in row])),
        f"<h2>Data</h2><pre>{html.escape(summary)}</pre>",
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    part = path.with_name(f".{path.name}.part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def chart(points: Sequence[tuple[float, float]]) -> str:
    """A line through points as an SVG with its least and greatest values named.

    Args:
        points: At least one (x, y), x rising.

    Returns:
        The ``<svg>`` element.
    """
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    across = (WIDTH - LEFT - 8) / ((last - first) or 1)
    down = (HEIGHT - BOTTOM - 16) / ((high - low) or 1)
    places = [(LEFT + (x - first) * across, 8 + (high - y) * down) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    labels = [
        (LEFT - 6, 8 + (high - low) * down, "end", f"{low:.3g}"),
        (LEFT - 6, 14, "end", f"{high:.3g}"),
        (LEFT, HEIGHT - 6, "start", f"step {first:g}"),
        (WIDTH - 8, HEIGHT - 6, "end", f"{last:g}"),
    ]
    texts = "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="12">{text}</text>'
        for x, y, anchor, text in labels
    )
    x, y = places[-1]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">'
        f'<path d="M{LEFT} 4V{HEIGHT - BOTTOM}H{WIDTH - 4}" fill="none" stroke="#998"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f4e79" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#b23a2e"/>{texts}</svg>'
    )


def _points(rows: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first, the last, and some between."""
    if len(rows) <= GRIDS_SHOWN:
        return rows
    return [rows[round(i * (len(rows) - 1) / (GRIDS_SHOWN - 1))] for i in range(GRIDS_SHOWN)]


def _figure(folder: Path, row: dict[str, Any]) -> str:
    """One grid, inside the page."""
    try:
        with Image.open(folder / row["grid"]) as picture:
            picture.thumbnail((GRID_SIDE, GRID_SIDE))
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "JPEG", quality=85)
    except OSError:
        return ""
    measured = [f"step {row['step']}"]
    if row.get("kid") is not None:
        measured.append(f"KID {row['kid']:.3f} (± {row['kid_spread']:.3f} over subsets)")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="samples at step {row["step"]}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{', '.join(measured)}</figcaption></figure>"
    )
