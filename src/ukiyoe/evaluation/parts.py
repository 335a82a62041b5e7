"""How like the prints, how new, how colored, how fast: measures of unguided pictures."""

import statistics

import numpy as np

from ukiyoe.evaluation.frechet import fid
from ukiyoe.evaluation.machine import peak_memory
from ukiyoe.evaluation.manifold import distances, nearest, prdc, prdc_spread
from ukiyoe.evaluation.metrics import (
    COPY_RATIO,
    copy_ratios,
    kid,
    kid_subsets,
    share_error,
    standard_error,
)
from ukiyoe.evaluation.palette import gamut_coverage, palette, palette_overlap
from ukiyoe.evaluation.result import Gallery, Measure, Plot, Series
from ukiyoe.evaluation.session import BATCH, Part, Pictures, Session
from ukiyoe.settings import SOLVERS

SUBSETS, SUBSET_SIZE = 100, 100  # of KID
SHOWN, PAIRS = 48, 24
CURVE_STEPS = (5, 10, 25, 50)
CURVE_COUNT = 64


def likeness(session: Session, count: int) -> Part:
    """How like the prints, and how varied."""
    pictures = session.make(range(count))
    made, real = session.look("pictures", pictures), session.reference()
    session.keep("generated", made)
    session.keep("reference", real)
    size = min(SUBSET_SIZE, len(made), len(real))
    mean, spread = kid_subsets(made, real, SUBSETS, size)
    distance = fid(made, real)
    four, errors = prdc(real, made), prdc_spread(real, made)
    table = "Likeness"
    rows = [
        Measure(
            table, "KID", kid(made, real), spread, better="lower",
            note=f"All pictures, unbiased; ± is the spread over {SUBSETS} subsets of {size}.",
        ),
        Measure(
            table, "KID, mean over subsets", mean, spread, better="lower",
            note="Seed 0 draws the subsets; features.npz holds what they were drawn from.",
        ),
        Measure(
            table, "FID", distance.value, distance.spread, better="lower",
            note=f"Biased upward with {len(made)} pictures and {len(real)} prints; compare only "
            "with the same counts. ± is the spread over random halves.",
        ),
        Measure(
            table, "FID, bias of so few pictures", distance.bias,
            note="Estimated from halves (the bias falls as 1/N); the prints' own share of it "
            "comes on top.",
        ),
        Measure(table, "precision", four.precision, errors.precision, better="higher",
                note="Share of pictures within reach of a print; ± over random halves."),
        Measure(table, "recall", four.recall, errors.recall, better="higher",
                note="Share of prints within reach of a picture."),
        Measure(table, "density", four.density, errors.density, better="higher",
                note="How crowded with prints the pictures' places are; may exceed 1."),
        Measure(table, "coverage", four.coverage, errors.coverage, better="higher",
                note="Share of prints with a picture within their reach."),
    ]  # fmt: skip
    if session.data.reference_crops is not None:
        floor = kid(session.training(), real)
        rows.append(Measure(table, "KID of the training prints", floor, better="lower",
                            note="What a perfect model would reach."))  # fmt: skip
    shown = pictures[:SHOWN]
    captions = tuple(f"seed {seed}" for seed in range(len(shown)))
    note = f"Seeds 0 to {len(shown) - 1}, unguided, none left out."
    return rows, [], [Gallery("samples", "Samples", 8, captions, tuple(shown), note)]


