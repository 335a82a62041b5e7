"""What the controls mean: their values -> a recipe, within the app's limits. No gradio here."""

import secrets
from dataclasses import replace
from typing import Any

from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import Recipe
from ukiyoe.settings import APP, MAX_SEED, PACKAGED

# Pigments of the prints, as they look printed on washi.
PIGMENTS = {
    "Prussian blue": "#1f4e79",
    "Indigo": "#3b5572",
    "Verdigris": "#5f8f7e",
    "Moss": "#6d7347",
    "Ochre": "#c39a4e",
    "Gamboge": "#d9b25f",
    "Beni red": "#c2455a",
    "Bengara": "#8f3f2f",
    "Murasaki": "#6b5477",
    "Sumi": "#3a3835",
}

# Name -> color, prompt, seed: wishes that the packaged model serves well.
EXAMPLES = {
    "A wave in Prussian blue": ("#1f4e79", "a wave", 7),
    "A sakura tree at dusk": ("#c98a8a", "a sakura tree", 12),
    "A mountain in verdigris": ("#5f8f7e", "a mountain", 3),
    "Night in sumi": ("#3a3835", "night", 21),
}

# What a visitor may load: the packaged encoder, and the CLIP that everybody's results are with.
TEXT_ENCODERS = (PACKAGED, "openai/clip-vit-base-patch32")

SMALL_VARIATION, LARGE_VARIATION = 0.25, 0.6
RANDOM_SEEDS = 2**32  # large enough never to meet twice, short enough to read aloud


def read_seed(text: object) -> int:
    """A seed as somebody typed it.

    Args:
        text: Digits; a text, since a number field would round long ones.

    Returns:
        The seed.

    Raises:
        InvalidInput: If it is not a whole number from 0 to 2^63 - 1.
    """
    plain = text.strip() if isinstance(text, str) else ""
    if not plain.isascii() or not plain.isdigit() or len(plain) > 19 or int(plain) > MAX_SEED:
        raise InvalidInput(f"seed: expected a whole number from 0 to 2^63 - 1, got {text!r:.40}.")
    return int(plain)


def random_seed() -> int:
    """A seed nobody has seen."""
    return secrets.randbelow(RANDOM_SEEDS)


def steered(
    base: Recipe, color_on: bool, color: object, color_scale: Any, prompt: object, text_scale: Any
) -> Recipe:
    """A recipe with the steering of the controls.

    Args:
        base: Where everything else comes from.
        color_on: Whether to steer the color at all.
        color: Whatever the picker returned.
        color_scale: 0 to 10.
        prompt: Blank for none.
        text_scale: 0 to 10.

    Returns:
        The recipe, checked.
    """
    words = str(prompt or "").strip()
    return replace(
        base,
        color=color if color_on else None,  # type: ignore[arg-type]
        color_scale=color_scale,
        prompt=words or None,
        text_scale=text_scale,
    )


def check_limits(recipe: Recipe, count: object = 1) -> None:
    """Refuse what would hold up everybody else.

    Args:
        recipe: What is wished.
        count: How many pictures of it.

    Raises:
        InvalidInput: If there are too many pictures or steps; the message tells the limit.
            Or if the text encoder is not one that visitors may load.
    """
    if type(count) is not int or not 1 <= count <= APP.max_count:
        raise InvalidInput(f"count: expected 1 to {APP.max_count} here, got {count!r:.40}.")
    if recipe.num_inference_steps > APP.max_steps:
        raise InvalidInput(
            f"steps: expected 1 to {APP.max_steps} here, got {recipe.num_inference_steps}."
        )
    if recipe.text_encoder not in TEXT_ENCODERS:
        raise InvalidInput(
            f"text_encoder: expected {' or '.join(TEXT_ENCODERS)} here, "
            f"got {recipe.text_encoder!r:.60}."
        )
    if recipe.seed + count - 1 > MAX_SEED:
        raise InvalidInput(f"seed: expected seed + count up to 2^63 - 1, got seed {recipe.seed}.")


def series(recipe: Recipe, count: int) -> tuple[Recipe, ...]:
    """The recipe with seeds N, N + 1, ..."""
    return tuple(replace(recipe, seed=recipe.seed + k) for k in range(count))


def variations(recipe: Recipe, share: float, count: int = 4) -> tuple[Recipe, ...]:
    """Relatives of a picture: its own noise with some of others' mixed in."""
    return tuple(
        replace(recipe, variation_seed=random_seed(), variation=share) for _ in range(count)
    )
