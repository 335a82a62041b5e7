"""Does the packaged model keep its promises? Every claim, its bar, and what was measured.

    python benchmarks/quality.py --data ../shared/prints --features ../shared/eval/mobilenet_v2.onnx

The network that judges never trained or steered anything. Exits with 1 if a bar is missed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ukiyoe import UkiyoePipeline
from ukiyoe.color import delta_e_2000, lab_from_srgb, srgb_from_hex
from ukiyoe.evaluation.features import OnnxFeatures
from ukiyoe.evaluation.metrics import (
    kid,
    kid_subsets,
    lightness_range,
    luminance,
    mean_lab,
    near_copies,
    pearson,
    pixels,
    tint_residual,
)
from ukiyoe.images import contact_sheet
from ukiyoe.training.data import Print, read_labels

COLORS = ("#1f4e79", "#b23a2e", "#e2b33c", "#4f7942", "#e8d9b5", "#3b3b3b")
PROMPTS = {
    "a wave": {"wave"},
    "mountains": {"mountain"},
    "a close-up face": {"portrait face"},
    "a battle": {"battle"},
    "boats": {"boat"},
    "snow": {"snow"},
    "flowers": {"flowers", "cherry blossom", "plum blossom", "peony", "iris", "chrysanthemum"},
    "a procession": {"procession"},
}
SEEDS = range(8)
Pictures = list[Image.Image]


class Report:
    """Lines of a table: what, measured, bar, kept or not."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(
        self, name: str, value: float, low: float | None = None, high: float | None = None
    ) -> None:
        """Note a number, with the least or greatest value it may have."""
        kept = (low is None or value >= low) and (high is None or value <= high)
        bar = f">= {low:g}" if low is not None else f"<= {high:g}" if high is not None else ""
        self.rows.append({"name": name, "value": value, "bar": bar, "kept": kept})
        print(
            f"{name:58s} {value:9.4f}  {bar:9s} {'' if not bar else 'ok' if kept else 'MISSED'}",
            flush=True,
        )


