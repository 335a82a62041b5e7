"""A recipe: everything that decides a picture, carried inside its PNG."""

import base64
import json
import math
import zlib
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ukiyoe.color import parse_color
from ukiyoe.errors import InvalidInput
from ukiyoe.settings import (
    MAX_PROMPT,
    MAX_SCALE,
    MAX_SEED,
    ORIENTATIONS,
    PACKAGED,
    SOLVERS,
    SamplingConfig,
)

CHUNK = "ukiyoe"  # keyword of the PNG text chunk
SHARE_PREFIX = "ukiyoe1:"
MAX_RECIPE = 64 * 1024  # bytes; a real one has a few hundred


def package_version() -> str:
    """The installed version of Ukiyoe."""
    try:
        return version("ukiyoe")
    except PackageNotFoundError:  # run from a source tree
        return "0"


@dataclass(frozen=True)
class Recipe(SamplingConfig):
    """Everything that decides one picture; checked when it is made.

    Attributes:
        seed: Where the noise comes from, 0 to 2^63 - 1.
        model: "packaged", a folder or a Hub id.
        model_hash: First 16 hex digits of the SHA-256 of its weights.
        text_encoder_hash: The same for a CLIP text encoder.
        version: Of Ukiyoe.
        together: Denoised in a batch of several, which on a CPU differs in the last bits from
            denoising alone. Two recipes that differ only here are equal.
        variation_seed: Whose noise is mixed into the seed's; None for no variation.
        variation: How much of it, 0 (the seed's own picture) to 1 (the other seed's).
    """

    seed: int = 0
    model: str = PACKAGED
    model_hash: str = ""
    text_encoder_hash: str = ""
    version: str = ""
    together: bool = field(default=False, compare=False)
    variation_seed: int | None = None
    variation: float = 0.0

    def __post_init__(self) -> None:
        """Check every field; the first bad one is an `InvalidInput`."""
        for name in ("solver", "orientation", "model", "text_encoder", "model_hash"):
            _check(isinstance(getattr(self, name), str), name, "text", getattr(self, name))
        for name in ("text_scale", "color_scale"):
            value = getattr(self, name)
            good = _is_number(value) and 0 <= value <= MAX_SCALE
            _check(good, name, f"a number from 0 to {MAX_SCALE:g}", value)
            object.__setattr__(self, name, float(value))
        _check(type(self.together) is bool, "together", "true or false", self.together)
        whole = "a whole number from 0 to 2^63 - 1"
        _check(_is_seed(self.seed), "seed", whole, self.seed)
        other, share = self.variation_seed, self.variation
        _check(other is None or _is_seed(other), "variation_seed", whole, other)
        good = _is_number(share) and 0 <= share <= 1
        _check(good, "variation", "a number from 0 to 1", share)
        _check(share == 0 or other is not None, "variation", "a variation_seed with it", other)
        object.__setattr__(self, "variation", float(share))
        steps = self.num_inference_steps
        _check(type(steps) is int and steps >= 1, "steps", "a whole number from 1", steps)
        _check(self.solver in SOLVERS, "solver", f"one of {', '.join(SOLVERS)}", self.solver)
        shapes = f"one of {', '.join(ORIENTATIONS)}"
        _check(self.orientation in ORIENTATIONS, "orientation", shapes, self.orientation)
        if self.prompt is not None:
            good = isinstance(self.prompt, str) and any(c.isalnum() for c in self.prompt)
            _check(good, "prompt", "some words", self.prompt)
            size = len(self.prompt)
            _check(size <= MAX_PROMPT, "prompt", f"at most {MAX_PROMPT} characters", size)
        if self.color is not None:
            object.__setattr__(self, "color", parse_color(self.color))

    def to_json(self) -> str:
        """The recipe as JSON, fields in alphabetical order."""
        return json.dumps(asdict(self), sort_keys=True)

    def to_share_string(self) -> str:
        """The recipe as one short word that survives a chat window."""
        default = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        short = {key: value for key, value in asdict(self).items() if value != default.get(key)}
        packed = zlib.compress(json.dumps(short, separators=(",", ":")).encode(), 9)
        return SHARE_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def png_info(self) -> PngImagePlugin.PngInfo:
        """What to save a PNG with, so that it carries the recipe."""
        info = PngImagePlugin.PngInfo()
        info.add_itxt(CHUNK, self.to_json())
        info.add_text("Software", f"Ukiyoe {self.version}")
        return info


def recipe_from_json(text: str) -> Recipe:
    """Read a recipe from JSON; fields that are not there take their defaults.

    Args:
        text: A JSON object.

    Returns:
        The recipe.

    Raises:
        InvalidInput: If it is not a recipe, or of a newer version of Ukiyoe.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"recipe: expected a JSON object, got {text[:40]!r}.") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"recipe: expected a JSON object, got {text[:40]!r}.")
    unknown = sorted(set(content) - {known.name for known in fields(Recipe)})
    if unknown:
        raise InvalidInput(
            f"recipe: unknown field {unknown[0]!r}; not ours, or of a newer version of Ukiyoe."
        )
    return Recipe(**content)


def read_recipe(source: str) -> Recipe:
    """Read a recipe from wherever people keep them.

    Args:
        source: Path of one of our PNGs or of a ``.json``, or a share string.

    Returns:
        The recipe.

    Raises:
        InvalidInput: If there is none in it.
    """
    if source.startswith(SHARE_PREFIX):
        return recipe_from_share(source)
    path = Path(source)
    try:
        exists = path.is_file()
    except OSError:  # a name longer than the file system allows
        exists = False
    if not exists:
        raise InvalidInput(
            f"recipe: {source[:80]!r} is neither a file nor a share string ({SHARE_PREFIX}...)."
        )
    if path.suffix.lower() == ".json":
        try:
            return recipe_from_json(path.read_text(encoding="utf-8")[:MAX_RECIPE])
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"recipe: {source} cannot be read as text.") from error
    try:
        with Image.open(path) as picture:
            chunk: Any = picture.info.get(CHUNK)
    except Exception as error:  # PIL raises many kinds on broken files
        raise InvalidInput(f"recipe: {source} is not a readable picture.") from error
    if not isinstance(chunk, str):
        raise InvalidInput(f"recipe: {source} carries no recipe; only PNGs made by Ukiyoe do.")
    return recipe_from_json(chunk[:MAX_RECIPE])


def recipe_from_share(share: str) -> Recipe:
    """Read a recipe from its share string; touches no file.

    Args:
        share: What `Recipe.to_share_string` gave.

    Returns:
        The recipe.

    Raises:
        InvalidInput: If it is damaged, not a share string, or swells beyond any recipe.
    """
    if not share.startswith(SHARE_PREFIX):
        raise InvalidInput(f"recipe: expected a share string ({SHARE_PREFIX}...).")
    packed = share.removeprefix(SHARE_PREFIX)
    try:
        raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        inflater = zlib.decompressobj()
        content = inflater.decompress(raw, MAX_RECIPE).decode()
        whole = inflater.eof  # not cut off, and not longer than any recipe
    except (ValueError, zlib.error):
        whole = False
    if not whole:
        raise InvalidInput("recipe: the share string is damaged or incomplete.")
    return recipe_from_json(content)


def _is_seed(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEED


def _is_number(value: object) -> bool:
    """A real, finite number; a bool is none."""
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def _check(good: bool, name: str, expected: str, got: object) -> None:
    if not good:
        raise InvalidInput(f"{name}: expected {expected}, got {got!r:.60}.")
