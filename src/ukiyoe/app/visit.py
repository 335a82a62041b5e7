"""One visitor: their wall, their edit in progress, their newest wish. Bounded in memory."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO

from PIL import Image, ImageOps

from ukiyoe.achieved import achieved
from ukiyoe.app.drawing import webp
from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import Recipe, recipe_from_json
from ukiyoe.settings import APP

THUMBNAIL_SIDE = 220  # px, longest side


@dataclass(frozen=True)
class Picture:
    """A picture on a visitor's wall.

    Attributes:
        key: Names it within the visit.
        recipe: What it was made with.
        png: The file, with its recipe inside; None if it has to be drawn again.
        thumbnail: A small WebP; empty if it was never drawn in this visit.
        words: What was achieved.
    """

    key: int
    recipe: Recipe
    png: bytes | None = field(default=None, repr=False)
    thumbnail: bytes = field(default=b"", repr=False)
    words: str = ""


@dataclass(frozen=True)
class Wish:
    """What a visitor asked to have drawn.

    Attributes:
        recipes: One per picture.
        coarse: The first look at it, if one is to come first.
        edits: Whether finished pictures go on top of the edit history.
    """

    recipes: tuple[Recipe, ...]
    coarse: tuple[Recipe, ...] = ()
    edits: bool = False


@dataclass
class Visit:
    """Everything the server keeps of one visitor, changed in place by their events.

    Attributes:
        pictures: The wall, newest first.
        wish: The newest wish, until a drawing takes it.
        turn: Counts wishes and stops; a drawing whose turn has passed ends.
        history: Keys of the edit in progress, oldest first; the last one is shown.
        chosen: Keys picked on the wall, at most two, the last one being shown.
    """

    pictures: list[Picture] = field(default_factory=list)
    wish: Wish | None = None
    turn: int = 0
    history: list[int] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    _next_key: int = 1

    def ask(self, wish: Wish) -> None:
        """Replace whatever was asked before, waiting or being drawn."""
        self.wish = wish
        self.turn += 1

    def stop(self) -> None:
        """End the drawing after its current step."""
        self.wish = None
        self.turn += 1

    def take(self) -> tuple[Wish | None, int]:
        """The newest wish, if nobody took it yet, and the turn it has."""
        wish, self.wish = self.wish, None
        return wish, self.turn

    def add(self, recipe: Recipe, image: Image.Image) -> Picture:
        """Hang a finished picture; one of the same recipe is replaced.

        Args:
            recipe: What it was made with.
            image: The picture.

        Returns:
            The entry on the wall.
        """
        stream = BytesIO()
        image.save(stream, "PNG", pnginfo=recipe.png_info())
        known = next((p.key for p in self.pictures if _same(p, recipe)), None)
        picture = Picture(
            key=known or self._new_key(),
            recipe=recipe,
            png=stream.getvalue(),
            thumbnail=webp(ImageOps.contain(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))),
            words=achieved(image, recipe).words(),
        )
        self.pictures = [picture, *(p for p in self.pictures if p.key != picture.key)]
        self._trim()
        return picture

    def find(self, key: object) -> Picture:
        """A picture of this visitor.

        Args:
            key: As the page gave it.

        Returns:
            The picture.

        Raises:
            InvalidInput: If there is none of that key.
        """
        for picture in self.pictures:
            if picture.key == key:
                return picture
        raise InvalidInput("picture: it is no longer on your wall.")

    def delete(self, key: int) -> None:
        """Take a picture down, wherever it is used."""
        self.pictures = [p for p in self.pictures if p.key != key]
        self.history = [k for k in self.history if k != key]
        self.chosen = [k for k in self.chosen if k != key]

    def recipes(self) -> list[str]:
        """The wall as the browser remembers it: recipes in JSON, newest first."""
        return [picture.recipe.to_json() for picture in self.pictures]

    def restore(self, recipes: object) -> None:
        """Hang what the browser remembers, to be drawn again on demand.

        Args:
            recipes: From the browser, so anything; what is no recipe is passed over.
        """
        known = [picture.recipe for picture in self.pictures]
        for text in recipes[: APP.max_wall] if isinstance(recipes, list) else []:
            try:
                recipe = recipe_from_json(text) if isinstance(text, str) else None
            except InvalidInput:  # of another version, or tampered with
                continue
            if recipe is not None and recipe not in known:
                known.append(recipe)
                self.pictures.append(Picture(self._new_key(), recipe))
        self._trim()

    def zip(self) -> bytes:
        """All pictures with their recipes.

        Returns:
            A zip: ``NNN-seed-S.png`` where the picture is kept, and ``recipes.json`` for all.

        Raises:
            InvalidInput: If the wall is empty.
        """
        if not self.pictures:
            raise InvalidInput("wall: there is no picture on it yet.")
        stream = BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for number, picture in enumerate(reversed(self.pictures), 1):
                if picture.png is not None:
                    archive.writestr(f"{number:03d}-seed-{picture.recipe.seed}.png", picture.png)
            recipes = [json.loads(text) for text in reversed(self.recipes())]
            archive.writestr("recipes.json", json.dumps(recipes, indent=2) + "\n")
        return stream.getvalue()

    def _new_key(self) -> int:
        self._next_key += 1
        return self._next_key - 1

    def _trim(self) -> None:
        """Forget the oldest pictures, and the pixels of old ones."""
        for picture in self.pictures[APP.max_wall :]:
            self.delete(picture.key)
        kept = [picture.key for picture in self.pictures if picture.png is not None]
        kept = kept[: APP.max_kept]
        self.pictures = [
            picture if picture.key in kept else replace(picture, png=None)
            for picture in self.pictures
        ]


def _same(picture: Picture, recipe: Recipe) -> bool:
    """Whether a new picture takes the place of one on the wall."""
    if picture.png is not None:
        return picture.recipe == recipe
    # Remembered by the browser: the model may have changed since.
    signature = ("model", "model_hash", "text_encoder_hash", "version")
    return replace(picture.recipe, **{n: getattr(recipe, n) for n in signature}) == recipe


def coarse(recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The same pictures in few steps, for a first look."""
    if recipes[0].num_inference_steps <= APP.preview_steps:
        return ()
    return tuple(replace(recipe, num_inference_steps=APP.preview_steps) for recipe in recipes)
