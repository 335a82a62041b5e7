import json
import zlib
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import Recipe, read_recipe, recipe_from_json, recipe_from_share
from ukiyoe.settings import MAX_SEED, ORIENTATIONS, SOLVERS

FULL = Recipe(
    prompt="a wave, 波 and “foam”", text_scale=3.5, color="#1F4E79", color_scale=10, seed=7,
    num_inference_steps=12, solver="unipc", orientation="landscape", model_hash="ab" * 8,
    variation_seed=9, variation=0.25,
)  # fmt: skip


def save(path: Path, recipe: Recipe) -> Path:
    Image.new("RGB", (8, 8)).save(path, pnginfo=recipe.png_info())
    return path


def test_png_json_and_share_string_round_trip(tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", FULL)
    (tmp_path / "a.json").write_text(FULL.to_json(), encoding="utf-8")
    for source in (str(picture), str(tmp_path / "a.json"), FULL.to_share_string()):
        assert read_recipe(source) == FULL


@given(
    st.builds(
        Recipe,
        prompt=st.none()
        | st.text(min_size=1, max_size=50).filter(lambda t: any(map(str.isalnum, t))),
        text_scale=st.floats(0, 10),
        seed=st.integers(0, MAX_SEED),
        num_inference_steps=st.integers(1, 1000),
        solver=st.sampled_from(SOLVERS),
        orientation=st.sampled_from(ORIENTATIONS),
    )
)  # fmt: skip
def test_any_recipe_survives_a_share_string(recipe: Recipe) -> None:
    assert read_recipe(recipe.to_share_string()) == recipe
    assert recipe_from_json(recipe.to_json()) == recipe


def test_share_string_of_a_plain_recipe_is_short() -> None:
    assert len(Recipe(seed=7, prompt="a wave").to_share_string()) < 80


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text_scale", float("nan")), ("text_scale", float("inf")), ("text_scale", -0.1),
        ("text_scale", 10.1), ("text_scale", "5"), ("text_scale", True), ("color_scale", None),
        ("seed", -1), ("seed", 2**63), ("seed", 1.0), ("seed", True), ("seed", "7"),
        ("num_inference_steps", 0), ("num_inference_steps", 2.5), ("solver", "euler"),
        ("solver", None), ("orientation", "round"), ("prompt", ""), ("prompt", "   "),
        ("prompt", "!?"), ("prompt", 5), ("prompt", "x" * 1001), ("color", "nope"), ("model", 3),
    ],
)  # fmt: skip
def test_bad_fields_are_one_sentence(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(Recipe(), **{field: value})
    message = str(caught.value)
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 250


def bomb() -> str:
    return "ukiyoe1:" + urlsafe_b64encode(zlib.compress(b" " * 10_000_000)).decode()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"seed": "x"}', '{"halo": 1}', "[" * 100_000, '{"seed": 1e400}'],
)
def test_hostile_json(text: str) -> None:
    with pytest.raises(InvalidInput):
        recipe_from_json(text)


def test_hostile_sources(tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (4, 4)).save(plain)
    cut = tmp_path / "cut.png"
    cut.write_bytes(plain.read_bytes()[:30])
    foreign = tmp_path / "foreign.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("ukiyoe", "hello")
    Image.new("RGB", (4, 4)).save(foreign, pnginfo=info)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    sources = [
        str(plain), str(cut), str(foreign), str(binary), str(tmp_path), str(tmp_path / "none.png"),
        "x" * 5000, "ukiyoe1:", "ukiyoe1:!!!!", bomb(), FULL.to_share_string()[:-6],
    ]  # fmt: skip
    for source in sources:
        with pytest.raises(InvalidInput, match=r"^recipe: ") as caught:
            read_recipe(source)
        assert "\n" not in str(caught.value)


def test_json_holds_every_field() -> None:
    content = json.loads(FULL.to_json())
    assert content["prompt"] == FULL.prompt
    assert content["color"] == "#1f4e79"
    assert list(content) == sorted(content)


@pytest.mark.parametrize(
    "fields",
    [{"variation": -0.1}, {"variation": 1.1}, {"variation": float("nan")}, {"variation": 0.5},
     {"variation": True}, {"variation_seed": -1}, {"variation_seed": 1.0}],
)  # fmt: skip
def test_bad_variations(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="variation"):
        Recipe(**fields)


def test_a_share_string_is_read_without_touching_files(tmp_path: Path) -> None:
    assert recipe_from_share(FULL.to_share_string()) == FULL
    with pytest.raises(InvalidInput, match="expected a share string"):
        recipe_from_share(str(save(tmp_path / "a.png", FULL)))
