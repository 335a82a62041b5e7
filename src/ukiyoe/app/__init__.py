"""The app: a Gradio page that previews, edits and remembers. Needs the extra ``ukiyoe[app]``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ukiyoe.app.build import build_app
    from ukiyoe.app.look import LAUNCH_OPTIONS

__all__ = ["LAUNCH_OPTIONS", "build_app"]


def __getattr__(name: str) -> Any:
    """Import gradio only when somebody builds the page."""
    if name == "build_app":
        from ukiyoe.app.build import build_app  # noqa: PLC0415

        return build_app
    if name == "LAUNCH_OPTIONS":
        from ukiyoe.app.look import LAUNCH_OPTIONS  # noqa: PLC0415

        return LAUNCH_OPTIONS
    raise AttributeError(f"module 'ukiyoe.app' has no attribute {name!r}")
