"""Does a model keep its promises? Every claim, its bar, and what was measured.

    python benchmarks/quality.py --data ../shared/prints --features ../shared/eval/mobilenet_v2.onnx

The network that judges never trained or steered anything. Prints a table, writes contact sheets
and ``results.json``, and exits with 1 if a bar is missed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from ukiyoe import UkiyoePipeline
from ukiyoe.color import delta_e_2000, lab_from_srgb, srgb_from_hex
from ukiyoe.evaluation.features import OnnxFeatures
from ukiyoe.evaluation.metrics import (
    COPY_RATIO,
    copy_ratios,
    kid,
    kid_subsets,
    lightness_range,
    luminance,
    mean_lab,
    pearson,
    pixels,
    tint_residual,
)
from ukiyoe.images import contact_sheet
from ukiyoe.settings import PACKAGED
from ukiyoe.training.data import Print, crops, open_print, read_labels

COLORS = ("#1f4e79", "#b23a2e", "#e2b33c", "#4f7942", "#e8d9b5", "#3b3b3b")
# The tag each prompt wishes. "flowers" stays alone: with the blossoms and irises, which the labels
# tag apart, its probe is worse (AUC 0.79 for 0.84). The same for "mount fuji" (0.88 for 0.88).
PROMPTS = {
    "a wave": "wave",
    "mountains": "mountain",
    "a close-up face": "portrait face",
    "a battle": "battle",
    "boats": "boat",
    "snow": "snow",
    "flowers": "flowers",
    "a procession": "procession",
}
SEEDS = range(8)
SCALE = 5.0
BATCH = 16
DRAFT_SEEDS = range(16)
COLOR_KID_SEEDS = range(96)  # 16 per color, each seed once: KID assumes independent pictures
# Chosen on the prints alone, before any picture was made: 1e-3 to 1e-2 give the best
# cross-validated AUC over the eight tags, 1e-4 and 1e-1 lose 0.01 to 0.03.
PROBE_C = 3e-3
COPY_SIZE = (64, 96)
CROP_COPY_RATIO = 0.75  # see Bench._copies
PARTS = ("kid", "color", "text", "both", "seeds")

Features = NDArray[np.float64]
Pictures = list[Image.Image]


@dataclass
class Report:
    """Lines of a table: what, measured, bar, kept or not."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, name: str, value: float, low: float | None = None, high: float | None = None
    ) -> bool:
        """Note and print a number, with the least or greatest value it may have."""
        kept = (low is None or value >= low) and (high is None or value <= high)
        bar = f">= {low:g}" if low is not None else f"<= {high:g}" if high is not None else ""
        verdict = ("PASS" if kept else "FAIL") if bar else ""
        self.rows.append({"name": name, "value": float(value), "bar": bar, "verdict": verdict})
        with tqdm.external_write_mode(file=sys.stdout):
            print(f"{name:62s} {value:9.4f}  {bar:8s} {verdict}", flush=True)
        return kept

    @property
    def kept(self) -> bool:
        """Whether no bar was missed."""
        return all(row["verdict"] != "FAIL" for row in self.rows)


@dataclass
class ColorScore:
    """The color test of one way to color pictures, each number a mean over pairs."""

    delta_e_share: float
    correlation: float
    residual: float
    range_share: float

    def report(self, name: str, report: Report, bars: bool) -> bool:
        """Note the numbers, with or without their bars; True if all bars are kept."""
        kept = True
        for text, value, low, high in (
            ("ΔE2000 to the wish, share of unguided", self.delta_e_share, None, 0.5),
            ("luminance correlation with unguided", self.correlation, 0.5, None),
            ("variance no tint explains", self.residual, 0.10, None),
            ("2-98 % lightness range, share of unguided", self.range_share, 0.75, None),
        ):
            kept &= (low is None or value >= low) and (high is None or value <= high)
            report.add(f"{name}: {text}", value, *((low, high) if bars else ()))
        return kept


