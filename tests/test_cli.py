"""The command line: its contract, and one sentence with exit code 2 for every bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import save_clip, save_ddpm
from ukiyoe.cli import build_parser, main
from ukiyoe.recipe import read_recipe

FAST = ["--steps", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(ddpm_folder: Path) -> str:
    return str(ddpm_folder)


def generate(*arguments: object) -> int:
    return main(["generate", *FAST, *map(str, arguments)])


def levels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def test_files_report_and_contact_sheet(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        generate(
            "--model", folder, "--color", "#1f4e79", "--seed", 7, "--count", 3, "--output", out
        )
        == 0
    )
    names = sorted(path.name for path in out.iterdir())
    assert names == ["contact-sheet.png", "report.json", "seed-7.png", "seed-8.png", "seed-9.png"]
    report = json.loads((out / "report.json").read_text())
    assert [row["seed"] for row in report] == [7, 8, 9]
    for row in report:
        mean = levels(out / row["file"]).mean(axis=(0, 1))
        assert row["mean_color"] == "#{:02x}{:02x}{:02x}".format(*map(round, mean))
        assert row["delta_e_2000"] > 0
        assert row["seconds"] > 0


def test_seed_8_is_the_same_alone_and_after_seed_7(folder: str, tmp_path: Path) -> None:
    generate("--model", folder, "--seed", 7, "--count", 4, "--output", tmp_path / "a")
    generate("--model", folder, "--seed", 8, "--count", 1, "--output", tmp_path / "b")
    generate("--model", folder, "--seed", 7, "--count", 4, "--output", tmp_path / "c")
    eight = [levels(tmp_path / name / "seed-8.png") for name in "abc"]
    assert np.abs(eight[0] - eight[1]).max() <= 2
    assert np.array_equal(eight[0], eight[2])
    source = str(tmp_path / "a" / "seed-8.png")
    assert read_recipe(source).together
    main(["generate", "--recipe", source, "--device", "cpu", "--output", str(tmp_path / "d")])
    assert np.array_equal(eight[0], levels(tmp_path / "d" / "seed-8.png"))


def test_a_recipe_makes_the_picture_again_and_flags_override(folder: str, tmp_path: Path) -> None:
    generate("--model", folder, "--color", "teal", "--seed", 5, "--output", tmp_path / "a")
    made = tmp_path / "a" / "seed-5.png"
    share = read_recipe(str(made)).to_share_string()
    for name, source in (("b", str(made)), ("c", share)):
        assert (
            main(
                [
                    "generate",
                    "--recipe",
                    source,
                    "--device",
                    "cpu",
                    "--output",
                    str(tmp_path / name),
                ]
            )
            == 0
        )
        assert np.array_equal(levels(tmp_path / name / "seed-5.png"), levels(made))
    main(
        [
            "generate",
            "--recipe",
            share,
            "--seed",
            "6",
            "--device",
            "cpu",
            "--output",
            str(tmp_path / "d"),
        ]
    )
    other = read_recipe(str(tmp_path / "d" / "seed-6.png"))
    assert (other.seed, other.color, other.num_inference_steps) == (6, "#008080", 2)


def test_an_existing_picture_is_kept_or_an_error_never_changed(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--model", folder, "--seed", 1, "--output", out]
    assert generate(*arguments) == 0
    before = (out / "seed-1.png").stat().st_mtime_ns
    assert generate(*arguments) == 0
    assert generate(*arguments, "--count", 2) == 0
    assert generate(*arguments, "--color", "red") == 2
    assert (out / "seed-1.png").stat().st_mtime_ns == before
    (out / "seed-1.png").write_bytes(b"mine")
    assert generate(*arguments) == 2
    assert (out / "seed-1.png").read_bytes() == b"mine"


def test_without_output_every_run_has_a_new_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert generate("--model", folder, "--quiet") == 0
    assert sorted(path.name for path in (tmp_path / "postcards").iterdir()) == ["0001", "0002"]


def test_json_and_quiet(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--model", folder, "--json", "--output", tmp_path / "a")
    assert json.loads(capsys.readouterr().out)[0]["file"] == "seed-0.png"
    generate("--model", folder, "--quiet", "--output", tmp_path / "b")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_info_prints_the_recipe(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("--model", folder, "--color", "teal", "--seed", 5, "--output", tmp_path, "--quiet")
    assert main(["info", str(tmp_path / "seed-5.png")]) == 0
    printed = capsys.readouterr().out
    assert "color: #008080" in printed
    assert "share: ukiyoe1:" in printed


def test_clip_steers_from_disk(folder: str, clip_folder: Path, tmp_path: Path) -> None:
    plain, steered = tmp_path / "a", tmp_path / "b"
    generate("--model", folder, "--output", plain)
    assert (
        generate(
            "--model",
            folder,
            "--prompt",
            "a wave",
            "--text-encoder",
            clip_folder,
            "--output",
            steered,
        )
        == 0
    )
    assert not np.array_equal(levels(plain / "seed-0.png"), levels(steered / "seed-0.png"))
    assert len(read_recipe(str(steered / "seed-0.png")).text_encoder_hash) == 16


def test_an_unknown_prompt_still_runs_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("--prompt", "a helicopter", "--output", tmp_path) == 0
    said = capsys.readouterr().out
    assert 'no print shows "a helicopter"' in said
    assert "kite" in said


def test_interrupt_keeps_what_is_finished(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukiyoe.model import Model

    finish, calls = Model.finish, []

    def interrupted(self: Model, latents: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return finish(self, latents)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "finish", interrupted)
    assert generate("--model", folder, "--count", 5, "--batch-size", 1, "--output", tmp_path) == 130
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["contact-sheet.png", "report.json", "seed-0.png", "seed-1.png"]


def broken_png(tmp_path: Path) -> Path:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    return path


def plain_png(tmp_path: Path) -> Path:
    path = tmp_path / "plain.png"
    Image.new("RGB", (4, 4)).save(path)
    return path


def broken_model(tmp_path: Path) -> Path:
    folder = save_ddpm(tmp_path / "broken")
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 100)
    return folder


def broken_clip(tmp_path: Path) -> Path:
    folder = save_clip(tmp_path / "broken-clip")
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    return folder


def a_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("x")
    return path


def other_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "newer.json"
    path.write_text('{"seed": 1, "halo": 3}')
    return path


BAD: dict[str, list[Any]] = {
    "no command": [],
    "unknown command": ["paint"],
    "unknown option": ["generate", "--sepia"],
    "abbreviated option": ["generate", "--col", "red"],
    "missing value": ["generate", "--seed"],
    "color word": ["generate", "--color", "blurple"],
    "color too short": ["generate", "--color", "#12"],
    "color empty": ["generate", "--color", ""],
    "color with NaN": ["generate", "--color", "rgb(nan, 0, 0)"],
    "text scale NaN": ["generate", "--prompt", "a wave", "--text-scale", "nan"],
    "text scale inf": ["generate", "--text-scale", "inf"],
    "text scale negative": ["generate", "--text-scale", "-1"],
    "text scale word": ["generate", "--text-scale", "strong"],
    "color scale too large": ["generate", "--color-scale", "10.5"],
    "color scale NaN": ["generate", "--color-scale", "NaN"],
    "seed negative": ["generate", "--seed", "-1"],
    "seed too large": ["generate", "--seed", str(2**63)],
    "seed fraction": ["generate", "--seed", "1.5"],
    "seed and count too large": ["generate", "--seed", str(2**63 - 1), "--count", "2"],
    "count zero": ["generate", "--count", "0"],
    "count huge": ["generate", "--count", "1000000"],
    "count word": ["generate", "--count", "many"],
    "steps zero": ["generate", "--steps", "0"],
    "steps above T": ["generate", "--steps", "1001"],
    "solver": ["generate", "--solver", "euler"],
    "orientation": ["generate", "--orientation", "round"],
    "batch size": ["generate", "--batch-size", "0"],
    "prompt empty": ["generate", "--prompt", ""],
    "prompt of signs": ["generate", "--prompt", "?!"],
    "prompt too long": ["generate", "--prompt", "wave " * 1000],
    "device": ["generate", "--device", "tpu"],
    "model not there": ["generate", "--model", "./nowhere"],
    "model is a file": ["generate", "--model", a_file],
    "model broken": ["generate", "--model", broken_model],
    "text encoder not there": ["generate", "--prompt", "a", "--text-encoder", "./nowhere"],
    "text encoder broken": ["generate", "--prompt", "a", "--text-encoder", broken_clip],
    "recipe not there": ["generate", "--recipe", "nowhere.png"],
    "recipe broken": ["generate", "--recipe", broken_png],
    "recipe in no picture of ours": ["generate", "--recipe", plain_png],
    "recipe of a newer version": ["generate", "--recipe", other_recipe],
    "share string damaged": ["generate", "--recipe", "ukiyoe1:abc"],
    "output is a file": ["generate", "--output", a_file],
    "output below a file": ["generate", "--output", lambda p: a_file(p) / "x"],
    "output not writable": ["generate", "--output", "/proc/ukiyoe"],
    "info of nothing": ["info", "nowhere.png"],
    "info of another picture": ["info", plain_png],
    "train without data": ["train", "--data", "nowhere", "--output", "x"],
    "train for no time": ["train", "--data", "nowhere", "--output", "x", "--max-minutes", "0"],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    arguments = [str(part(tmp_path)) if callable(part) else part for part in BAD[name]]
    capsys.readouterr()  # what building the broken folders printed
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ukiyoe: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 500
    assert list(work.iterdir()) == []  # nothing half-written


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_folder(folder: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert generate("--model", folder, "--output", tmp_path / "x") == 2


def test_unexpected_errors_keep_their_traceback(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ukiyoe.pipeline.UkiyoePipeline.sample", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate("--model", folder, "--output", tmp_path / "x")


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("ukiyoe")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ukiyoe 0.")


def test_every_command_is_in_the_readme_and_every_option_there_or_in_the_docs() -> None:
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text(encoding="utf-8")
    pages = readme + "".join(page.read_text(encoding="utf-8") for page in root.glob("docs/*.md"))
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for name, parser in commands.items():  # type: ignore[union-attr]
        assert f"ukiyoe {name}" in readme
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert option in pages, f"{name} {option}"


def test_a_variation_is_recorded_and_another_picture(folder: str, tmp_path: Path) -> None:
    arguments = ["--model", folder, "--seed", 7]
    generate(*arguments, "--output", tmp_path / "a")
    generate(*arguments, "--variation-seed", 9, "--variation", 0.5, "--output", tmp_path / "b")
    own, varied = (levels(tmp_path / name / "seed-7.png") for name in "ab")
    recipe = read_recipe(str(tmp_path / "b" / "seed-7.png"))
    assert (recipe.variation_seed, recipe.variation) == (9, 0.5)
    assert np.abs(own - varied).mean() > 1
