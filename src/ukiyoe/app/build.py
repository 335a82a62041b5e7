"""`build_app`: a pipeline -> a page, ready to launch."""

import gradio as gr

from ukiyoe.app.api import add_endpoints
from ukiyoe.app.events import wire
from ukiyoe.app.layout import lay_out
from ukiyoe.app.studio import Studio
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.settings import APP

# Seconds: how often the server looks for files it sent, and how old one must be to go.
CLEAN_EVERY, CLEAN_AFTER = 300, 900


def build_app(pipeline: UkiyoePipeline, max_queue: int = APP.max_queue) -> gr.Blocks:
    """Build the app; launch it with `ukiyoe.app.LAUNCH_OPTIONS`.

    Args:
        pipeline: What draws, for all visitors in turn.
        max_queue: Requests that may wait.

    Returns:
        The page, with its queue.
    """
    studio = Studio(pipeline)
    app = gr.Blocks(
        title="Ukiyoe", analytics_enabled=False, delete_cache=(CLEAN_EVERY, CLEAN_AFTER)
    )
    with app:
        page = lay_out(pipeline.model)
        wire(app, page, studio)
        add_endpoints(studio)
    app.queue(max_size=max_queue)
    return app
