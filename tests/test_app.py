"""The app without a browser: what controls mean, what a visitor is, what the page says."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ukiyoe.app import markup
from ukiyoe.app.controls import (
    PIGMENTS,
    check_limits,
    random_seed,
    read_seed,
    series,
    steered,
    variations,
)
from ukiyoe.app.drawing import Frame, Pace, draw
from ukiyoe.app.visit import Visit, Wish, coarse
from ukiyoe.color import parse_color
from ukiyoe.errors import InvalidInput
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.recipe import Recipe, read_recipe
from ukiyoe.settings import APP, MAX_SEED

SQUARE = Recipe(orientation="square", num_inference_steps=6)


@pytest.fixture(scope="module")
def pipeline(ddpm_folder: Path) -> UkiyoePipeline:
    return UkiyoePipeline.from_pretrained(ddpm_folder, "cpu")


def picture(color: str = "#1f4e79") -> Image.Image:
    return Image.new("RGB", (32, 48), color)


def hang(visit: Visit, *seeds: int) -> None:
    for seed in seeds:
        visit.add(Recipe(seed=seed, color="#1f4e79"), picture())


# --- controls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["#1f4e79", "#1F4E79FF", "rgb(31, 78, 121)", "rgba(31.2, 78.4, 120.9, 1)",
     "hsl(208.7, 59.2%, 29.8%)", "rgba(31 78 121 / 0.5)"],
)  # fmt: skip
def test_every_form_a_color_picker_returns(form: str) -> None:
    recipe = steered(Recipe(seed=3), True, form, 4, " a wave ", 6)
    assert (recipe.color, recipe.color_scale) == ("#1f4e79", 4)
    assert (recipe.prompt, recipe.text_scale, recipe.seed) == ("a wave", 6, 3)


def test_what_is_switched_off_or_blank_does_not_steer() -> None:
    recipe = steered(Recipe(color="red", prompt="a"), False, "not a color", 4, "  ", 6)
    assert (recipe.color, recipe.prompt) == (None, None)


def test_pigments_are_different_colors() -> None:
    assert len({parse_color(value) for value in PIGMENTS.values()}) == len(PIGMENTS) >= 6


def test_seeds_are_read_exactly() -> None:
    assert read_seed(f" {MAX_SEED} ") == MAX_SEED
    assert read_seed("0") == 0
    assert len({random_seed() for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "1e3", "abc", "9" * 19, "9" * 9999, None, 7, "٣"]
)
def test_bad_seeds(text: object) -> None:
    with pytest.raises(InvalidInput, match="seed: expected a whole number from 0"):
        read_seed(text)


@pytest.mark.parametrize(
    ("fields", "count", "message"),
    [({}, 0, "count: expected 1 to 8"), ({}, 9, "count: expected 1 to 8"),
     ({}, 1.0, "count: expected 1 to 8"), ({}, True, "count: expected"),
     ({"num_inference_steps": 101}, 1, "steps: expected 1 to 100"),
     ({"seed": MAX_SEED}, 2, "seed: expected seed"),
     ({"text_encoder": "../../etc"}, 1, "text_encoder: expected packaged or openai")],
)  # fmt: skip
def test_limits_are_told(fields: dict[str, Any], count: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_limits(Recipe(**fields), count)
    check_limits(Recipe(num_inference_steps=APP.max_steps), APP.max_count)


def test_series_and_variations() -> None:
    assert [recipe.seed for recipe in series(Recipe(seed=5), 3)] == [5, 6, 7]
    relatives = variations(Recipe(seed=5), 0.25)
    assert {recipe.seed for recipe in relatives} == {5}
    assert {recipe.variation for recipe in relatives} == {0.25}
    assert len({recipe.variation_seed for recipe in relatives}) == 4


def test_a_first_look_is_coarser_or_none() -> None:
    (look,) = coarse([Recipe(seed=5, num_inference_steps=25)])
    assert look == Recipe(seed=5, num_inference_steps=APP.preview_steps)
    assert coarse([Recipe(num_inference_steps=APP.preview_steps)]) == ()


# --- drawing --------------------------------------------------------------------------------


def test_frames_preview_then_finish_the_same_pictures_as_the_pipeline(
    pipeline: UkiyoePipeline,
) -> None:
    recipes = series(replace(SQUARE, seed=3), 5)
    pace = Pace()
    frames = list(draw(pipeline, recipes, lambda: False, pace))
    made = [frame.finished for frame in frames if frame.finished is not None]
    expected = pipeline(
        text_scale=SQUARE.text_scale, seeds=[3, 4, 5, 6, 7], num_inference_steps=6,
        orientation="square",
    )  # fmt: skip
    assert [recipe.seed for recipe, _ in made] == [3, 4, 5, 6, 7]
    for (recipe, image), image_2, recipe_2 in zip(
        made, expected.images, expected.recipes, strict=True
    ):
        assert np.array_equal(np.asarray(image), np.asarray(image_2))
        assert (recipe, recipe.together) == (recipe_2, recipe_2.together)
    steps = [frame for frame in frames if frame.finished is None]
    assert [frame.step for frame in steps] == list(range(1, 13))
    assert {frame.total for frame in frames} == {12}
    assert frames[-1].seconds_left == 0
    assert pace.finish_seconds > 0
    (look,) = {len(frame.previews) for frame in steps[:6] if frame.previews}
    assert look == 4
    assert Image.open(io.BytesIO(steps[-1].previews[0])).format == "WEBP"


def test_a_first_look_finishes_nothing(pipeline: UkiyoePipeline) -> None:
    frames = list(draw(pipeline, [SQUARE], lambda: False, Pace(), finish=False))
    assert len(frames) == 6
    assert all(frame.finished is None for frame in frames)
    assert frames[-1].previews


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_stop_ends_it_within_one_step(pipeline: UkiyoePipeline, after: int) -> None:
    seen: list[Frame] = []
    for frame in draw(pipeline, series(SQUARE, 2), lambda: len(seen) >= after, Pace()):
        seen.append(frame)
    assert len(seen) == after
    assert sum(frame.finished is not None for frame in seen) == max(0, after - 6)


# --- visit ----------------------------------------------------------------------------------


def test_a_newer_wish_replaces_the_waiting_one_and_is_taken_once() -> None:
    visit = Visit()
    visit.ask(Wish((Recipe(seed=1),)))
    visit.ask(Wish((Recipe(seed=2),)))
    wish, turn = visit.take()
    assert wish is not None and wish.recipes[0].seed == 2
    assert visit.take() == (None, turn)
    visit.stop()
    assert visit.turn != turn


def test_a_picture_on_the_wall_is_a_png_with_its_recipe(tmp_path: Path) -> None:
    visit = Visit()
    hung = visit.add(Recipe(seed=7, color="#1f4e79"), picture())
    (tmp_path / "a.png").write_bytes(hung.png or b"")
    assert read_recipe(str(tmp_path / "a.png")) == hung.recipe
    assert "the same to the eye" in hung.words
    visit.add(Recipe(seed=7, color="#1f4e79"), picture())
    assert len(visit.pictures) == 1  # the same recipe is the same picture


def test_memory_is_bounded() -> None:
    visit = Visit()
    hang(visit, *range(APP.max_wall + 10))
    assert len(visit.pictures) == APP.max_wall
    assert visit.pictures[0].recipe.seed == APP.max_wall + 9
    kept = [item.recipe.seed for item in visit.pictures if item.png is not None]
    assert kept == [APP.max_wall + 9 - k for k in range(APP.max_kept)]
    assert all(item.thumbnail for item in visit.pictures)


def test_delete_forgets_everywhere_and_unknown_keys_are_refused() -> None:
    visit = Visit()
    hang(visit, 1, 2)
    key = visit.pictures[0].key
    visit.history, visit.chosen = [key], [key]
    visit.delete(key)
    assert [item.recipe.seed for item in visit.pictures] == [1]
    assert visit.history == visit.chosen == []
    for unknown in (key, None, "1", -1, {"a": 1}):
        with pytest.raises(InvalidInput, match="no longer on your wall"):
            visit.find(unknown)


def test_the_browser_remembers_recipes_and_nothing_else_gets_in() -> None:
    visit = Visit()
    hang(visit, 1, 2)
    again = Visit()
    again.restore([*visit.recipes(), "{}", "nonsense", '{"seed": -1}', 7, None, visit.recipes()[0]])
    assert [item.recipe for item in again.pictures[:2]] == [p.recipe for p in visit.pictures]
    assert len(again.pictures) == 3  # the two, and {} which is a plain recipe
    assert again.pictures[0].png is None
    again.restore(visit.recipes())
    assert len(again.pictures) == 3
    nonsense: tuple[object, ...] = (None, {}, "abc", 7)
    for bad in nonsense:
        again.restore(bad)
    again.restore(['{"seed": %d}' % seed for seed in range(1000)])  # noqa: UP031
    assert len(again.pictures) == APP.max_wall


def test_drawing_a_remembered_picture_again_fills_its_place() -> None:
    visit = Visit()
    visit.restore([Recipe(seed=5, model_hash="old", version="0.0").to_json()])
    key = visit.pictures[0].key
    visit.add(Recipe(seed=5, model_hash="new", version="0.1"), picture())
    assert [(item.key, item.png is None) for item in visit.pictures] == [(key, False)]


def test_the_zip_has_every_recipe_and_every_picture_kept() -> None:
    visit = Visit()
    with pytest.raises(InvalidInput, match="no picture"):
        visit.zip()
    hang(visit, 1, 2)
    visit.restore([Recipe(seed=9).to_json()])
    with zipfile.ZipFile(io.BytesIO(visit.zip())) as archive:
        assert archive.namelist() == ["002-seed-1.png", "003-seed-2.png", "recipes.json"]
        recipes = json.loads(archive.read("recipes.json"))
        assert [recipe["seed"] for recipe in recipes] == [9, 1, 2]
        assert Image.open(io.BytesIO(archive.read("002-seed-1.png"))).info["ukiyoe"]


# --- studio ---------------------------------------------------------------------------------


@pytest.fixture
def brush(pipeline: UkiyoePipeline) -> Any:
    pytest.importorskip("gradio", reason="needs the extra app: pip install 'ukiyoe[app]'")
    from ukiyoe.app.studio import Studio

    return Studio(pipeline)


def test_a_wish_is_drawn_after_a_first_look(brush: Any) -> None:
    visit = Visit()
    full = replace(SQUARE, num_inference_steps=APP.preview_steps + 2)
    visit.ask(Wish((full,), coarse([full])))
    moments = list(brush.draw(visit))
    lines = [line for _, line, _ in moments]
    assert "First look, step 1 of 6" in lines[0]
    assert "Step 1 of 8" in lines[6]
    assert "1 picture is done." in lines[-1]
    assert [picture for _, _, picture in moments if picture] == visit.pictures
    assert moments[-2][0].count("<figcaption") == 1
    assert list(brush.draw(visit)) == [(None, None, None)]  # drawn once only


def test_a_stop_is_told_and_a_replaced_drawing_ends_in_silence(brush: Any) -> None:
    from ukiyoe.app.studio import stop

    visit = Visit()
    visit.ask(Wish((SQUARE,)))
    assert "Stopped before it began" in stop(visit)
    visit.ask(Wish(series(SQUARE, 2)))
    drawing = brush.draw(visit)
    next(drawing)
    stop(visit)
    assert ["Stopped at step 1 of 6. Nothing was finished." in line for _, line, _ in drawing] == [
        True
    ]
    visit.ask(Wish((SQUARE,)))
    drawing = brush.draw(visit)
    next(drawing)
    visit.ask(Wish((replace(SQUARE, seed=9),)))
    assert list(drawing) == []
    assert [p.recipe.seed for _, _, p in brush.draw(visit) if p] == [9]


def test_pictures_of_a_batch_stay_in_view_while_others_are_finished(brush: Any) -> None:
    visit = Visit()
    visit.ask(Wish(series(SQUARE, 5)))
    stages = [stage for stage, _, _ in brush.draw(visit) if stage]
    assert {stage.count("<figure") for stage in stages} == {5}
    finishing = [stage for stage in stages if stage.count("<figcaption") == 2]
    assert finishing[0].count("u-forming") == 2


# --- markup ---------------------------------------------------------------------------------


def hostile_pages() -> Iterator[str]:
    visit = Visit()
    visit.add(Recipe(prompt='<script>a("1")</script> ${x} {{y}} `z`', seed=1), picture())
    visit.restore([Recipe(prompt="<img src=x onerror=alert(1)>", seed=2).to_json()])
    first, second = visit.pictures
    yield markup.stage([first], [], 1, "portrait")
    yield markup.wall(visit.pictures, [])
    yield markup.compare(first, second)
    yield markup.strip(visit.pictures, first.key)
    yield markup.status("<script>${1}{{2}}")


@pytest.mark.parametrize("number", range(5))
def test_prompts_cannot_become_markup_or_template_code(number: int) -> None:
    page = list(hostile_pages())[number]
    for code in ("<script", "<img src=x", "${", "{{", "`"):
        assert code not in page


def test_every_picture_has_a_text_for_screen_readers() -> None:
    visit = Visit()
    hang(visit, 7)
    page = markup.stage(visit.pictures, [b"abc"], 1, "portrait")
    assert page.count("<img") == page.count("alt=") == 2
    assert "seed 7" in page
    assert "Mean color" in page
    assert page.count("<figure") == 3


def test_a_picture_not_drawn_yet_shows_its_color_and_says_so() -> None:
    visit = Visit()
    visit.restore([Recipe(seed=2, color="#123456").to_json()])
    page = markup.wall(visit.pictures, [])
    assert "--wish:#123456" in page
    assert "not drawn yet" in page
    assert "Your wall is empty" in markup.wall([], [])


def test_screen_readers_hear_the_end_and_not_every_step() -> None:
    assert 'role="status"' in markup.status("1 picture is done.")
    moving = markup.status("Step 3 of 10", 0.3)
    assert "role=" not in moving
    assert "width:30%" in moving
