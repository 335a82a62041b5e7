"""What all visitors share: the one brush, the queue's rules, and how errors are told."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ukiyoe.app import markup
from ukiyoe.app.drawing import Frame, Pace, draw
from ukiyoe.app.visit import Picture, Visit
from ukiyoe.errors import UkiyoeError
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.recipe import Recipe

Updates = tuple[Any, ...]
WAITING = "Waiting for the brush ..."

# Quick events answer at once, beside the queue; drawings wait for the one worker.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
SLOW: dict[str, Any] = {
    "concurrency_id": "draw",
    "concurrency_limit": 1,
    "api_visibility": "private",
    "trigger_mode": "always_last",
    "show_progress": "minimal",
}


@contextmanager
def told() -> Iterator[None]:
    """The app's edge: errors raised on purpose become a sentence on the page.

    Raises:
        gr.Error: In place of a `UkiyoeError`; Gradio shows it, or answers an API call with it.
    """
    try:
        yield
    except UkiyoeError as error:
        raise gr.Error(str(error), title="", print_exception=False) from error


@dataclass(frozen=True)
class Studio:
    """What all visitors share.

    Attributes:
        pipeline: What draws.
        pace: How long things took lately.
    """

    pipeline: UkiyoePipeline
    pace: Pace = field(default_factory=Pace)

    def draw(self, visit: Visit) -> Generator[tuple[str | None, str | None, Picture | None]]:
        """Draw a visitor's newest wish.

        Args:
            visit: Whose; finished pictures go on its wall.

        Yields:
            The stage and the status line, None if unchanged; and a picture just finished.
        """
        wish, turn = visit.take()
        if wish is None:  # drawn already, by an event that came before
            yield None, None, None
            return
        finished: list[Picture] = []
        forming: tuple[bytes, ...] = ()
        frame: Frame | None = None
        shape = wish.recipes[0].orientation

        def passed() -> bool:
            return visit.turn != turn

        rounds = [(wish.coarse, False)] if wish.coarse else []
        for recipes, last in [*rounds, (wish.recipes, True)]:
            for frame in draw(self.pipeline, recipes, passed, self.pace, finish=last):
                picture = None
                if frame.finished is not None:
                    picture = visit.add(*frame.finished)
                    finished.append(picture)
                stage = None
                if frame.previews or picture:
                    forming = frame.previews or forming[1:]
                    waiting = len(recipes) - len(finished) - len(forming)
                    stage = markup.stage(finished, forming, waiting, shape)
                yield stage, markup.status(*_progress(frame, last)), picture
            if passed():
                break
        if not passed():
            text = f"{_done(finished)} {self._note(wish.recipes[0])}".strip()
            yield None, markup.status(text), None
        elif visit.wish is None and frame is not None:  # stopped, not replaced
            text = f"Stopped at step {frame.step} of {frame.total}. {_done(finished)}"
            yield None, markup.status(text), None

    def _note(self, recipe: Recipe) -> str:
        """What became of a prompt the encoder does not know as it is."""
        if recipe.prompt is None or recipe.text_scale == 0:
            return ""
        note = self.pipeline.explain_prompt(recipe).removeprefix("note: ")
        return note[:1].upper() + note[1:]


def _progress(frame: Frame, last: bool) -> tuple[str, float]:
    left = ""
    if frame.seconds_left is not None and frame.step > 1:
        left = f", about {frame.seconds_left:.0f} s left"
    name = "Step" if last else "First look, step"
    return f"{name} {frame.step} of {frame.total}{left}", frame.step / frame.total


def _done(finished: Sequence[Picture]) -> str:
    if not finished:
        return "Nothing was finished."
    return "1 picture is done." if len(finished) == 1 else f"{len(finished)} pictures are done."


def stop(visit: Visit) -> Any:
    """End a visitor's drawing; the drawing itself says where, if it had begun."""
    waiting = visit.wish is not None
    visit.stop()
    return markup.status("Stopped before it began.") if waiting else gr.skip()


def walls(visit: Visit, picture: Picture | None) -> Updates:
    """The wall and the browser's memory, if there is a new picture."""
    if picture is None:
        return gr.skip(), gr.skip()
    return markup.wall(visit.pictures, visit.chosen), visit.recipes()


def or_skip(value: Any) -> Any:
    """None leaves a component as it is."""
    return gr.skip() if value is None else value
