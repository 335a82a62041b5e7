"""An evaluation, or two side by side, as one HTML file that needs nothing else."""

import base64
import math
from html import escape
from pathlib import Path

from ukiyoe.evaluation.plots import svg
from ukiyoe.evaluation.result import (
    Evaluation,
    Gallery,
    Measure,
    Plot,
    Series,
    jpeg,
    load_evaluation,
    save_evaluation,
    write_whole,
)

HTML = "report.html"
STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
BETTER = {"lower": "↓", "higher": "↑", "": ""}


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``report.html``, ``report.json`` and the pictures they show.

    Args:
        evaluation: What was found.
        folder: Where to; made if missing.

    Returns:
        The HTML file.
    """
    save_evaluation(evaluation, folder)
    parts = [_about({"": evaluation}), *_tables(evaluation), *_plots(evaluation.plots)]
    parts += [_gallery(gallery) for gallery in evaluation.galleries]
    title = f"Evaluation of {evaluation.about.get('model', 'a model')}"
    return _write(folder, title, parts)


def write_comparison(first: Path, second: Path, folder: Path) -> Path:
    """Write two reports side by side.

    Args:
        first: A folder that `write_report` wrote.
        second: Another.
        folder: Where ``report.html`` goes; made if missing.

    Returns:
        The HTML file.
    """
    a, b = load_evaluation(first), load_evaluation(second)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        _about({"A": a, "B": b}),
        _comparison(a, b),
        *_plots(_together(a.plots, b.plots)),
    ]
    others = {gallery.name: gallery for gallery in b.galleries}
    for gallery in a.galleries:
        pair = [_gallery(gallery, "A: ")]
        if gallery.name in others:
            pair.append(_gallery(others[gallery.name], "B: "))
        parts.append(f'<div class="pair">{"".join(pair)}</div>')
    return _write(folder, "Two evaluations side by side", parts)


def _write(folder: Path, title: str, parts: list[str]) -> Path:
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )
    write_whole(folder / HTML, page)
    return folder / HTML


def _about(evaluations: dict[str, Evaluation]) -> str:
    """What was measured, with what, when and where; a column per evaluation."""
    keys = list(dict.fromkeys(key for e in evaluations.values() for key in e.about))
    head = "".join(f"<th>{name}</th>" for name in evaluations) if len(evaluations) > 1 else ""
    rows = []
    for key in keys:
        values = [evaluation.about.get(key, "—") for evaluation in evaluations.values()]
        mark = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows.append(f"<tr{mark}><th>{escape(key)}</th>{cells}</tr>")
    top = f"<thead><tr><th></th>{head}</tr></thead>" if head else ""
    return f'<table class="about">{top}<tbody>{"".join(rows)}</tbody></table>'


def _tables(evaluation: Evaluation) -> list[str]:
    found = []
    for section in dict.fromkeys(measure.section for measure in evaluation.measures):
        rows = [measure for measure in evaluation.measures if measure.section == section]
        table = _wide(rows) if any(row.group for row in rows) else _long(rows)
        found.append(f"<section><h2>{escape(section)}</h2>{table}</section>")
    return found


def _long(rows: list[Measure]) -> str:
    body = "".join(
        f"<tr><th>{escape(row.name)} {_arrow(row)}</th><td class='number'>{_number(row)}</td>"
        f"<td class='note'>{escape(row.note)}</td></tr>"
        for row in rows
    )
    return f"<table class='long'><tbody>{body}</tbody></table>"


def _wide(rows: list[Measure]) -> str:
    """One row per group, one column per name."""
    names = list(dict.fromkeys(row.name for row in rows))
    groups = list(dict.fromkeys(row.group for row in rows))
    found = {(row.group, row.name): row for row in rows}
    first = {name: next(row for row in rows if row.name == name) for name in names}
    head = "".join(f"<th>{escape(name)} {_arrow(first[name])}</th>" for name in names)
    body = []
    for group in groups:
        cells = [found.get((group, name)) for name in names]
        body.append(
            f"<tr><th>{_swatch(group)}{escape(group)}</th>"
            + "".join(f"<td class='number'>{_number(cell) if cell else ''}</td>" for cell in cells)
            + "</tr>"
        )
    notes = dict.fromkeys(f"{row.name}: {row.note}" for row in rows if row.note)
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f"<div class='scroll'><table class='wide'><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div><ul class='note'>{listed}</ul>"
    )


def _comparison(a: Evaluation, b: Evaluation) -> str:
    """Every number of both; a difference of more than two error bars is told."""
    key = {(row.section, row.group, row.name): row for row in b.measures}
    rows, section = [], None
    for row in a.measures:
        other = key.get((row.section, row.group, row.name))
        if row.section != section:
            section = row.section
            rows.append(f"<tr class='section'><th colspan='5'>{escape(section)}</th></tr>")
        name = f"{row.group}: {row.name}" if row.group else row.name
        rows.append(
            f"<tr><th>{_swatch(row.group)}{escape(name)} {_arrow(row)}</th>"
            f"<td class='number'>{_number(row)}</td>"
            f"<td class='number'>{_number(other) if other else '—'}</td>{_difference(row, other)}"
            "</tr>"
        )
    head = "<th></th><th>A</th><th>B</th><th>B − A</th><th></th>"
    return (
        "<section><h2>Numbers</h2><table class='wide'><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "<p class='note'>“Better” and “worse” are said only of a difference of more than twice "
        "both error bars together; without error bars nothing is said.</p></section>"
    )


def _difference(a: Measure, b: Measure | None) -> str:
    if b is None or a.value is None or b.value is None:
        return "<td></td><td></td>"
    gap = b.value - a.value
    verdict = ""
    if a.better and a.spread is not None and b.spread is not None:
        bar = 2 * math.hypot(a.spread, b.spread)
        if abs(gap) > bar:
            verdict = "better" if (gap > 0) == (a.better == "higher") else "worse"
    return f"<td class='number'>{gap:+.3g}</td><td class='{verdict}'>{verdict}</td>"


def _together(first: tuple[Plot, ...], second: tuple[Plot, ...]) -> list[Plot]:
    """The lines of both in one plot, where both have it."""
    others = {plot.title: plot for plot in second}
    plots = []
    for plot in first:
        series = [_renamed("A", line) for line in plot.series]
        if plot.title in others:
            series += [_renamed("B", line) for line in others[plot.title].series]
        plots.append(
            Plot(plot.title, plot.kind, plot.x_label, plot.y_label, tuple(series), plot.note)
        )
    return plots


def _renamed(side: str, line: Series) -> Series:
    return Series(f"{side} {line.name}", line.x, line.y, line.spread, line.labels)


def _plots(plots: tuple[Plot, ...] | list[Plot]) -> list[str]:
    if not plots:
        return []
    figures = "".join(
        f"<figure><h3>{escape(plot.title)}</h3>{svg(plot)}"
        f"<figcaption>{escape(plot.note)}</figcaption></figure>"
        for plot in plots
    )
    return [f"<section><h2>Plots</h2><div class='plots'>{figures}</div></section>"]


def _gallery(gallery: Gallery, prefix: str = "") -> str:
    cells = []
    for picture, caption in zip(gallery.pictures, gallery.captions, strict=True):
        data = base64.b64encode(jpeg(picture)).decode()
        label = f"<figcaption>{_swatch(caption)}{escape(caption)}</figcaption>"
        cells.append(
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(caption)}" '
            f'loading="lazy">{label}</figure>'
        )
    return (
        f"<section><h2>{escape(prefix + gallery.title)}</h2>"
        f"<p class='note'>{escape(gallery.note)}</p>"
        f"<div class='grid' style='--columns:{gallery.columns}'>{''.join(cells)}</div></section>"
    )


def _arrow(row: Measure) -> str:
    if not row.better:
        return ""
    return f"<span class='arrow' title='{row.better} is better'>{BETTER[row.better]}</span>"


def _swatch(text: str) -> str:
    """A dot of the color that a text names."""
    color = next((word for word in text.split() if word.startswith("#")), None)
    return f"<span class='swatch' style='background:{escape(color)}'></span>" if color else ""


def _number(row: Measure) -> str:
    if row.value is None:
        return "not measured"
    unit = f" {row.unit}" if row.unit else ""
    if row.spread is None:
        return escape(f"{row.value:.4g}{unit}")
    # As many digits as the error bar allows: two of its own.
    digits = 3 if row.spread <= 0 else max(0, 1 - math.floor(math.log10(row.spread)))
    digits = min(digits, 6)
    return escape(f"{row.value:.{digits}f}") + (
        f"<span class='spread'> ± {row.spread:.{digits}f}</span>{escape(unit)}"
    )
