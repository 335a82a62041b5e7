"""What happens: every event of the page, and the handlers behind them."""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ukiyoe.app import markup
from ukiyoe.app.controls import (
    LARGE_VARIATION,
    SMALL_VARIATION,
    TEXT_ENCODERS,
    check_limits,
    random_seed,
    read_seed,
    series,
    steered,
    variations,
)
from ukiyoe.app.drawing import Frame, Pace, draw
from ukiyoe.app.layout import DRAFT, Page
from ukiyoe.app.visit import Picture, Visit, Wish, coarse
from ukiyoe.errors import InvalidInput, UkiyoeError
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.recipe import Recipe, read_recipe
from ukiyoe.settings import APP, DEFAULTS, PACKAGED

Updates = tuple[Any, ...]
WAITING = "Waiting for the brush ..."


@contextmanager
def told() -> Iterator[None]:
    """The app's edge: errors raised on purpose become a sentence on the page.

    Raises:
        Error: In place of a `UkiyoeError`; Gradio shows it, or answers an API call with it.
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

    def draw(self, visit: Visit) -> Generator[tuple[str | None, str, Picture | None]]:
        """Draw a visitor's newest wish.

        Args:
            visit: Whose; finished pictures go on its wall.

        Yields:
            The stage, unless unchanged; the status line; and a picture that was just finished.
        """
        wish, turn = visit.take()
        if wish is None:
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
            yield None, markup.status(_done(finished)), None
        elif visit.wish is None and frame is not None:  # stopped, not replaced
            text = f"Stopped at step {frame.step} of {frame.total}. {_done(finished)}"
            yield None, markup.status(text), None


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


def wire(app: gr.Blocks, page: Page, studio: Studio) -> None:
    """Connect every event of the page.

    Args:
        app: The page's Blocks.
        page: Its components.
        studio: What draws.
    """
    _wire_create(page, studio)
    _wire_edit(page, studio)
    _wire_wall(page)
    _wire_redraw(page, studio)
    app.load(
        _restore, [page.visit, page.memory], [page.wall.pictures], show_progress="hidden",
        api_visibility="private", queue=False,
    )  # fmt: skip


# Quick events answer at once, beside the queue; drawings wait for the one worker.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
SLOW: dict[str, Any] = {
    "concurrency_id": "draw",
    "concurrency_limit": 1,
    "api_visibility": "private",
    "trigger_mode": "always_last",
    "show_progress": "minimal",
}


# On a phone the stage is below the controls.
SHOW_STAGE = """() => {
  const line = document.querySelector('#create-status');
  if (innerWidth < 800) line.scrollIntoView({behavior: 'smooth'});
}"""


def _restore(visit: Visit, memory: object) -> str:
    visit.restore(memory)
    return markup.wall(visit.pictures, visit.chosen)


# --- Create ---------------------------------------------------------------------------------


def _wire_create(page: Page, studio: Studio) -> None:
    create = page.create

    def ask(visit: Visit, *values: Any) -> Updates:
        *steering, orientation, seed, random, count, solver, steps, encoder = values
        with told():
            number = random_seed() if random else read_seed(seed)
            base = Recipe(
                seed=number, orientation=orientation, solver=solver, num_inference_steps=steps,
                text_encoder=encoder,
            )  # fmt: skip
            recipe = steered(base, *steering)
            check_limits(recipe, count)
            visit.ask(Wish(series(recipe, count)))
        return str(number), markup.status(WAITING)

    def run(visit: Visit) -> Generator[Updates]:
        with told():
            for stage, line, picture in studio.draw(visit):
                yield _or_skip(stage), line, *_walls(visit, picture)

    asked = create.draw.click(
        ask,
        [page.visit, *create.steering.values(), create.orientation, create.seed, create.random,
         create.count, create.solver, create.steps, create.text_encoder],
        [create.seed, create.status],
        trigger_mode="always_last",
        **QUICK,
    )  # fmt: skip
    asked.success(
        run, [page.visit], [create.stage, create.status, page.wall.pictures, page.memory],
        show_progress_on=create.status, **SLOW,
    )  # fmt: skip
    create.draw.click(None, None, None, js=SHOW_STAGE)
    create.stop.click(Visit.stop, [page.visit], None, **QUICK)
    create.quality.input(
        lambda quality: APP.draft_steps if quality == DRAFT else DEFAULTS.num_inference_steps,
        [create.quality], [create.steps], **QUICK,
    )  # fmt: skip
    create.stage.edit(_open, [page.visit], _edit_outputs(page), **QUICK)


def _walls(visit: Visit, picture: Picture | None) -> Updates:
    """The wall and the browser's memory, if there is a new picture."""
    if picture is None:
        return gr.skip(), gr.skip()
    return markup.wall(visit.pictures, visit.chosen), visit.recipes()


def _or_skip(value: Any) -> Any:
    return gr.skip() if value is None else value


# --- Edit -----------------------------------------------------------------------------------


def _edit_outputs(page: Page) -> list[Any]:
    edit = page.edit
    return [page.tabs, edit.stage, edit.strip, edit.status, *edit.steering.values()]


def _open(visit: Visit, event: gr.EventData) -> Updates:
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
    return _stage(pictures), strip, markup.status(""), *_controls(pictures[-1].recipe)


def _stage(pictures: Sequence[Picture]) -> str:
    if len(pictures) == 1:
        return markup.stage(pictures, (), 0, pictures[0].recipe.orientation)
    return markup.compare(pictures[0], pictures[-1])


def _controls(recipe: Recipe) -> Updates:
    """Values of the steering controls."""
    return (
        recipe.color is not None,
        gr.skip() if recipe.color is None else recipe.color,
        recipe.color_scale,
        recipe.prompt or "",
        recipe.text_scale,
    )