def novelty(session: Session, count: int) -> Part:
    """Whether pictures are copies of training prints."""
    pictures = session.make(range(count))
    whole = copy_ratios(session.look("pictures", pictures), session.training())
    crops = session.look("training prints, small", session.data.training_crops, small=True)
    made = session.look("pictures, small", pictures, small=True)
    ratios = copy_ratios(made, crops)
    table = "Novelty"
    copies, tight = int((whole < COPY_RATIO).sum()), np.percentile(ratios, 5)
    rows = [
        Measure(
            table, "near-copies, share of pictures", copies / len(whole),
                share_error(copies, len(whole)), better="lower",
            note="Nearest print nearer than 1/3 of the second nearest (arXiv 2310.02664).",
        ),
        Measure(table, "novelty ratio, lowest", float(ratios.min()), better="higher",
                note="Distance to the nearest print over that to the second, with prints cut "
                "to the same shape and both at the U-Net's own size; 0 is a copy, 1 is new."),
        Measure(table, "novelty ratio, 5th percentile", float(tight), better="higher"),
        Measure(table, "novelty ratio, mean", float(ratios.mean()),
                standard_error(ratios), better="higher"),
    ]  # fmt: skip
    series = [Series("pictures", tuple(ratios.tolist()), ())]
    if session.data.reference_crops is not None:
        held = session.look("reference prints, small", session.data.reference_crops, small=True)
        new = copy_ratios(held, crops)
        rows.append(Measure(table, "novelty ratio of held-out prints, mean", float(new.mean()),
                            standard_error(new),
                            note="For comparison: they are new."))  # fmt: skip
        series.append(Series("held-out prints", tuple(new.tolist()), ()))
    plot = Plot(
        "Novelty", "distribution", "distance to the nearest print / to the second nearest",
        "share", tuple(series), "Copies pile up at the left; new pictures near 1.",
    )  # fmt: skip
    index = nearest(made, crops)
    gaps = distances(made, crops)[np.arange(len(made)), index]
    cells: Pictures = []
    captions: list[str] = []
    for seed in np.argsort(gaps)[:PAIRS].tolist():
        cells += [pictures[seed], session.data.training_crops[int(index[seed])]]
        captions += [f"seed {seed}", f"its print · ratio {ratios[seed]:.2f}"]
    note = "The pictures nearest to any training print, each with that print, nearest first."
    gallery = Gallery("nearest", f"The {len(cells) // 2} nearest pairs", 8,
                      tuple(captions), tuple(cells), note)  # fmt: skip
    return rows, [plot], [gallery]


def colors(session: Session, count: int) -> Part:
    """The palette of the pictures against that of the prints."""
    made = palette(session.make(range(count)))
    real = palette(session.data.reference)
    table = "Colors"
    rows = [
        Measure(table, "saturation of the pictures", float(made.chroma.mean()),
                standard_error(made.chroma), note="Mean CIELAB chroma; 0 is gray."),
        Measure(table, "saturation of the prints", float(real.chroma.mean()),
                standard_error(real.chroma)),
        Measure(table, "lightness of the pictures", float(made.lightness.mean()),
                standard_error(made.lightness), note="Mean CIELAB L*, 0 to 100."),
        Measure(table, "lightness of the prints", float(real.lightness.mean()),
                standard_error(real.lightness)),
        Measure(table, "gamut covered", gamut_coverage(made, real), better="higher",
                note="Share of the prints' pixels whose color (cells of 10 CIELAB units) the "
                "pictures use too."),
        Measure(table, "palette overlap", palette_overlap(made, real), better="higher",
                note="Pixels that both color histograms share."),
    ]  # fmt: skip
    plot = Plot(
        "Saturation", "distribution", "mean CIELAB chroma of a picture", "share",
        (Series("pictures", tuple(made.chroma.tolist()), ()),
         Series("prints", tuple(real.chroma.tolist()), ())),
    )  # fmt: skip
    return rows, [plot], []


def step_curves(session: Session) -> Part:
    """KID over steps and solvers, on the same seeds."""
    series = []
    for solver in SOLVERS:
        values, spreads = [], []
        for steps in CURVE_STEPS:
            made = session.network(
                session.make(range(CURVE_COUNT), solver=solver, num_inference_steps=steps)
            )
            size = min(SUBSET_SIZE, len(made), len(session.reference())) * 3 // 4
            values.append(kid(made, session.reference()))
            spreads.append(kid_subsets(made, session.reference(), SUBSETS, size)[1])
        steps_taken = tuple(float(steps) for steps in CURVE_STEPS)
        series.append(Series(solver, steps_taken, tuple(values), tuple(spreads)))
    note = f"{CURVE_COUNT} pictures a point; ± is the spread over subsets."
    return [], [Plot("KID over steps", "lines", "steps", "KID", tuple(series), note)], []


def cost(session: Session) -> Part:
    """Time and memory, as this run had them."""
    table = "Time and memory"
    rows = []
    for kind, times in session.seconds.items():
        spread = float(np.std(times)) if len(times) > 1 else None
        note = f"Median over batches ({len(times)}) of up to {BATCH}; upscaling included."
        rows.append(Measure(table, f"seconds a picture, {kind}", statistics.median(times),
                            spread, unit="s", better="lower", note=note))  # fmt: skip
    parameters = sum(weight.numel() for weight in session.pipe.model.unet.parameters())
    rows.append(Measure(table, "U-Net parameters", parameters / 1e6, unit="M"))
    peak = peak_memory()
    rows.append(Measure(table, "peak memory of this evaluation", peak, unit="MiB",
                        better="lower", note="Resident; it holds the judge and every picture, "
                        "too." if peak is not None else "Not counted on this system."))  # fmt: skip
    return rows, [], []
