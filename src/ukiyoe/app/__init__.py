"""The app: a Gradio page that previews, edits and remembers. Needs ``pip install 'ukiyoe[app]'``."""

from ukiyoe.app.build import build_app
from ukiyoe.app.look import LAUNCH_OPTIONS

__all__ = ["LAUNCH_OPTIONS", "build_app"]