def _wire_edit(page: Page, studio: Studio) -> None:
    edit = page.edit
    steering = edit.steering

    def ask(visit: Visit, *values: Any) -> None:
        with told():
            base = _edited(visit)
            recipe = steered(base, *values)
            if recipe != base:
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
                    yield _or_skip(stage), gr.skip(), line, *_walls(visit, picture)
                    continue
                visit.history.append(picture.key)
                pictures = [visit.find(key) for key in visit.history]
                strip = markup.strip(pictures, picture.key)
                yield _stage(pictures), strip, line, *_walls(visit, picture)

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
    edit.stop.click(Visit.stop, [page.visit], None, **QUICK)
    edit.undo.click(_undo, [page.visit], _edit_outputs(page)[1:], **QUICK)
    edit.strip.select(_back, [page.visit], _edit_outputs(page)[1:], **QUICK)
    edit.stage.edit(_open, [page.visit], _edit_outputs(page), **QUICK)


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


# --- Wall -----------------------------------------------------------------------------------


def _wire_wall(page: Page) -> None:
    wall, create = page.wall, page.create
    shown = [wall.pictures, wall.detail]
    loaded = [
        page.tabs, *create.steering.values(), create.orientation, create.seed, create.random,
        create.solver, create.steps, create.text_encoder, create.status,
    ]  # fmt: skip
    wall.pictures.select(_pick, [page.visit, wall.compare], shown, **QUICK)
    wall.compare.input(_detail, [page.visit, wall.compare], shown, **QUICK)
    wall.detail.edit(_open, [page.visit], _edit_outputs(page), **QUICK)
    wall.delete.click(_delete, [page.visit, wall.compare], [*shown, page.memory], **QUICK)
    wall.reuse.click(_reuse, [page.visit], loaded, **QUICK)
    wall.drop.upload(_dropped, [wall.drop], [*loaded, wall.drop], **QUICK)
    wall.zip.click(_zip, [page.visit], [wall.zip_file], **QUICK | {"queue": True}).success(
        None, None, None, js=CLICK_ZIP
    )


# The file is ready once its link has an address.
CLICK_ZIP = """() => {
  const find = () => document.querySelector('#wall-zip-file a, a#wall-zip-file, #wall-zip-file');
  setTimeout(() => find()?.click(), 150);
}"""


def _wire_redraw(page: Page, studio: Studio) -> None:
    wall = page.wall

    def ask(visit: Visit) -> str:
        with told():
            recipe = _chosen(visit).recipe
            check_limits(recipe)
            visit.ask(Wish((recipe,)))
        return markup.status(WAITING)

    def run(visit: Visit, compare: bool) -> Generator[Updates]:
        with told():
            for stage, line, picture in studio.draw(visit):
                if picture is None:
                    yield gr.skip(), _or_skip(stage), line, gr.skip()
                else:
                    visit.chosen = [picture.key]
                    yield *_detail(visit, compare), line, visit.recipes()

    wall.redraw.click(ask, [page.visit], [wall.status], **QUICK).success(
        run, [page.visit, wall.compare], [wall.pictures, wall.detail, wall.status, page.memory],
        show_progress_on=wall.status, **SLOW,
    )  # fmt: skip


def _pick(visit: Visit, compare: bool, event: gr.EventData) -> Updates:
    with told():
        key = visit.find(event._data["key"]).key
        visit.chosen = [*(k for k in visit.chosen if k != key), key][-2:]
        return _detail(visit, compare)


def _detail(visit: Visit, compare: bool) -> Updates:
    """The wall, and the picture or the two pictures that were picked."""
    chosen = [visit.find(key) for key in visit.chosen]
    if not compare:
        chosen = chosen[-1:]
    wall = markup.wall(visit.pictures, [picture.key for picture in chosen])
    if len(chosen) == 2:
        return wall, markup.compare(chosen[0], chosen[1], ("First", "Second"))
    if not chosen:
        return wall, ""
    return wall, markup.stage(chosen, (), 0, chosen[0].recipe.orientation)


def _chosen(visit: Visit) -> Picture:
    if not visit.chosen:
        raise InvalidInput("wall: pick a picture first.")
    return visit.find(visit.chosen[-1])


def _delete(visit: Visit, compare: bool) -> Updates:
    with told():
        visit.delete(_chosen(visit).key)
        return *_detail(visit, compare), visit.recipes()


def _reuse(visit: Visit) -> Updates:
    with told():
        return _loaded(_chosen(visit).recipe)


def _loaded(recipe: Recipe) -> Updates:
    """Put a recipe on the controls of Create."""
    known = recipe.text_encoder in TEXT_ENCODERS
    note = f"Controls of seed {recipe.seed} are set: draw to make it again."
    if not known:
        note += f" Its text encoder {recipe.text_encoder!r:.60} is not on offer here."
    return (
        gr.Tabs(selected="create"),
        *_controls(recipe),
        recipe.orientation,
        str(recipe.seed),
        False,
        recipe.solver,
        min(recipe.num_inference_steps, APP.max_steps),
        recipe.text_encoder if known else PACKAGED,
        markup.status(note),
    )


def _dropped(path: str | None) -> Updates:
    with told():
        if path is None:
            raise InvalidInput("recipe: expected a PNG made by Ukiyoe.")
        return *_loaded(read_recipe(path)), None


def _zip(visit: Visit) -> Generator[str]:
    with told(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ukiyoe.zip"
        path.write_bytes(visit.zip())
        yield str(path)  # Gradio copies it before it asks for more


