"""Guides: one loss a picture each, and how they move it together."""

from ukiyoe.guidance.color import color_guide, color_loss, color_wish
from ukiyoe.guidance.combine import MAX_MOVE, Guide, Wish, combine_moves
from ukiyoe.guidance.state import GuidanceState
from ukiyoe.guidance.text import clip_text_guide, packaged_text_guide, spherical_distance, text_wish

__all__ = [
    "MAX_MOVE",
    "GuidanceState",
    "Guide",
    "Wish",
    "clip_text_guide",
    "color_guide",
    "color_loss",
    "color_wish",
    "combine_moves",
    "packaged_text_guide",
    "spherical_distance",
    "text_wish",
]
