"""What guides do: obedience, damage, and both as the scale grows."""

from collections.abc import Sequence

import numpy as np

from ukiyoe.evaluation.effects import Effect, GuideWish, damage, effect
from ukiyoe.evaluation.judge import ClipJudge, Judge, ProbeJudge
from ukiyoe.evaluation.metrics import share_error, standard_error
from ukiyoe.evaluation.result import Gallery, Measure, Plot, Series
from ukiyoe.evaluation.session import Features, Part, Pictures, Session
from ukiyoe.settings import DEFAULTS

GUIDE_SEEDS = 8  # per wish
CURVE_SEEDS = 16
SCALES = (2.0, 5.0, 10.0)


def guide_effects(session: Session, guides: Sequence[GuideWish]) -> Part:
    """What every wish does at the default scale, to the same seeds."""
    seeds = range(GUIDE_SEEDS)
    judge = _judge(session)
    plain = session.make(seeds)
    before = session.look("unguided", plain)
    rows: list[Measure] = []
    differences: tuple[list[float], list[float]] = [], []
    cells, captions = list(plain), [f"seed {seed}" for seed in seeds]
    for wish in guides:
        guided = session.make(seeds, wish)
        found = effect(plain, guided, wish.color)
        if wish.kind == "color":
            differences[0].extend(found.delta_e_before.tolist())
            differences[1].extend(found.delta_e_after.tolist())
        rows += _effect_rows(wish, found)
        if wish.prompt is not None:
            rows += _text_rows(judge, wish, before, session.look(f"wish {wish.name}", guided))
        cells += guided
        captions += [wish.name, *[""] * (len(guided) - 1)]
    plots = []
    if differences[0]:
        plots.append(Plot(
            "ΔE2000 to the wished color", "distribution", "ΔE2000 of the mean color", "share",
            (Series("unguided", tuple(differences[0]), ()),
             Series(f"guided, scale {DEFAULTS.color_scale:g}", tuple(differences[1]), ())),
            "1 is just noticeable; black to white is 100.",
        ))  # fmt: skip
    note = "First row: unguided. Then the same seeds with each wish, none left out."
    gallery = Gallery("guides", "Guides", GUIDE_SEEDS, tuple(captions), tuple(cells), note)
    return rows, plots, [gallery]


def scale_curves(session: Session, guides: Sequence[GuideWish]) -> Part:
    """What a guide gives against what it costs, as its scale grows."""
    seeds = range(CURVE_SEEDS)
    judge = _judge(session)
    plain = session.make(seeds)
    before = session.look("unguided, 16", plain)
    plots, galleries = [], []
    for kind in ("color", "text"):
        wishes = [wish for wish in guides if wish.kind == kind]
        if not wishes:
            continue
        turn = [wishes[seed % len(wishes)] for seed in seeds]
        effects, damages, errors, labels = [0.0], [0.0], [0.0], ["0"]
        columns: list[Pictures] = [plain]
        for scale in SCALES:
            for first, wish in enumerate(wishes):
                session.make(seeds[first :: len(wishes)], wish, scale)
            guided = [session.make([s], w, scale)[0] for s, w in zip(seeds, turn, strict=True)]
            columns.append(guided)
            after = session.look(f"{kind} at scale {scale:g}", guided)
            gained = _gained(judge, turn, plain, guided, before, after)
            if gained is None:
                break
            cost, error = damage(before, after, session.reference())
            effects.append(gained)
            damages.append(cost)
            errors.append(error)
            labels.append(f"{scale:g}")
        if len(effects) == 1 + len(SCALES):
            wished = "ΔE2000 taken away, %" if kind == "color" else "text gain"
            line = Series(kind, tuple(effects), tuple(damages), tuple(errors), tuple(labels))
            plots.append(Plot(
                f"Effect and damage: {kind}", "lines", wished, "KID above unguided",
                (line,), f"Points are scales, {len(plain)} seeds each; ± is a jackknife error. "
                "Right is obedient, low is unharmed.",
            ))  # fmt: skip
        shown = range(4)
        cells = tuple(column[seed] for seed in shown for column in columns)
        scales = (0.0, *SCALES)
        captions = tuple(
            turn[seed].name if scale == 0 else f"scale {scale:g}"
            for seed in shown for scale in scales[: len(columns)]
        )  # fmt: skip
        galleries.append(Gallery(f"scales-{kind}", f"Scales: {kind}", len(columns), captions,
                                 cells, "Unguided at the left; a row is one seed."))  # fmt: skip
    return [], plots, galleries


def _judge(session: Session) -> Judge | None:
    if hasattr(session.network, "embed_text"):
        return ClipJudge(session.network)
    if any(session.data.training.tags):
        return ProbeJudge(session.training(), session.data.training.tags)
    return None


def _text_rows(
    judge: Judge | None, wish: GuideWish, before: Features, after: Features
) -> list[Measure]:
    prompt = wish.prompt or ""
    scores = [judge.score(found, prompt) for found in (before, after)] if judge else [None]
    if judge is None or scores[0] is None or scores[1] is None:
        note = "Nobody to judge: no tag of the prints is in these words; CLIP judges any words."
        return [Measure("Guides", "text gain", None, group=wish.name, note=note)]
    gain = scores[1] - scores[0]
    won = int((gain > 0).sum())
    return [
        Measure("Guides", "text gain", float(gain.mean()), standard_error(gain), wish.name,
                better="higher", note=f"In {judge.unit}, against the same seeds unguided."),
        Measure("Guides", "seeds that gained", won / len(gain), share_error(won, len(gain)),
                wish.name, better="higher"),
    ]  # fmt: skip


def _gained(
    judge: Judge | None, turn: list[GuideWish], plain: Pictures, guided: Pictures, before: Features,
    after: Features,
) -> float | None:  # fmt: skip
    """What one guide kind reached over pictures with a wish each; None if nobody can judge."""
    if turn[0].kind == "color":
        pairs = [
            effect([a], [b], wish.color) for a, b, wish in zip(plain, guided, turn, strict=True)
        ]
        far = sum(float(pair.delta_e_before[0]) for pair in pairs)
        near = sum(float(pair.delta_e_after[0]) for pair in pairs)
        return 100 * (1 - near / max(far, 1e-9))
    if judge is None:
        return None
    gains = []
    for index, wish in enumerate(turn):
        one = slice(index, index + 1)
        scores = [judge.score(found[one], wish.prompt or "") for found in (before, after)]
        if scores[0] is not None and scores[1] is not None:
            gains.append(float((scores[1] - scores[0])[0]))
    return float(np.mean(gains)) if gains else None


def _effect_rows(wish: GuideWish, found: Effect) -> list[Measure]:
    names = {
        "ΔE2000 unguided": (found.delta_e_before, ""),
        "ΔE2000 guided": (found.delta_e_after, "lower"),
        "structure": (found.structure, "higher"),
        "tint residual": (found.tint_residual, "higher"),
        "contrast": (found.range_share, ""),
    }
    notes = {
        "structure": "Correlation of light and dark with the unguided picture, at 32x48.",
        "tint residual": "Share of the picture that no tint of the unguided one explains.",
        "contrast": "2nd to 98th percentile of L*, as a share of the unguided one.",
    }
    return [
        Measure("Guides", name, float(values.mean()), standard_error(values), wish.name,
                better=better, note=notes.get(name, ""))
        for name, (values, better) in names.items() if values.size
    ]  # fmt: skip
