"""Events of the Create tab."""

from collections.abc import Generator
from typing import Any

from ukiyoe.app import markup
from ukiyoe.app.controls import check_limits, random_seed, read_seed, series, steered
from ukiyoe.app.layout import DRAFT, Page
from ukiyoe.app.on_edit import edit_outputs, open_picture
from ukiyoe.app.studio import QUICK, SLOW, WAITING, Studio, Updates, or_skip, stop, told, walls
from ukiyoe.app.visit import Visit, Wish
from ukiyoe.recipe import Recipe
from ukiyoe.settings import APP, DEFAULTS

# On a phone the stage is below the controls.
SHOW_STAGE = """() => {
  const line = document.querySelector('#create-status');
  if (innerWidth < 800) line.scrollIntoView({behavior: 'smooth'});
}"""


def wire_create(page: Page, studio: Studio) -> None:
    """Connect the tab."""
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
                yield or_skip(stage), or_skip(line), *walls(visit, picture)

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
    create.stop.click(stop, [page.visit], [create.status], **QUICK)
    create.quality.input(
        lambda quality: APP.draft_steps if quality == DRAFT else DEFAULTS.num_inference_steps,
        [create.quality], [create.steps], **QUICK,
    )  # fmt: skip
    create.stage.edit(open_picture, [page.visit], edit_outputs(page), **QUICK)