class Bench:
    """Makes every picture once and measures it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pipe = UkiyoePipeline.from_pretrained(options.model)
        self.features = OnnxFeatures(options.features)
        self.output = Path(options.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.train = read_labels(Path(options.data), "train")
        self.val = read_labels(Path(options.data), "val")
        self.report = Report()
        self._made: dict[tuple[Any, ...], Image.Image] = {}
        self._seen: dict[str, Features] = {}

    def make(self, seeds: Iterable[int] = SEEDS, **wish: Any) -> Pictures:
        """Pictures of a wish, each made once however often it is asked for."""
        wanted = list(seeds)
        key = tuple(sorted(wish.items()))
        missing = [seed for seed in wanted if (key, seed) not in self._made]
        label = ", ".join(str(value) for _, value in key) or "unguided"
        with tqdm(total=len(missing), desc=label, unit="pic", disable=not missing) as bar:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                images = self.pipe(
                    seeds=batch, orientation="portrait", batch_size=BATCH, **wish
                ).images
                for seed, image in zip(batch, images, strict=True):
                    self._made[key, seed] = image
                bar.update(len(batch))
        return [self._made[key, seed] for seed in wanted]

    def sheet(self, name: str, pictures: Sequence[Image.Image]) -> None:
        """Save a contact sheet to look at."""
        contact_sheet(pictures).save(self.output / f"{name}.png")

    def look(self, kind: str, prints: list[Print], opened: Callable[[Print], Any]) -> Features:
        """Features of prints on disk, kept in a file: the training prints take a minute."""
        if kind in self._seen:
            return self._seen[kind]
        digest = hashlib.sha256(Path(self.options.features).read_bytes())
        for item in prints:
            stat = item.path.stat()
            digest.update(f"{kind} {item.path} {stat.st_size} {stat.st_mtime_ns}".encode())
        path = self.output / f"features-{kind}-{digest.hexdigest()[:12]}.npy"
        if path.is_file():
            found: Features = np.load(path)
        else:
            batches = [prints[start : start + 32] for start in range(0, len(prints), 32)]
            found = np.concatenate(
                [
                    self.features([opened(item) for item in batch])
                    for batch in tqdm(batches, desc=f"features of {kind}", unit="batch")
                ]
            )
            np.save(path, found)
        self._seen[kind] = found
        return found

    def real(self) -> Features:
        """Features of the whole val prints as the files are: the reference set of every KID."""
        return self.look("val", self.val, _whole)

    # The parts

    def kid(self) -> None:
        """Unguided pictures against the val prints, and near-copies of training prints."""
        count = self.options.count
        start = time.perf_counter()
        pictures = self.make(range(count))
        self.report.add(f"seconds a picture, unguided, batch {BATCH}", _since(start) / count)
        self.sheet("unguided", pictures[:48])
        made = self.features(pictures)
        self.report.add(f"KID of {count} unguided pictures", kid(made, self.real()), high=1.4)
        size = min(100, count, len(self.val))
        mean, spread = kid_subsets(made, self.real(), size=size)
        self.report.add(f"KID over 100 subsets of {size}, mean", mean)
        self.report.add(f"KID over 100 subsets of {size}, standard deviation", spread)
        within = self.real()
        self.report.add("KID of training prints, for comparison", kid(self._whole_train(), within))
        self._copies(pictures, made)

    def color(self) -> None:
        """Obedience to a color, without the shortcut of a tint."""
        plain = self.make()
        guided = {color: self.make(color=color, color_scale=SCALE) for color in COLORS}
        self.sheet("color", plain + [p for color in COLORS for p in guided[color]])
        for color in COLORS:
            before, after = (_mean_delta_e(ps, color) for ps in (plain, guided[color]))
            self.report.add(f"color {color}: mean ΔE2000 unguided", before)
            self.report.add(f"color {color}: mean ΔE2000 guided", after)
        self._color_score(plain, guided).report("color", self.report, bars=True)
        small = {
            c: [p.resize((32, 48), Image.Resampling.BICUBIC) for p in guided[c]] for c in COLORS
        }
        coarse = [p.resize((32, 48), Image.Resampling.BICUBIC) for p in plain]
        left = self._color_score(coarse, small).residual
        self.report.add("color: variance no tint explains at 32x48 (structure only)", left)

        # KID of pictures that share no seed; the 48 above repeat 8 seeds and so look alike.
        wished: dict[str, list[int]] = {color: [] for color in COLORS}
        for seed in COLOR_KID_SEEDS:
            wished[COLORS[seed % len(COLORS)]].append(seed)
        many = [
            p for color in COLORS for p in self.make(wished[color], color=color, color_scale=SCALE)
        ]
        base = kid(self.features(self.make(COLOR_KID_SEEDS)), self.real())
        above = kid(self.features(many), self.real()) - base
        self.report.add(f"color: KID of unguided seeds 0-{COLOR_KID_SEEDS[-1]}", base)
        self.report.add("color: KID above unguided, the same seeds", above, high=0.15)
        every = self.features([p for color in COLORS for p in guided[color]])
        self.report.add(
            "color: KID above unguided, 8 seeds x 6 colors", kid(every, self.real()) - base
        )

        # A flat color laid over the pictures, just strong enough for the ΔE bar, must not do.
        alpha = self._overlay_strength(plain)
        overlays = {color: [_overlay(p, color, alpha) for p in plain] for color in COLORS}
        self.sheet("overlay", plain + [p for color in COLORS for p in overlays[color]])
        self.report.add("flat overlay: strength", alpha)
        kept = self._color_score(plain, overlays).report("flat overlay", self.report, bars=False)
        self.report.add("flat overlay fails the color test (1 = it does)", float(not kept), low=1)

    def text(self) -> None:
        """Obedience to words, judged by a network and tags that the guide does not use."""
        guided = {p: self.make(prompt=p, text_scale=SCALE) for p in PROMPTS}
        self.sheet("text", self.make() + [x for p in PROMPTS for x in guided[p]])
        self._text_score("text", guided, self.make(), 0.75, 0.70)

    def both(self) -> None:
        """Both guides at once; the color goes with the seed, so prompts compare fairly."""
        colors = {seed: COLORS[seed % len(COLORS)] for seed in SEEDS}
        scales = {"text_scale": SCALE, "color_scale": SCALE}
        guided = {
            p: [self.make([s], prompt=p, color=c, **scales)[0] for s, c in colors.items()]
            for p in PROMPTS
        }
        self.sheet("both", self.make() + [x for p in PROMPTS for x in guided[p]])
        after = [
            _delta_e(x, c) for p in PROMPTS for x, c in zip(guided[p], colors.values(), strict=True)
        ]
        before = [_delta_e(x, c) for x, c in zip(self.make(), colors.values(), strict=True)]
        share = float(np.mean(after) / np.mean(before))
        self.report.add("both: ΔE2000 to the wish, share of unguided", share, high=0.5)
        self._text_score("both", guided, self.make(), 0.65, 0.65)
        colored = [self.make([s], color=c, color_scale=SCALE)[0] for s, c in colors.items()]
        wins = self._wins(guided, colored)
        self.report.add("both: wished tag above the same color without text", float(wins.mean()))

    def seeds(self) -> None:
        """One seed, one picture: alone, in a batch, again, from its recipe, as a draft."""
        wishes = {"unguided": [], "both guides": ["--prompt", "a wave", "--color", COLORS[0]]}
        for name, flags in wishes.items():
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder)
                self._generate(made / "four", "--seed", "7", "--count", "4", *flags)
                self._generate(made / "one", "--seed", "8", "--count", "1", *flags)
                self._generate(made / "again", "--seed", "7", "--count", "4", *flags)
                self._generate(made / "recipe", "--recipe", str(made / "four" / "seed-8.png"))
                file = "seed-8.png"
                one = _levels(made / "four" / file, made / "one" / file)
                self.report.add(f"{name}: picture 8 alone or in a batch, levels", one, high=2)
                again = max(
                    _levels(made / "four" / f"seed-{k}.png", made / "again" / f"seed-{k}.png")
                    for k in range(7, 11)
                )
                self.report.add(f"{name}: the same command twice, levels", again, high=0)
                recipe = _levels(made / "four" / file, made / "recipe" / file)
                self.report.add(f"{name}: --recipe of its PNG, levels", recipe, high=0)
        steps = {
            n: [
                luminance(p)
                for p in self.make(DRAFT_SEEDS, solver="dpmsolver++", num_inference_steps=n)
            ]
            for n in (12, 40)
        }
        pairs = np.array([[pearson(a, b) for b in steps[40]] for a in steps[12]])
        same = float(np.diag(pairs).mean())
        others = float(pairs[~np.eye(len(pairs), dtype=bool)].mean())
        self.report.add("12 and 40 steps, one seed: luminance correlation", same, low=0.8)
        self.report.add("12 and 40 steps, different seeds", others)
        self.report.add("12 and 40 steps, one seed above different seeds", same - others, low=0.3)

    # What the parts are made of

    def _whole_train(self) -> Features:
        return self.look("train", self.train, _whole)

    def _copies(self, pictures: Pictures, made: Features) -> None:
        """Near-copies of training prints, as the issue asks and so that a copy can be found.

        Whole, sharp files cannot show a copy: of 120 training prints cropped to 2:3, shrunk to
        64x96 and back, the issue's test calls none a copy. With the same crop at 64x96 on both
        sides, all such copies lie below a ratio of 0.5, and 92 % of copies shifted and enlarged
        by 1/8 below 0.8, while the lowest of 48 val prints is 0.83.
        """
        ratios = {
            "whole files": copy_ratios(made, self._whole_train()),
            "crops, both at 64x96": copy_ratios(
                self.features([p.resize(COPY_SIZE, Image.Resampling.BICUBIC) for p in pictures]),
                self.look("train-crops", self.train, _small_crop),
            ),
        }
        for name, found in ratios.items():
            ratio = COPY_RATIO if name == "whole files" else CROP_COPY_RATIO
            share = float((found < ratio).mean())
            self.report.add(f"near-copies (ratio {ratio:.2f}), {name}", share, high=0.02)
            self.report.add(f"... lowest distance ratio, {name}", float(found.min()))
        small = self.look("train-crops", self.train, _small_crop)
        suspects = np.argsort(ratios["crops, both at 64x96"])[:8]
        shown: Pictures = []
        for index in suspects:
            shrunk = pictures[index].resize(COPY_SIZE, Image.Resampling.BICUBIC)
            distances = np.linalg.norm(small - self.features([shrunk])[0], axis=1)
            nearest = _crop(self.train[int(distances.argmin())])
            shown += [pictures[index], nearest]
        self.sheet("nearest", shown)

    def _color_score(self, plain: Pictures, guided: dict[str, Pictures]) -> ColorScore:
        pairs = [(a, b) for color in COLORS for a, b in zip(plain, guided[color], strict=True)]
        before = np.mean([_mean_delta_e(plain, color) for color in COLORS])
        after = np.mean([_mean_delta_e(guided[color], color) for color in COLORS])
        return ColorScore(
            float(after / before),
            float(np.mean([pearson(luminance(a), luminance(b)) for a, b in pairs])),
            float(np.mean([tint_residual(pixels(a), pixels(b)) for a, b in pairs])),
            float(np.mean([lightness_range(b) / max(lightness_range(a), 1e-6) for a, b in pairs])),
        )

    def _overlay_strength(self, plain: Pictures) -> float:
        """The weakest overlay, to 1 %, that brings the mean ΔE2000 to 50 % of unguided."""
        before = np.mean([_mean_delta_e(plain, color) for color in COLORS])
        for alpha in np.arange(0.01, 1.0, 0.01):
            laid = [_delta_e(_overlay(p, c, alpha), c) for c in COLORS for p in plain]
            if np.mean(laid) <= 0.5 * before:
                return float(alpha)
        return 1.0

    def _probes(self) -> dict[str, Any]:
        """A linear probe per prompt on the training prints; cross-validated AUC is printed."""
        if hasattr(self, "_fitted"):
            return self._fitted
        x = self._whole_train()
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        self._fitted: dict[str, Any] = {}
        for prompt, tag in PROMPTS.items():
            y = np.array([tag in item.tags for item in self.train])
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=2000))
            scores = cross_val_predict(probe, x, y, cv=folds, method="decision_function")
            auc = float(roc_auc_score(y, scores))
            self.report.add(f"probe '{tag}' ({y.sum()} prints): cross-validated AUC", auc)
            self._fitted[prompt] = probe.fit(x, y)
        return self._fitted

    def _wins(self, guided: dict[str, Pictures], others: Pictures) -> NDArray[np.bool_]:
        """Whether the wished tag scores higher than in the other picture, per prompt and seed."""
        baseline = self.features(others)
        return np.array(
            [
                probe.decision_function(self.features(guided[prompt]))
                > probe.decision_function(baseline)
                for prompt, probe in self._probes().items()
            ]
        )

    def _text_score(
        self,
        name: str,
        guided: dict[str, Pictures],
        plain: Pictures,
        above_plain: float,
        above_others: float,
    ) -> None:
        probes = self._probes()
        wins = self._wins(guided, plain)
        seen = {prompt: self.features(guided[prompt]) for prompt in PROMPTS}
        against = {}
        for prompt, probe in probes.items():
            score = {other: probe.decision_function(seen[other]) for other in PROMPTS}
            against[prompt] = float(
                np.mean([score[prompt] > score[o] for o in PROMPTS if o != prompt])
            )
        for prompt, row in zip(PROMPTS, wins, strict=True):
            self.report.add(f"{name} '{prompt}': above unguided", float(row.mean()))
            self.report.add(f"{name} '{prompt}': above the other prompts", against[prompt])
        self.report.add(
            f"{name}: wished tag above same-seed unguided", float(wins.mean()), low=above_plain
        )
        self.report.add(
            f"{name}: wished tag above same seed, other prompt",
            float(np.mean(list(against.values()))),
            low=above_others,
        )

    def _generate(self, output: Path, *flags: str) -> None:
        """Run the real command, in a process of its own."""
        command = [
            sys.executable,
            "-m",
            "ukiyoe.cli",
            "generate",
            "--output",
            str(output),
            "--quiet",
        ]
        if "--recipe" not in flags:
            command += ["--model", str(self.options.model)]
        subprocess.run([*command, *flags], check=True)


def _whole(item: Print) -> Image.Image:
    """A print as its file is: what ../shared/README.md measured."""
    return Image.open(item.path).convert("RGB")


def _crop(item: Print) -> Image.Image:
    """The middle of a print in the shape of our pictures."""
    cuts = list(crops(open_print(item), (384, 256)))
    return cuts[len(cuts) // 2]


def _small_crop(item: Print) -> Image.Image:
    return _crop(item).resize(COPY_SIZE, Image.Resampling.BICUBIC)


def _delta_e(picture: Image.Image, color: str) -> float:
    return float(delta_e_2000(mean_lab(picture), lab_from_srgb(srgb_from_hex(color))))


def _mean_delta_e(pictures: Pictures, color: str) -> float:
    return float(np.mean([_delta_e(picture, color) for picture in pictures]))


def _overlay(picture: Image.Image, color: str, alpha: float) -> Image.Image:
    return Image.blend(picture, Image.new("RGB", picture.size, color), alpha)


def _levels(first: Path, second: Path) -> float:
    """Greatest difference of two pictures, of 255."""
    with Image.open(first) as a, Image.open(second) as b:
        x, y = (np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in (a, b))
    return float(np.abs(x - y).max()) if x.shape == y.shape else 255.0


def _since(start: float) -> float:
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=PACKAGED, help="a model folder or Hub id")
    parser.add_argument("--data", default="../shared/prints", help="prints with labels.jsonl")
    parser.add_argument("--features", default="../shared/eval/mobilenet_v2.onnx")
    parser.add_argument("--count", type=int, default=256, help="unguided pictures for KID")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--output", default="results/quality", help="sheets and results.json")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--only: expected some of {','.join(PARTS)}, got {unknown[0]!r}")
    bench = Bench(options)
    try:
        for part in parts:
            getattr(bench, part)()
    finally:  # Ctrl-C keeps what is measured
        results = {"options": vars(options), "rows": bench.report.rows}
        (bench.output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    missed = [row["name"] for row in bench.report.rows if row["verdict"] == "FAIL"]
    print(f"{len(missed)} bars missed" + "".join(f"\n  {name}" for name in missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
