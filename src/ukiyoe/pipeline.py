"""`UkiyoePipeline`: the front door, in the manner of diffusers."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ukiyoe.errors import InvalidInput
from ukiyoe.guidance import Wish, clip_text_guide, color_wish, packaged_text_guide, text_wish
from ukiyoe.images import pil_from_tensor
from ukiyoe.model import Model, load_model
from ukiyoe.recipe import Recipe, package_version
from ukiyoe.sampling import SamplingStep, Variation, make_solver, sample_steps
from ukiyoe.settings import BATCH_SIZE, DEFAULTS, MAX_COUNT, PACKAGED
from ukiyoe.text import ClipEncoder, PackagedEncoder


@dataclass(frozen=True)
class UkiyoeOutput:
    """What a call of the pipeline made.

    Attributes:
        images: The pictures.
        recipes: One recipe per picture, as its PNG would carry it.
        nonfinite: Guides whose gradient had NaN or inf somewhere, which was zeroed.
    """

    images: list[Image.Image]
    recipes: list[Recipe]
    nonfinite: tuple[str, ...] = ()


def split_batches(recipes: Sequence[Recipe], batch_size: int) -> list[list[Recipe]]:
    """Recipes in groups to denoise together; a recipe notes that it has company."""
    batches = [list(recipes[i : i + batch_size]) for i in range(0, len(recipes), batch_size)]
    return [
        [replace(recipe, together=recipe.together or len(batch) > 1) for recipe in batch]
        for batch in batches
    ]


def _variation(recipe: Recipe) -> Variation | None:
    if recipe.variation_seed is None or recipe.variation == 0:
        return None
    return Variation(recipe.variation_seed, recipe.variation)


class UkiyoePipeline:
    """Makes pictures with one model; keeps its networks loaded between calls."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._encoder = lru_cache(maxsize=2)(self._load_encoder)

    @classmethod
    def from_pretrained(
        cls, name: str | Path = PACKAGED, device: str | None = None
    ) -> "UkiyoePipeline":
        """Load a model: see `ukiyoe.model.load_model`."""
        return cls(load_model(name, device))

    def __call__(
        self,
        prompt: str | None = DEFAULTS.prompt,
        *,
        text_scale: float = DEFAULTS.text_scale,
        color: str | None = DEFAULTS.color,
        color_scale: float = DEFAULTS.color_scale,
        seeds: Sequence[int] = (0,),
        num_inference_steps: int = DEFAULTS.num_inference_steps,
        solver: str = DEFAULTS.solver,
        orientation: str | None = None,
        text_encoder: str = DEFAULTS.text_encoder,
        batch_size: int = BATCH_SIZE,
    ) -> UkiyoeOutput:
        """Make pictures.

        Args:
            prompt: What to steer to, in words; None for no text guidance.
            text_scale: How strongly, 0 to 10.
            color: The wished mean color, any CSS color; None for no color guidance.
            color_scale: How strongly, 0 to 10.
            seeds: One per picture; each picture depends on its own seed only.
            num_inference_steps: Denoising steps, 1 to the model's training timesteps.
            solver: "ddpm", "ddim", "dpmsolver++" or "unipc".
            orientation: "portrait", "landscape" or "square"; None is the model's own.
            text_encoder: "packaged", or a CLIP folder or Hub id.
            batch_size: Pictures denoised together; changes speed and memory only.

        Returns:
            The pictures with their recipes.

        Raises:
            InvalidInput: If an argument is out of range, malformed or of the wrong type.
        """
        if not 1 <= len(seeds) <= MAX_COUNT:
            raise InvalidInput(f"seeds: expected 1 to {MAX_COUNT}, got {len(seeds)}.")
        if type(batch_size) is not int or batch_size < 1:
            raise InvalidInput(f"batch_size: expected a whole number from 1, got {batch_size!r}.")
        recipe = self.recipe(
            Recipe(
                prompt=prompt,
                text_scale=text_scale,
                color=color,
                color_scale=color_scale,
                num_inference_steps=num_inference_steps,
                solver=solver,  # type: ignore[arg-type]
                orientation=orientation or self.model.default_orientation,  # type: ignore[arg-type]
                text_encoder=text_encoder,
            )
        )
        images: list[Image.Image] = []
        nonfinite: set[str] = set()
        batches = split_batches([replace(recipe, seed=seed) for seed in seeds], batch_size)
        for batch in batches:
            for step in self.sample(batch):
                nonfinite.update(step.nonfinite)
            images += pil_from_tensor(self.model.finish(step.sample))
        return UkiyoeOutput(
            images, [recipe for batch in batches for recipe in batch], tuple(sorted(nonfinite))
        )

    def recipe(self, wish: Recipe) -> Recipe:
        """Check a recipe against this model and sign it with the weights in use.

        Args:
            wish: What is wanted; model, hashes and version are replaced.

        Returns:
            A recipe that this pipeline can sample.
        """
        make_solver(self.model, wish.solver, wish.num_inference_steps)  # steps up to T
        text_hash = ""
        if wish.prompt is not None:
            text_hash = getattr(self._encoder(wish.text_encoder), "weight_hash", "")
        return replace(
            wish,
            model=self.model.name,
            model_hash=self.model.weight_hash,
            text_encoder_hash=text_hash,
            version=package_version(),
        )

    def sample(self, recipes: Sequence[Recipe]) -> Generator[SamplingStep]:
        """Denoise one batch, step by step; close the iterator to cancel.

        Args:
            recipes: Equal but for their seeds and variations.

        Returns:
            An iterator of steps; the last one's ``sample`` goes to `Model.finish`. A single
            recipe that once had company is denoised twice at once, for the same bits.

        Raises:
            InvalidInput: If the recipes differ in more than that.
        """
        first = recipes[0]
        noise = {name: getattr(first, name) for name in ("seed", "variation_seed", "variation")}
        if any(replace(recipe, **noise) != first for recipe in recipes):
            raise InvalidInput("recipes: expected recipes equal but for their seeds.")
        seeds = [recipe.seed for recipe in recipes]
        variations = [_variation(recipe) for recipe in recipes]
        doubled = len(seeds) == 1 and first.together
        steps = sample_steps(
            self.model,
            seeds * 2 if doubled else seeds,
            first.orientation,
            first.num_inference_steps,
            first.solver,
            self.wishes(first),
            variations * 2 if doubled else variations,
        )
        return (step.first() for step in steps) if doubled else steps

    def explain_prompt(self, recipe: Recipe) -> str:
        """Say in words what the packaged encoder uses for a prompt it does not know.

        Args:
            recipe: A recipe with a prompt.

        Returns:
            One sentence, or "" if the prompt is used as it is.
        """
        encoder = self._encoder(recipe.text_encoder)
        if not isinstance(encoder, PackagedEncoder) or recipe.prompt is None:
            return ""
        understanding = encoder.understand(recipe.prompt)
        if understanding.known:
            return ""
        names = ", ".join(name for name, _ in understanding.concepts)
        return (
            f'note: no print shows "{recipe.prompt}"; the nearest known concepts are used: {names}.'
        )

    def wishes(self, recipe: Recipe) -> list[Wish]:
        """The guides a recipe asks for, with their measured gains."""
        wishes = []
        if recipe.color is not None and recipe.color_scale > 0:
            wishes.append(color_wish(recipe.color, recipe.color_scale))
        if recipe.prompt is not None and recipe.text_scale > 0:
            encoder = self._encoder(recipe.text_encoder)
            if isinstance(encoder, ClipEncoder):
                guide = clip_text_guide(encoder, recipe.prompt)
            else:
                guide = packaged_text_guide(encoder, recipe.prompt)
            wishes.append(text_wish(guide, recipe.text_scale))
        return wishes

    def _load_encoder(self, name: str) -> Any:
        if name == PACKAGED:
            return PackagedEncoder.load(self.model.folder, self.model.device)
        return ClipEncoder.from_pretrained(name, self.model.device)
