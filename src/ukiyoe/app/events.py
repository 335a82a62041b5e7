"""Every event of the page, connected."""

import gradio as gr

from ukiyoe.app import markup
from ukiyoe.app.layout import Page
from ukiyoe.app.on_create import wire_create
from ukiyoe.app.on_edit import wire_edit
from ukiyoe.app.on_wall import wire_wall
from ukiyoe.app.studio import QUICK, Studio
from ukiyoe.app.visit import Visit


def wire(app: gr.Blocks, page: Page, studio: Studio) -> None:
    """Connect the tabs, and hang what the browser remembers.

    Args:
        app: The page's Blocks.
        page: Its components.
        studio: What draws.
    """
    wire_create(page, studio)
    wire_edit(page, studio)
    wire_wall(page, studio)
    app.load(_restore, [page.visit, page.memory], [page.wall.pictures], **QUICK)


def _restore(visit: Visit, memory: object) -> str:
    visit.restore(memory)
    return markup.wall(visit.pictures, visit.chosen)
