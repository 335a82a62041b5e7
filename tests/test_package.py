import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ukiyoe
from ukiyoe import InvalidInput, UkiyoePipeline
from ukiyoe.model import PACKAGED_FOLDER
from ukiyoe.settings import DEFAULTS

MEGABYTE = 2**20


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_everything_exported_exists() -> None:
    for name in ukiyoe.__all__:
        assert getattr(ukiyoe, name) is not None
    with pytest.raises(AttributeError):
        _ = ukiyoe.nothing


def test_import_and_help_do_not_load_torch() -> None:
    heavy = run(
        "import sys, ukiyoe, ukiyoe.cli\n"
        "ukiyoe.cli.build_parser().format_help()\n"
        "print([m for m in ('torch', 'diffusers', 'gradio', 'transformers') if m in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_packaged_weights_fit() -> None:
    sizes = [path.stat().st_size for path in PACKAGED_FOLDER.rglob("*") if path.is_file()]
    assert sum(sizes) < 60 * MEGABYTE
    table = [p.stat().st_size for p in (PACKAGED_FOLDER / "text_table").iterdir()]
    assert sum(table) < 10 * MEGABYTE
    assert json.loads((PACKAGED_FOLDER / "ukiyoe.json").read_text())["space_to_depth"] == 2


@pytest.fixture(scope="module")
def pipeline() -> UkiyoePipeline:
    return UkiyoePipeline.from_pretrained(device="cpu")


def test_the_packaged_model_makes_postcards_offline(pipeline: UkiyoePipeline) -> None:
    output = pipeline("a sakura tree", color="#1f4e79", seeds=[7, 8], num_inference_steps=4)
    assert [picture.size for picture in output.images] == [(256, 384)] * 2
    assert [recipe.seed for recipe in output.recipes] == [7, 8]
    assert output.nonfinite == ()
    assert output.recipes[0].model_hash == pipeline.model.weight_hash


@pytest.mark.parametrize(("shape", "size"), [("landscape", (384, 256)), ("square", (384, 384))])
def test_other_orientations(pipeline: UkiyoePipeline, shape: str, size: tuple[int, int]) -> None:
    output = pipeline(seeds=[1], num_inference_steps=2, orientation=shape)
    assert output.images[0].size == size


def test_a_default_postcard_costs_at_most_180_gflop(pipeline: UkiyoePipeline) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        pipeline("a wave", color="#1f4e79", num_inference_steps=2)
    with FlopCounterMode(display=False) as base, torch.no_grad():
        pipeline.model.unet(torch.randn(1, *pipeline.model.latent_shape("portrait")), 500)
    with FlopCounterMode(display=False) as upscaler, torch.no_grad():
        assert pipeline.model.upscaler is not None
        pipeline.model.upscaler(torch.randn(1, 3, *pipeline.model.sizes["portrait"]))
    gflop = [c.get_total_flops() / 1e9 for c in (counter, base, upscaler)]
    step = (gflop[0] - gflop[2]) / 2
    assert gflop[1] <= 5
    assert DEFAULTS.num_inference_steps * step + gflop[2] <= 180


def test_guides_change_the_picture_and_scale_zero_does_not(pipeline: UkiyoePipeline) -> None:
    options: dict[str, Any] = {"seeds": [3], "num_inference_steps": 6}
    plain = np.asarray(pipeline(**options).images[0], dtype=float)
    off = pipeline("a wave", text_scale=0, color="#b23a2e", color_scale=0, **options).images[0]
    assert np.array_equal(plain, np.asarray(off))
    red = np.asarray(pipeline(color="#b23a2e", color_scale=8, **options).images[0], dtype=float)
    assert (
        red[..., 0].mean() - red[..., 2].mean() > plain[..., 0].mean() - plain[..., 2].mean() + 20
    )
    wave = np.asarray(pipeline("a wave", **options).images[0], dtype=float)
    assert np.abs(wave - plain).mean() > 1


@pytest.mark.parametrize(
    "options",
    [{"seeds": []}, {"seeds": range(2000)}, {"seeds": [-1]}, {"batch_size": 0},
     {"num_inference_steps": 1001}, {"color": "nope"}, {"text_scale": 11}, {"solver": "euler"},
     {"orientation": "round"}, {"prompt": "", "seeds": [1]}],
)  # fmt: skip
def test_bad_arguments(pipeline: UkiyoePipeline, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        pipeline(**options)


def test_recipes_of_one_batch_share_everything_but_the_seed(pipeline: UkiyoePipeline) -> None:
    first = pipeline.recipe(ukiyoe.Recipe())
    with pytest.raises(InvalidInput, match="equal but for their seeds"):
        pipeline.sample([first, pipeline.recipe(ukiyoe.Recipe(num_inference_steps=3))])


def test_no_module_is_called_utils() -> None:
    names = {path.stem for path in Path(ukiyoe.__file__).parent.rglob("*.py")}
    assert not names & {"utils", "helpers", "misc", "common"}
