"""Ukiyoe: new postcards in the style of Japanese woodblock prints, steered by color and words.

>>> from ukiyoe import UkiyoePipeline
>>> pipeline = UkiyoePipeline.from_pretrained()
>>> pipeline(prompt="a sakura tree", color="#1f4e79", seeds=[7, 8]).images
"""

from typing import TYPE_CHECKING, Any

from ukiyoe.errors import FileConflict, InvalidInput, MissingExtra, ModelError, UkiyoeError
from ukiyoe.recipe import Recipe, read_recipe
from ukiyoe.settings import SamplingConfig

if TYPE_CHECKING:
    from ukiyoe.pipeline import UkiyoeOutput, UkiyoePipeline

__all__ = [
    "FileConflict",
    "InvalidInput",
    "MissingExtra",
    "ModelError",
    "Recipe",
    "SamplingConfig",
    "UkiyoeError",
    "UkiyoeOutput",
    "UkiyoePipeline",
    "read_recipe",
]


def __getattr__(name: str) -> Any:
    """Import the pipeline, and with it torch, only when somebody asks for it."""
    if name in {"UkiyoePipeline", "UkiyoeOutput"}:
        from ukiyoe import pipeline  # noqa: PLC0415

        return getattr(pipeline, name)
    raise AttributeError(f"module 'ukiyoe' has no attribute {name!r}")
