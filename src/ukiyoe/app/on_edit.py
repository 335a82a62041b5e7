"""Events of the Edit tab: the same seed, drawn again as the controls move."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from ukiyoe.app import markup
from ukiyoe.app.controls import (
    LARGE_VARIATION,
    SMALL_VARIATION,
    check_limits,
    steered,
    variations,
)
from ukiyoe.app.layout import Page
from ukiyoe.app.studio import QUICK, SLOW, Studio, Updates, or_skip, stop, told, walls
from ukiyoe.app.visit import Picture, Visit, Wish, coarse
from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import Recipe


def edit_outputs(page: Page) -> list[Any]:
    """What `open_picture` sets."""
    edit = page.edit
    return [page.tabs, edit.stage, edit.strip, edit.status, *edit.steering.values()]


def open_picture(visit: Visit, event: gr.EventData) -> Updates:
    """Start editing the picture that was clicked."""
    with told():
        picture = visit.find(event._data["key"])
        visit.stop()
        visit.history = [picture.key]
        return gr.Tabs(selected="edit"), *_shown(visit)


def _shown(visit: Visit) -> Updates:
    """The edit in progress: stage, history, status, and controls as the picture has them."""
    pictures = [visit.find(key) for key in visit.history]
    if not pictures:
        raise InvalidInput("edit: pick a picture on Create or on your Wall first.")
    strip = markup.strip(pictures, pictures[-1].key)
    return _stage(pictures), strip, markup.status(""), *controls_of(pictures[-1].recipe)


def _stage(pictures: Sequence[Picture]) -> str:
    if len(pictures) == 1:
        return markup.stage(pictures, (), 0, pictures[0].recipe.orientation)
    return markup.compare(pictures[0], pictures[-1])


def controls_of(recipe: Recipe) -> Updates:
    """Values of the steering controls."""
    return (
        recipe.color is not None,
        gr.skip() if recipe.color is None else recipe.color,
        recipe.color_scale,
        recipe.prompt or "",
        recipe.text_scale,
    )


def wire_edit(page: Page, studio: Studio) -> None:
    """Connect the tab."""
    edit = page.edit
    steering = edit.steering

    def ask(visit: Visit, *values: Any) -> None:
        with told():
            recipe = steered(_edited(visit), *values)
            check_limits(recipe)
            visit.ask(Wish((recipe,), coarse((recipe,)), edits=True))

    def vary(share: float) -> Callable[..., None]:
        def ask_variations(visit: Visit, *values: Any) -> None:
            with told():
                recipe = steered(_edited(visit), *values)
                check_limits(recipe)
                visit.ask(Wish(variations(recipe, share)))

        return ask_variations

    def run(visit: Visit) -> Generator[Updates]:
        with told():
            edits = visit.wish is not None and visit.wish.edits
            for stage, line, picture in studio.draw(visit):
                if picture is None or not edits or not visit.history:
                    yield or_skip(stage), gr.skip(), or_skip(line), *walls(visit, picture)
                    continue
                if visit.history[-1] != picture.key:  # moved there and back
                    visit.history.append(picture.key)
                pictures = [visit.find(key) for key in visit.history]
                strip = markup.strip(pictures, picture.key)
                yield _stage(pictures), strip, line, *walls(visit, picture)

    outputs = [edit.stage, edit.strip, edit.status, page.wall.pictures, page.memory]
    inputs = [page.visit, *steering.values()]
    moved = [
        steering.color_on.input, steering.color.input, steering.color_scale.input,
        steering.text_scale.input, steering.prompt.submit,
        *(button.click for button in steering.pigments),
    ]  # fmt: skip
    for trigger, handler in [
        *((trigger, ask) for trigger in moved),
        (edit.small.click, vary(SMALL_VARIATION)),
        (edit.large.click, vary(LARGE_VARIATION)),
    ]:
        asked = trigger(handler, inputs, None, trigger_mode="always_last", **QUICK)
        asked.success(run, [page.visit], outputs, show_progress_on=edit.status, **SLOW)
    edit.stop.click(stop, [page.visit], [edit.status], **QUICK)
    edit.undo.click(_undo, [page.visit], edit_outputs(page)[1:], **QUICK)
    edit.strip.select(_back, [page.visit], edit_outputs(page)[1:], **QUICK)
    edit.stage.edit(open_picture, [page.visit], edit_outputs(page), **QUICK)


def _edited(visit: Visit) -> Recipe:
    """The recipe that is being edited, as a picture of its own."""
    if not visit.history:
        raise InvalidInput("edit: pick a picture on Create or on your Wall first.")
    return replace(visit.find(visit.history[-1]).recipe, together=False)


def _undo(visit: Visit) -> Updates:
    """Back to the picture before; it stays on the wall."""
    with told():
        visit.stop()
        if len(visit.history) > 1:
            visit.history = visit.history[:-1]
        return _shown(visit)


def _back(visit: Visit, event: gr.EventData) -> Updates:
    """Back to a picture of the history; it goes on top, so that nothing is lost."""
    with told():
        picture = visit.find(event._data["key"])
        visit.stop()
        if visit.history[-1:] != [picture.key]:
            visit.history.append(picture.key)
        return _shown(visit)
