"""`ukiyoe train` without a stage: pictures in, a model folder out."""

import json
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from PIL import Image

from conftest import save_ddim, save_ddpm, save_ldm, tiny_unet
from ukiyoe.cli import main
from ukiyoe.errors import FileConflict, InvalidInput, ModelError
from ukiyoe.evaluation.features import OnnxFeatures
from ukiyoe.model import load_model
from ukiyoe.training.finetune import Run, finetune
from ukiyoe.training.presets import SEED, TUNE
from ukiyoe.training.watch import read_history, thumbnails

pytest.importorskip("accelerate")
pytest.importorskip("imagehash")

QUICK = replace(TUNE, batch_size=4, warmup_steps=1, learning_rate=1e-3)


def picture(seed: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures, one of them twice, and a broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(20):
        picture(seed).save(folder / f"{seed:02d}.png")
    picture(3).save(folder / "again.jpg", quality=90)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ukiyoe.training.watch.SAMPLING_STEPS", 2)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(UNet2DModel.from_pretrained(folder / "unet").state_dict())


def train(pictures: Path, start: Path, output: Path, **options: Any) -> list[float]:
    """Losses of a short run."""
    losses: list[float] = []
    usual = {"preset": QUICK, "start": str(start), "sample_every": 1000}
    run = Run(str(pictures), output, **{**usual, **options})
    finetune(run, show=lambda step, _: losses.append(step.loss))
    return losses


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_ddpm_of_any_kind_learns_and_plain_diffusers_loads_it(
    kind: str, tmp_path: Path, pictures: Path
) -> None:
    start = save_ddpm(tmp_path / "start", prediction_type=kind)
    quick = replace(QUICK, learning_rate=4e-3)
    losses = train(pictures, start, tmp_path / "out", steps=40, preset=quick)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "out")
    assert pipeline.scheduler.config.prediction_type == kind
    before, after = weights(start), weights(tmp_path / "out")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    made = pipeline(num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 16, 16, 3)


def test_the_result_keeps_everything_its_start_had(tmp_path: Path, pictures: Path) -> None:
    for save, part in ((save_ddim, "scheduler"), (save_ldm, "vqvae")):
        start, output = save(tmp_path / part), tmp_path / f"{part}-out"
        train(pictures, start, output, steps=1)
        assert json.loads((output / "model_index.json").read_text()) == json.loads(
            (start / "model_index.json").read_text()
        )
        for path in (start / part).iterdir():
            assert (output / part / path.name).read_bytes() == path.read_bytes()
        assert load_model(output, "cpu").codec.factor == load_model(start, "cpu").codec.factor
        assert not (output / ".part").exists()


def test_the_oldest_layout_is_trained_too(tmp_path: Path, pictures: Path) -> None:
    """google/ddpm-celebahq-256 keeps config, weights and scheduler at the top."""
    start = save_ddpm(tmp_path / "start")
    for part in ("unet", "scheduler"):
        for path in (start / part).iterdir():
            path.rename(start / path.name)
        (start / part).rmdir()
    train(pictures, start, tmp_path / "out", steps=1)
    assert DDPMPipeline.from_pretrained(tmp_path / "out").unet.config.sample_size == 16


