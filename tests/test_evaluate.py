"""``ukiyoe evaluate`` as people run it: on a tiny model, a tiny judge and a few pictures."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SHARED, needs_prints, save_clip, save_ddpm
from tiny_onnx import save_onnx
from ukiyoe.cli import main
from ukiyoe.errors import InvalidInput
from ukiyoe.evaluation.effects import GuideWish, damage, effect, parse_guide
from ukiyoe.evaluation.judge import ProbeJudge, find_tag
from ukiyoe.evaluation.metrics import kid, subset_indices
from ukiyoe.evaluation.networks import load_network
from ukiyoe.evaluation.result import load_evaluation

pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")


def prints(folder: Path, labelled: bool = True, count: int = 36) -> Path:
    """Noise over a slope, some of it tagged; a third is kept out of training."""
    random = np.random.default_rng(1)
    folder.mkdir()
    rows = []
    for k in range(count):
        slope = np.linspace(random.uniform(0, 90), random.uniform(120, 250), 60)[:, None, None]
        levels = slope + random.normal(0, 30, size=(60, 40, 3)) + random.uniform(-30, 30, size=3)
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(folder / f"{k:02d}.png")
        split, tags = "val" if k % 3 == 0 else "train", ["wave"] if k % 2 else ["boat"]
        rows.append({"file": f"{k:02d}.png", "split": split, "tags": tags})
    if labelled:
        (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a judge, prints, and a finished evaluation in ``out``."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_ddpm(folder / "model")
    save_onnx(folder / "judge.onnx")
    prints(folder / "prints")
    assert run(folder, "out", "--guides", "color=#1f4e79", "color=gold") == 0
    return folder


def run(place: Path, output: str, *more: str, data: str = "prints") -> int:
    judge, model = str(place / "judge.onnx"), str(place / "model")
    standard = ["--model", model, "--data", str(place / data), "--features", judge]
    standard += ["--count", "14", "--output", str(place / output)]
    return main(["evaluate", *standard, *more])


def test_the_report_holds_every_table_and_number(place: Path) -> None:
    found = load_evaluation(place / "out")
    sections = list(dict.fromkeys(measure.section for measure in found.measures))
    assert sections == ["Likeness", "Novelty", "Colors", "Guides", "Time and memory"]
    for name in ("KID", "FID", "precision", "recall", "density", "coverage"):
        measure = next(m for m in found.measures if m.name == name)
        assert measure.value is not None
        assert measure.spread is not None
    assert "Biased upward" in next(m.note for m in found.measures if m.name == "FID")
    for name in ("ΔE2000 guided", "structure", "tint residual", "contrast"):
        assert {m.group for m in found.measures if m.name == name} == {"#1f4e79", "#ffd700"}
    assert found.value("seconds a picture, unguided") > 0
    assert found.value("peak memory of this evaluation") > 50
    names = {gallery.name: len(gallery.pictures) for gallery in found.galleries}
    assert names == {"samples": 14, "nearest": 28, "guides": 24, "scales-color": 16}
    assert {plot.title for plot in found.plots} >= {
        "Novelty",
        "ΔE2000 to the wished color",
        "Effect and damage: color",
    }


def test_kid_is_torchmetrics_kid_of_the_features_it_keeps(place: Path) -> None:
    torch = pytest.importorskip("torch")
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    kept = np.load(place / "out" / "features.npz")
    made, real = kept["generated"], kept["reference"]
    assert made.dtype == np.float64
    assert (len(made), len(real)) == (14, 12)
    found = load_evaluation(place / "out")
    tensors = torch.from_numpy(made), torch.from_numpy(real)
    # Their formula holds for sets of one size only: the subsets are that, the whole sets are not.
    subsets = [
        float(poly_mmd(tensors[0][i], tensors[1][j]))
        for i, j in subset_indices(len(made), len(real), 100, 12)
    ]
    assert found.value("KID") == pytest.approx(kid(made, real), abs=1e-12)
    assert found.value("KID, mean over subsets") == pytest.approx(np.mean(subsets), abs=1e-6)


def test_the_page_opens_offline_and_hides_nothing(place: Path) -> None:
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 14 + 28 + 24 + 16
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("<svg") == 4
    for word in ("KID", "precision", "tint residual", "seed 13", "#ffd700"):
        assert word in page


def test_a_wish_is_scored_only_by_tags_its_words_name(place: Path) -> None:
    tags = ["wave", "mount fuji", "mountain", "grass"]
    assert find_tag("a great wave", tags) == "wave"
    assert find_tag("Waves, and grass!", ["wave"]) == "wave"
    assert find_tag("mount fuji in snow", tags) == "mount fuji"
    assert find_tag("snow on mount fuji", ["snow", "mount fuji", "snow"]) == "mount fuji"
    assert find_tag("a helicopter", tags) is None


def test_the_probe_judge_knows_a_tag_and_says_none_of_others() -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(200, 6))
    tags = [["boat"] if row[0] > 0 else ["cat"] for row in features]
    judge = ProbeJudge(features, tags)
    with_boats, without = np.eye(6)[:1] * 2, -np.eye(6)[:1] * 2
    high, low = judge.score(with_boats, "boats"), judge.score(without, "boats")
    assert high is not None
    assert low is not None
    assert high[0] > 1 > -1 > low[0]
    assert judge.score(features, "a helicopter") is None
    few = ProbeJudge(features, [["rare"], ["rare"], *tags[2:]])
    assert few.score(features, "rare") is None


def test_effect_of_a_flat_color_over_a_picture() -> None:
    random = np.random.default_rng(3)
    plain = Image.fromarray(random.integers(0, 255, (48, 32, 3), dtype=np.uint8))
    tinted = Image.blend(plain, Image.new("RGB", plain.size, "#1f4e79"), 0.5)
    found = effect([plain], [tinted], "#1f4e79")
    assert found.delta_e_after[0] < 0.6 * found.delta_e_before[0]
    assert found.structure[0] > 0.99
    assert found.tint_residual[0] < 0.01
    assert found.range_share[0] == pytest.approx(0.5, abs=0.1)
    assert effect([plain], [tinted], None).delta_e_after.size == 0


def test_damage_is_a_difference_of_kids_with_a_paired_error() -> None:
    random = np.random.default_rng(4)
    plain, real = random.normal(size=(16, 8)), random.normal(size=(40, 8))
    worse, error = damage(plain, plain + 1, real)
    assert worse == pytest.approx(kid(plain + 1, real) - kid(plain, real))
    assert 0 < error < worse
    assert damage(plain, plain, real) == (0, 0)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("color=teal", GuideWish("#008080", None)),
        ("text=a wave", GuideWish(None, "a wave")),
        (" text=a wave  color=#1f4e79 ", GuideWish("#1f4e79", "a wave")),
        ("color=rgb(0, 0, 255) text=snow", GuideWish("#0000ff", "snow")),
    ],
)
def test_guides_are_read(text: str, wish: GuideWish) -> None:
    assert parse_guide(text) == wish


@pytest.mark.parametrize("text", ["", "teal", "color=", "a color=red", "color=red color=blue"])
def test_other_guides_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^guides: expected color=COLOR"):
        parse_guide(text)


def test_any_folder_of_pictures_will_do(place: Path) -> None:
    pytest.importorskip("imagehash")
    prints(place / "loose", labelled=False, count=15)
    assert run(place, "loose-out", "--guides", "none", data="loose") == 0
    found = load_evaluation(place / "loose-out")
    assert "15 prints to compare with (all there are)" in found.about["data"]
    assert all(measure.section != "Guides" for measure in found.measures)


def test_text_is_judged_by_tags_and_without_a_judge_says_so() -> None:
    from ukiyoe.evaluation.guide_parts import _text_rows

    (row,) = _text_rows(None, GuideWish(None, "a wave"), np.eye(3), np.eye(3))
    assert row.value is None
    assert row.note.startswith("Nobody to judge")
    features = np.random.default_rng(5).normal(size=(60, 3))
    judge = ProbeJudge(features, [["wave"] if x[0] > 0 else ["boat"] for x in features])
    gain, wins = _text_rows(judge, GuideWish(None, "a wave"), -np.eye(3), np.eye(3))
    assert gain.value is not None
    assert gain.value > 0
    assert wins.value is not None


def test_two_reports_side_by_side(place: Path) -> None:
    assert run(place, "other", "--guides", "color=#1f4e79") == 0
    arguments = [str(place / "out"), str(place / "other"), "--output", str(place / "pair")]
    assert main(["evaluate", "--compare", *arguments]) == 0
    page = (place / "pair" / "report.html").read_text(encoding="utf-8")
    assert "A: Samples" in page
    assert "B: Samples" in page
    assert page.count("<td class='number'>+0</td>") > 10  # the same model twice
    assert "#ffd700: structure" in page  # only A measured it
    assert "better</td>" not in page.replace("Better", "")
    assert ">A color</text>" in page  # two lines, told apart in the legend
    assert ">B color</text>" in page


def test_curves_over_steps_and_solvers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukiyoe.evaluation.parts.CURVE_STEPS", (2, 3))
    monkeypatch.setattr("ukiyoe.evaluation.parts.CURVE_COUNT", 8)
    assert run(place, "curves", "--guides", "none", "--curves") == 0
    plot = next(p for p in load_evaluation(place / "curves").plots if p.title == "KID over steps")
    assert [line.name for line in plot.series] == ["ddpm", "ddim", "dpmsolver++", "unipc"]
    assert all(line.x == (2, 3) and len(line.y) == 2 for line in plot.series)
    assert plot.series[0].y != plot.series[1].y


def test_an_interrupt_keeps_what_is_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ukiyoe.evaluation.run.colors", interrupted)
    assert run(place, "stopped") == 130
    sections = {measure.section for measure in load_evaluation(place / "stopped").measures}
    assert sections == {"Likeness", "Novelty"}
    assert "interrupted" in capsys.readouterr().err


BAD: dict[str, list[str]] = {
    "neither data nor compare": ["--count", "14"],
    "count": ["--data", "PRINTS", "--count", "0"],
    "count too small": ["--data", "PRINTS", "--features", "JUDGE", "--count", "3"],
    "features unknown": ["--data", "PRINTS", "--features", "resnet"],
    "features not there": ["--data", "PRINTS", "--features", "nowhere.onnx"],
    "data not there": ["--data", "nowhere", "--features", "JUDGE"],
    "guides": ["--data", "PRINTS", "--features", "JUDGE", "--guides", "red"],
    "guides with no color": ["--data", "PRINTS", "--features", "JUDGE", "--guides", "color=hm"],
    "model": ["--data", "PRINTS", "--model", "./nowhere"],
    "compare nothing": ["--compare", "nowhere", "nowhere"],
    "compare with one": ["--compare", "nowhere"],
    "output taken": ["--data", "PRINTS", "--features", "JUDGE", "--output", "OUT"],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    known = {"PRINTS": "prints", "JUDGE": "judge.onnx", "OUT": "out"}
    arguments = [str(place / known[word]) if word in known else word for word in BAD[name]]
    if "--model" not in arguments:
        arguments += ["--model", str(place / "model")]
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ukiyoe: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_print_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prints(place / "gaps")
    (folder / "03.png").unlink()
    assert run(place, "gaps-out", data="gaps") == 2
    assert "lists 03.png, which is not there" in capsys.readouterr().err


def test_a_broken_report_is_one_sentence(tmp_path: Path) -> None:
    for text, words in (("{", "broken"), ('{"format": 99}', "newer"), ("[]", "broken")):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InvalidInput, match=words):
            load_evaluation(tmp_path)


@pytest.mark.parametrize("name", ["inception", "dinov2", "clip"])
def test_a_named_network_that_cannot_be_downloaded_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("ukiyoe.evaluation.networks.INCEPTION", "https://localhost:9/x/y.pt")
    monkeypatch.setattr("ukiyoe.evaluation.networks.DINOV2", str(tmp_path / "nowhere"))
    monkeypatch.setattr("ukiyoe.evaluation.networks.CLIP", str(tmp_path / "nowhere"))
    said: list[str] = []
    with pytest.raises(OSError, match=rf"^features: cannot load {name} .*FILE\.onnx"):
        load_network(name, said.append)
    assert said == [] or "it is needed once" in said[0]


def pictures() -> Sequence[Image.Image]:
    random = np.random.default_rng(6)
    return [Image.fromarray(random.integers(0, 255, (50, 30, 3), dtype=np.uint8)) for _ in "123"]


def check_network(network: object) -> None:
    """Deterministic, each picture on its own, in double precision."""
    assert callable(network)
    together, alone = network(pictures()), network(pictures()[1:2])
    assert together.dtype == np.float64
    assert together.shape[0] == 3
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-3, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-4


def test_inception_is_used_as_clean_fid_uses_it(tmp_path: Path) -> None:
    import torch
    from torch import nn

    from ukiyoe.evaluation.networks import InceptionFeatures

    class Stand(nn.Module):
        """The file's interface: ``layers`` takes standardized pixels of 299x299."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.AvgPool2d(299))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 0

    torch.jit.script(Stand()).save(str(tmp_path / "net.pt"))
    network = InceptionFeatures(tmp_path / "net.pt")
    check_network(network)
    white = network([Image.new("RGB", (9, 9), "white")])
    np.testing.assert_allclose(white, np.full((1, 3), 127 / 128), atol=1e-5)


def test_dinov2_and_clip_from_disk(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from ukiyoe.evaluation.networks import ClipFeatures, DinoFeatures

    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=56, image_size=224
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dino")
    check_network(DinoFeatures(str(tmp_path / "dino")))
    clip = ClipFeatures(str(save_clip(tmp_path / "clip")))
    check_network(clip)
    assert np.linalg.norm(clip.embed_text("ab")) == pytest.approx(1, abs=1e-5)


@needs_prints
def test_kid_is_that_of_the_benchmark(place: Path) -> None:
    """Same reference set, same resizing: quality.py and evaluate must report the same number."""
    quality = pytest.importorskip("quality")
    from ukiyoe.cli_eval import read_data
    from ukiyoe.training.data import read_labels

    data = read_data(SHARED / "prints", (384, 256))
    val = read_labels(SHARED / "prints", "val")
    assert len(data.reference) == len(val)
    for index in (0, 50, 100):
        assert data.reference[index].tobytes() == quality._whole(val[index]).tobytes()
        cut = data.reference_crops
        assert cut is not None
        assert cut[index].tobytes() == quality._crop(val[index]).tobytes()