class Bench:
    """Makes pictures once and measures them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.pipe = UkiyoePipeline.from_pretrained(options.model)
        self.features = OnnxFeatures(Path(options.features))
        self.output = Path(options.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.train = read_labels(Path(options.data), "train")
        self.val = read_labels(Path(options.data), "val")
        self.report = Report()
        self.count = options.count
        self._made: dict[Any, Pictures] = {}

    def make(self, seeds: Any = SEEDS, **wish: Any) -> Pictures:
        """Pictures of a wish, made once."""
        key = (tuple(seeds), tuple(sorted(wish.items())))
        if key not in self._made:
            self._made[key] = self.pipe(seeds=list(seeds), batch_size=8, **wish).images
        return self._made[key]

    def look(self, prints: list[Print]) -> NDArray[np.float64]:
        """Features of prints on disk."""
        return self.features([Image.open(item.path) for item in prints])

    def kid(self) -> None:
        """Unguided pictures against the validation prints, and near-copies of training prints."""
        start = time.perf_counter()
        pictures = self.make(range(self.count))
        self.report.add("seconds a picture, batch 8", (time.perf_counter() - start) / self.count)
        contact_sheet(pictures[:48]).save(self.output / "unguided.png")
        made, real = self.features(pictures), self.look(self.val)
        self.report.add(f"KID of {self.count} unguided pictures", kid(made, real), high=1.4)
        mean, spread = kid_subsets(made, real)
        self.report.add("KID over subsets of 100: mean", mean)
        self.report.add("KID over subsets of 100: standard deviation", spread)
        copies = near_copies(made, self.look(self.train))
        self.report.add("share of near-copies", float(copies.mean()), high=0.02)

    def color(self) -> None:
        """Obedience to a color without the shortcut of a tint."""
        plain = self.make()
        guided = {color: self.make(color=color, color_scale=5.0) for color in COLORS}
        overlays = {color: [_overlay(p, color) for p in plain] for color in COLORS}
        self._color_bars("color", plain, guided, failing=False)
        self._color_bars("flat overlay", plain, overlays, failing=True)
        sheet = plain + [picture for pictures in guided.values() for picture in pictures]
        contact_sheet(sheet).save(self.output / "color.png")

    def _color_bars(
        self, name: str, plain: Pictures, guided: dict[str, Pictures], failing: bool
    ) -> None:
        before = np.mean([_delta_e(p, color) for color in COLORS for p in plain])
        after = np.mean([_delta_e(p, color) for color in COLORS for p in guided[color]])
        pairs = [(a, b) for color in COLORS for a, b in zip(plain, guided[color], strict=True)]
        same = np.mean([pearson(luminance(a), luminance(b)) for a, b in pairs])
        left = np.mean([tint_residual(pixels(a), pixels(b)) for a, b in pairs])
        spans = np.mean([lightness_range(b) / lightness_range(a) for a, b in pairs])
        real = self.look(self.val)
        everything = [picture for pictures in guided.values() for picture in pictures]
        worse = kid(self.features(everything), real) - kid(
            self.features(self.make(range(48))), real
        )
        bars: list[tuple[str, Any, float | None, float | None]] = [
            ("dE2000 share of unguided", after / before, None, 0.5),
            ("luminance correlation with unguided", same, 0.5, None),
            ("variance a tint does not explain", left, 0.10, None),
            ("lightness range, share of unguided", spans, 0.75, None),
            ("KID minus unguided", worse, None, 0.15),
        ]
        print(f"{name}: mean dE2000 unguided {before:.2f}, guided {after:.2f}")
        if not failing:
            for what, value, low, high in bars:
                self.report.add(f"{name}: {what}", float(value), low, high)
            return
        missed = 0
        for what, value, low, high in bars:
            self.report.add(f"{name}: {what}", float(value))
            missed += not ((low is None or value >= low) and (high is None or value <= high))
        self.report.add(f"{name}: bars it misses (must miss some)", missed, low=1)

    def probes(self) -> dict[str, Any]:
        """One linear probe per prompt, on the training prints; AUC cross-validated."""
        x = self.look(self.train)
        probes = {}
        for prompt, tags in PROMPTS.items():
            y = np.array([bool(tags & set(item.tags)) for item in self.train])
            probe = make_pipeline(
                StandardScaler(), LogisticRegression(C=1e-3, max_iter=500, class_weight="balanced")
            )
            scores = cross_val_predict(probe, x, y, cv=5, method="decision_function")
            self.report.add(
                f"probe '{prompt}': AUC ({y.sum()} prints)", float(roc_auc_score(y, scores))
            )
            probes[prompt] = probe.fit(x, y)
        return probes

    def text(self) -> None:
        """Obedience to words, judged by a network and tags that the guide does not use."""
        probes = self.probes()
        plain = self.features(self.make())
        guided = {p: self.features(self.make(prompt=p, text_scale=5.0)) for p in PROMPTS}
        for prompt in PROMPTS:
            wins = probes[prompt].decision_function(guided[prompt]) > probes[
                prompt
            ].decision_function(plain)
            self.report.add(f"text '{prompt}': pairs above unguided", float(wins.mean()))
        self._text_bars("text", probes, plain, guided, 0.75, 0.70)
        rows = [self.make()] + [self.make(prompt=p, text_scale=5.0) for p in PROMPTS]
        contact_sheet([picture for row in rows for picture in row]).save(self.output / "text.png")
        # Both guides at once: every prompt with one of the colors.
        wishes = {p: COLORS[i % len(COLORS)] for i, p in enumerate(PROMPTS)}
        made = {
            p: self.make(prompt=p, color=c, text_scale=5.0, color_scale=5.0)
            for p, c in wishes.items()
        }
        before = np.mean([_delta_e(x, c) for c in wishes.values() for x in self.make()])
        after = np.mean([_delta_e(x, c) for p, c in wishes.items() for x in made[p]])
        self.report.add("both: dE2000 share of unguided", float(after / before), high=0.5)
        both = {p: self.features(pictures) for p, pictures in made.items()}
        self._text_bars("both", probes, plain, both, 0.65, None)
        contact_sheet([x for pictures in made.values() for x in pictures]).save(
            self.output / "both.png"
        )

    def _text_bars(
        self,
        name: str,
        probes: dict[str, Any],
        plain: Any,
        guided: dict[str, Any],
        above_plain: float,
        above_others: float | None,
    ) -> None:
        wins, against = [], []
        for prompt, probe in probes.items():
            scores = probe.decision_function(guided[prompt])
            wins += list(scores > probe.decision_function(plain))
            for other in PROMPTS:
                if other != prompt:
                    against += list(scores > probe.decision_function(guided[other]))
        self.report.add(
            f"{name}: pairs above same-seed unguided", float(np.mean(wins)), low=above_plain
        )
        self.report.add(
            f"{name}: pairs above same seed, other prompt",
            float(np.mean(against)),
            low=above_others,
        )

    def seeds(self) -> None:
        """Same seed, same picture: alone, in a batch, again, as a draft and finished."""
        four = self.pipe(seeds=[7, 8, 9, 10], batch_size=4).images
        alone = self.pipe(seeds=[8], batch_size=1).images[0]
        again = self.pipe(seeds=[7, 8, 9, 10], batch_size=4).images
        self.report.add("seed 8 in a batch and alone, levels", _levels(four[1], alone), high=2)
        self.report.add("same call twice, levels", max(map(_levels, four, again)), high=0)
        draft = [luminance(p) for p in self.make(range(16), num_inference_steps=12)]
        fine = [luminance(p) for p in self.make(range(16), num_inference_steps=40)]
        same = np.mean([pearson(a, b) for a, b in zip(draft, fine, strict=True)])
        other = np.mean(
            [pearson(a, b) for i, a in enumerate(draft) for j, b in enumerate(fine) if i != j]
        )
        self.report.add("12 and 40 steps, same seed: correlation", float(same), low=0.8)
        self.report.add("... above different seeds by", float(same - other), low=0.3)


def _delta_e(picture: Image.Image, color: str) -> float:
    return float(delta_e_2000(mean_lab(picture), lab_from_srgb(srgb_from_hex(color))))


def _levels(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


def _overlay(picture: Image.Image, color: str) -> Image.Image:
    """A flat color over a picture, strong enough to pass the color bar alone."""
    return Image.blend(picture, Image.new("RGB", picture.size, color), 0.6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--data", default="../shared/prints")
    parser.add_argument("--features", default="../shared/eval/mobilenet_v2.onnx")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--only", default="kid,color,text,seeds")
    parser.add_argument("--output", default="results/quality")
    options = parser.parse_args()
    bench = Bench(options)
    for part in options.only.split(","):
        getattr(bench, part)()
    rows = bench.report.rows
    (bench.output / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["kept"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