def test_the_seed_preset_fine_tunes_a_celebahq_shaped_model_for_one_epoch(
    tmp_path: Path, pictures: Path
) -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(  # as google/ddpm-celebahq-256, with fewer channels and pixels
        sample_size=64,
        block_out_channels=(4, 4, 8, 8, 16, 16),
        layers_per_block=2,
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        norm_num_groups=4,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    start = save_ddpm(tmp_path / "start", num_train_timesteps=1000)
    pipeline = DDPMPipeline.from_pretrained(start)
    DDPMPipeline(unet, pipeline.scheduler).save_pretrained(start)
    losses = train(pictures, start, tmp_path / "out", preset=SEED)
    assert len(losses) == 3  # 18 train pictures: 5 batches of 4, 2 to a step
    before, after = weights(start), weights(tmp_path / "out")
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 2e-5 < moved < 3.1e-5  # AdamW at 1e-5 for 3 steps, no average
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| preset | seed (the 2023 blog's recipe" in card
    assert "1e-05, constant" in card


def test_card_report_and_grids(tmp_path: Path, pictures: Path) -> None:
    from huggingface_hub import ModelCard

    output = tmp_path / "my-prints"
    train(pictures, save_ddpm(tmp_path / "start"), output, steps=6, sample_every=3)
    rows = read_history(output / "training")
    looks = [row for row in rows if "grid" in row]
    assert [row["step"] for row in looks] == [0, 3, 6]
    assert all(row["validation_loss"] > 0 and row["copies"] is not None for row in looks)
    assert [row["step"] for row in rows if "loss" in row] == [3, 6]
    with Image.open(output / "samples.png") as grid:
        assert grid.width > 3 * 16
    card = ModelCard.load(output / "README.md")
    assert card.data.tags == ["diffusers", "unconditional-image-generation", "ukiyoe"]
    assert "DDPMPipeline.from_pretrained" in card.text
    assert "doubles left out: 1" in card.text
    assert "again.jpg" not in card.text  # no one's files are named in public
    report = (output / "training" / "report.html").read_text()
    assert report.count("data:image/jpeg;base64,") == 3
    assert report.count("<svg") >= 4
    assert not re.search(r"(src|href)=\"(?!data:)", report)
    assert "again.jpg repeats" in report
    assert "broken.png: broken" in report


def test_one_picture_of_each_pair_of_doubles_is_on_one_side_only(
    tmp_path: Path, pictures: Path
) -> None:
    said: list[str] = []
    run = Run(str(pictures), tmp_path / "out", QUICK, str(save_ddpm(tmp_path / "start")), steps=1)
    finetune(run, say=said.append)
    assert "pictures: 20 (18 train, 2 val)" in said[0]
    assert "skipped: 1" in said[0]


def test_a_resumed_run_repeats_an_uninterrupted_one_bit_by_bit(
    tmp_path: Path, pictures: Path
) -> None:
    start = save_ddpm(tmp_path / "start")
    whole = train(pictures, start, tmp_path / "whole", steps=12)
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == 7

    losses: list[float] = []
    run = Run(str(pictures), tmp_path / "out", QUICK, str(start), steps=12, sample_every=1000)
    with pytest.raises(KeyboardInterrupt):
        finetune(run, show=lambda step, _: losses.append(step.loss), stop=stop)
    assert len(losses) == 7
    assert load_model(tmp_path / "out", "cpu")  # what was learned so far
    assert (tmp_path / "out" / "samples.png").is_file()
    with pytest.raises(FileConflict, match="--resume"):
        finetune(run)
    finetune(replace(run, resume=True), show=lambda step, _: losses.append(step.loss))
    assert losses == whole
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "out")
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [row["step"] for row in read_history(tmp_path / "out" / "training") if "loss" in row]
    assert steps == [7, 10, 12]


def test_a_run_is_resumed_with_its_own_settings_only(tmp_path: Path, pictures: Path) -> None:
    start = save_ddpm(tmp_path / "start")
    train(pictures, start, tmp_path / "out", steps=2)
    with pytest.raises(InvalidInput, match="begun with seed 0, not 1"):
        train(pictures, start, tmp_path / "out", steps=4, seed=1, resume=True)
    other = replace(QUICK, learning_rate=1e-2)
    with pytest.raises(InvalidInput, match="begun with preset"):
        train(pictures, start, tmp_path / "out", steps=4, preset=other, resume=True)
    assert len(train(pictures, start, tmp_path / "out", steps=4, resume=True)) == 2


def command(pictures: Path, start: Path, output: Path, *more: str) -> list[str]:
    options = ["--data", str(pictures), "--from", str(start), "--output", str(output)]
    return ["train", *options, "--batch-size", "4", *more]


def spawn(arguments: list[str], **more: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from ukiyoe.cli import main; import ukiyoe.training.watch as watch\n"
        f"watch.SAMPLING_STEPS = 2; sys.exit(main({arguments!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], text=True, **more)


KILLED = ("--steps", "30", "--checkpoint-minutes", "0", "--sample-every", "1000")


@pytest.fixture(scope="module")
def left_alone(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and the same after a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("left-alone")
    start = save_ddpm(folder / "start")
    assert main(command(pictures, start, folder / "out", *KILLED)) == 0
    return start, folder / "out"


@pytest.mark.parametrize("attempt", range(5))
def test_a_killed_run_is_resumed_to_the_same_model(
    attempt: int, tmp_path: Path, pictures: Path, left_alone: tuple[Path, Path]
) -> None:
    """kill -9 at a random moment of the whole command."""
    start, whole = left_alone
    options = command(pictures, start, tmp_path / "out", *KILLED)
    process = spawn(options, stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "out" / "checkpoints" / "finetune"
    while not any(checkpoints.glob("*.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.5))
    process.kill()
    process.wait()
    assert main([*options, "--resume"]) == 0
    first, second = weights(whole), weights(tmp_path / "out")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_truncated_checkpoint_is_one_sentence(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = save_ddpm(tmp_path / "start")
    more = ("--steps", "4", "--checkpoint-minutes", "0")
    options = command(pictures, start, tmp_path / "out", *more)
    assert main(options) == 0
    newest = tmp_path / "out" / "checkpoints" / "finetune" / "00000004.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    capsys.readouterr()
    assert main([*options, "--resume"]) == 0
    said = capsys.readouterr().out
    assert said.count("is broken") == 1
    assert "going on from" in said
    assert "step 3." in said


def test_sigterm_keeps_the_work(tmp_path: Path, pictures: Path) -> None:
    start = save_ddpm(tmp_path / "start")
    options = command(pictures, start, tmp_path / "out", "--max-minutes", "5")
    process = spawn(options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    history = tmp_path / "out" / "training" / "history.jsonl"
    while not (history.exists() and len(history.read_text().splitlines()) > 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on from there" in out
    assert "Traceback" not in err
    (kept,) = (tmp_path / "out" / "checkpoints" / "finetune").glob("*.pt")
    state = torch.load(kept, weights_only=True)
    assert state["schedule"] == "clock"  # the rest depends on it, and the checkpoint says so


def test_models_of_several_shapes_learn_all_of_them(tmp_path: Path) -> None:
    from ukiyoe.model import save_model

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in range(24):
        size = [(40, 60), (60, 40), (40, 40)][seed % 3]
        picture(seed, size).save(pictures / f"{seed}.png")
    start = save_ddpm(tmp_path / "ddpm")
    sizes = {"portrait": [24, 16], "landscape": [16, 24], "square": [20, 20]}
    extras = {"space_to_depth": 2, "sizes": sizes}
    save_model(tmp_path / "start", tiny_unet(12, 8), load_model(start, "cpu").scheduler, extras)
    seen = set()
    original = UNet2DModel.forward

    def spy(self: Any, sample: torch.Tensor, *rest: Any, **more: Any) -> Any:
        seen.add(tuple(sample.shape[1:]))
        return original(self, sample, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNet2DModel, "forward", spy)
        train(pictures, tmp_path / "start", tmp_path / "out", epochs=1)
    assert seen == {(12, 12, 8), (12, 8, 12), (12, 10, 10)}
    assert load_model(tmp_path / "out", "cpu").sizes["portrait"] == (24, 16)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "UkiyoePipeline" in card
    assert "DDPMPipeline" not in card


def test_a_model_that_is_not_square_gets_pictures_of_its_shape(
    tmp_path: Path, pictures: Path
) -> None:
    start = save_ddpm(tmp_path / "start")
    unet = tiny_unet()
    unet.register_to_config(sample_size=(24, 16))
    DDPMPipeline(unet, DDPMPipeline.from_pretrained(start).scheduler).save_pretrained(start)
    train(pictures, start, tmp_path / "out", steps=1)
    train(pictures, start, tmp_path / "again", steps=1, preset=replace(QUICK, augment=()))
    index = max((tmp_path / "cache").rglob("index.json"), key=lambda path: path.stat().st_mtime)
    assert json.loads(index.read_text())["shapes"] == {"portrait": [3, 24, 16]}


def test_from_scratch_is_the_packaged_shape(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ukiyoe.training.watch.GRID_SEEDS", (0,))
    preset = replace(QUICK, batch_size=2)
    losses = train(pictures, "scratch", tmp_path / "out", steps=1, preset=preset)  # type: ignore[arg-type]
    assert losses[0] > 0.1
    model = load_model(tmp_path / "out", "cpu")
    assert model.picture_size("portrait") == (384, 256)
    packaged = load_model(device="cpu")
    assert not torch.equal(next(model.unet.parameters()), next(packaged.unet.parameters()))
    assert (tmp_path / "out" / "text_tower" / "model.safetensors").is_file()


def test_kid_is_measured_and_the_best_is_kept(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Features(OnnxFeatures):
        def __init__(self, path: Path) -> None:
            assert path == Path("any.onnx")

        __call__ = staticmethod(thumbnails)

    monkeypatch.setattr("ukiyoe.training.finetune.OnnxFeatures", Features)
    monkeypatch.setattr("ukiyoe.training.watch.KID_PICTURES", 8)
    start, output = save_ddpm(tmp_path / "start"), tmp_path / "out"
    kids = iter([0.5, 0.2, 0.9])
    monkeypatch.setattr("ukiyoe.training.watch.kid_subsets", lambda *a, **k: (next(kids), 0.1))
    measured: dict[str, Any] = {"sample_every": 2, "features": Path("any.onnx")}
    train(pictures, start, output, steps=2, **measured)
    train(pictures, start, output, steps=4, resume=True, **measured)
    rows = [row for row in read_history(output / "training") if "kid" in row]
    assert [(row["step"], row["kid"]) for row in rows] == [(0, 0.5), (2, 0.2), (4, 0.9)]
    best = torch.load(output / "checkpoints" / "best.kid", weights_only=True)
    assert best["step"] == 2
    kept, result = best["average"], weights(output)
    assert all(torch.equal(kept[name], result[name]) for name in kept)
    assert "KID to held-out pictures | 0.200" in (output / "README.md").read_text()


def test_kid_needs_a_network(tmp_path: Path, pictures: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InvalidInput, match=r"expected an \.onnx file"):
        train(pictures, tmp_path, tmp_path / "out", steps=1, features=tmp_path / "none.onnx")


def test_less_memory_and_compiled_networks_learn_the_same(tmp_path: Path, pictures: Path) -> None:
    start = save_ddpm(tmp_path / "start")
    plain = train(pictures, start, tmp_path / "a", steps=3)
    less = train(pictures, start, tmp_path / "b", steps=3, gradient_checkpointing=True)
    assert less == pytest.approx(plain, abs=1e-6)
    half = train(pictures, start, tmp_path / "c", steps=3, bfloat16=True)
    assert half != plain
    assert half == pytest.approx(plain, rel=0.05)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "two lengths": ({"epochs": 1}, InvalidInput, "one length"),
    "no steps": ({"steps": 0}, InvalidInput, "steps: expected more than 0"),
    "endless": (
        {"steps": None, "epochs": float("inf")},
        InvalidInput,
        "epochs: expected more than 0",
    ),
    "no batch": ({"preset": replace(QUICK, batch_size=0)}, InvalidInput, "batch_size: expected"),
    "no rate": ({"preset": replace(QUICK, learning_rate=0)}, InvalidInput, "learning_rate"),
    "no such change": ({"preset": replace(QUICK, augment=("spin",))}, InvalidInput, "augment"),
    "no such model": ({"start": "nowhere"}, ModelError, 'not "packaged"'),
    "a column of a folder": ({"image_column": "a"}, InvalidInput, "image-column: expected a data"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_one_sentence(name: str, tmp_path: Path, pictures: Path) -> None:
    options, kind, message = BAD[name]
    start = options.get("start") or save_ddpm(tmp_path / "start")
    more = {key: value for key, value in options.items() if key != "start"}
    with pytest.raises(kind, match=message) as raised:
        train(pictures, start, tmp_path / "out", **{"steps": 1, **more})
    assert "\n" not in str(raised.value)


COMMANDS = {
    "stage and preset": ["--stage", "base", "--preset", "seed"],
    "lpips without stage": ["--lpips", "x"],
    "spin": ["--augment", "spin"],
    "no accumulation": ["--accumulation", "0"],
    "two lengths": ["--steps", "1", "--epochs", "1"],
    "no preset": ["--preset", "none"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_commands_are_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), *COMMANDS[name]]
    assert main(["train", *options]) == 2
    assert capsys.readouterr().err.startswith("ukiyoe: ")


def test_the_result_generates(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = save_ddpm(tmp_path / "start")
    assert main(command(pictures, start, tmp_path / "out", "--epochs", "1")) == 0
    assert "report.html" in capsys.readouterr().out
    made = ["--model", str(tmp_path / "out"), "--steps", "2", "--output", str(tmp_path / "made")]
    assert main(["generate", *made]) == 0
    with Image.open(tmp_path / "made" / "seed-0.png") as image:
        assert image.size == (16, 16)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, pictures: Path) -> None:
    start = save_ddpm(tmp_path / "start")
    wild = replace(QUICK, learning_rate=1e30, gradient_clip=float("inf"))
    with pytest.raises(InvalidInput, match="lower learning rate"):
        train(pictures, start, tmp_path / "out", steps=50, preset=wild, sample_every=1000)
