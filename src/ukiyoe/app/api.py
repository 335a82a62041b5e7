"""Named endpoints for programs: ``/generate`` and ``/edit``, with the same limits as the page."""

import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from ukiyoe.achieved import achieved
from ukiyoe.app.controls import check_limits, series
from ukiyoe.app.drawing import draw
from ukiyoe.app.studio import Studio, told
from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import SHARE_PREFIX, Recipe, recipe_from_json, recipe_from_share
from ukiyoe.settings import DEFAULTS

Answer = list[dict[str, Any]]


def add_endpoints(studio: Studio) -> None:
    """Add the endpoints to the Blocks in the making.

    Args:
        studio: What draws; programs wait in the same queue as people.
    """
    default_shape = studio.pipeline.model.default_orientation

    def generate(
        prompt: str | None = None,
        text_scale: float = DEFAULTS.text_scale,
        color: str | None = None,
        color_scale: float = DEFAULTS.color_scale,
        seed: int = 0,
        count: int = 1,
        steps: int = DEFAULTS.num_inference_steps,
        solver: str = DEFAULTS.solver,
        orientation: str = default_shape,
    ) -> list[dict]:  # type: ignore[type-arg]  # Gradio reads it
        """Draw pictures: seeds N, N + 1, ... Answers a list of `png_base64` and what was made."""
        with told():
            recipe = Recipe(
                prompt=prompt, text_scale=text_scale, color=color, color_scale=color_scale,
                seed=seed, num_inference_steps=steps, solver=solver, orientation=orientation,  # type: ignore[arg-type]
            )  # fmt: skip
            check_limits(recipe, count)
            return _pictures(studio, series(recipe, count))

    def edit(
        recipe: str,
        prompt: str | None = None,
        text_scale: float | None = None,
        color: str | None = None,
        color_scale: float | None = None,
        steps: int | None = None,
        variation_seed: int | None = None,
        variation: float | None = None,
    ) -> list[dict]:  # type: ignore[type-arg]
        """Draw a recipe (share string or JSON) again with some fields changed."""
        changes = {
            "prompt": prompt,
            "text_scale": text_scale,
            "color": color,
            "color_scale": color_scale,
            "num_inference_steps": steps,
            "variation_seed": variation_seed,
            "variation": variation,
        }
        with told():
            given = {name: value for name, value in changes.items() if value is not None}
            changed: Recipe = replace(_recipe(recipe), **given)  # type: ignore[arg-type]
            check_limits(changed)
            return _pictures(studio, (changed,))

    for endpoint in (generate, edit):
        gr.api(endpoint, concurrency_id="draw", concurrency_limit=1)


def _recipe(text: object) -> Recipe:
    """A recipe from a request; never from a path, which would be the server's."""
    if not isinstance(text, str) or not text.startswith((SHARE_PREFIX, "{")):
        raise InvalidInput(
            f"recipe: expected a share string ({SHARE_PREFIX}...) or a JSON object, "
            f"got {text!r:.40}."
        )
    return recipe_from_json(text) if text.startswith("{") else recipe_from_share(text)


def _pictures(studio: Studio, recipes: tuple[Recipe, ...]) -> Answer:
    frames = draw(studio.pipeline, recipes, lambda: False, studio.pace)
    return [_answer(*frame.finished) for frame in frames if frame.finished is not None]


def _answer(recipe: Recipe, image: Image.Image) -> dict[str, Any]:
    stream = BytesIO()
    image.save(stream, "PNG", pnginfo=recipe.png_info())
    found = achieved(image, recipe)
    return {
        "png_base64": base64.b64encode(stream.getvalue()).decode(),
        "seed": recipe.seed,
        "mean_color": found.mean_color,
        "delta_e_2000": found.delta_e_2000,
        "share": recipe.to_share_string(),
    }
