"""Events of the Wall tab: pick, compare, draw again, delete, pack, drop."""

import tempfile
from collections.abc import Generator
from pathlib import Path

import gradio as gr

from ukiyoe.app import markup
from ukiyoe.app.controls import TEXT_ENCODERS, check_limits
from ukiyoe.app.layout import Page
from ukiyoe.app.on_edit import controls_of, edit_outputs, open_picture
from ukiyoe.app.studio import QUICK, SLOW, WAITING, Studio, Updates, or_skip, told
from ukiyoe.app.visit import Picture, Visit, Wish
from ukiyoe.errors import InvalidInput
from ukiyoe.recipe import Recipe, read_recipe
from ukiyoe.settings import APP, PACKAGED


def wire_wall(page: Page, studio: Studio) -> None:
    """Connect the tab."""
    wall, create = page.wall, page.create
    shown = [wall.pictures, wall.detail]
    loaded = [
        page.tabs, *create.steering.values(), create.orientation, create.seed, create.random,
        create.solver, create.steps, create.text_encoder, create.status,
    ]  # fmt: skip
    wall.pictures.select(_pick, [page.visit, wall.compare], shown, **QUICK)
    wall.compare.input(_detail, [page.visit, wall.compare], shown, **QUICK)
    wall.detail.edit(open_picture, [page.visit], edit_outputs(page), **QUICK)
    wall.delete.click(_delete, [page.visit, wall.compare], [*shown, page.memory], **QUICK)
    wall.reuse.click(_reuse, [page.visit], loaded, **QUICK)
    wall.drop.upload(_dropped, [wall.drop], [*loaded, wall.drop], **QUICK)
    wall.zip.click(_zip, [page.visit], [wall.zip_file], **QUICK | {"queue": True}).success(
        None, None, None, js=CLICK_ZIP
    )
    _wire_redraw(page, studio)


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
                    yield gr.skip(), or_skip(stage), or_skip(line), gr.skip()
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
        *controls_of(recipe),
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
