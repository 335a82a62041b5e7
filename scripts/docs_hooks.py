"""What the documentation takes from the code, so that it cannot fall behind it.

mkdocs calls these by name; see ``mkdocs.yml``.
"""

import argparse
from pathlib import Path
from typing import Any

from ukiyoe.cli import build_parser

COMMANDS = "<!-- every command -->"
TRAINING = "training.md"


def on_config(config: Any) -> Any:
    """Give the training guide its place once it is written."""
    pages = [page for entry in config.nav for page in entry.values()]
    if (Path(config.docs_dir) / TRAINING).is_file() and TRAINING not in pages:
        config.nav.insert(3, {"Training guide": TRAINING})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command and option where a page asks for them."""
    return markdown.replace(COMMANDS, command_reference()) if COMMANDS in markdown else markdown


def command_reference() -> str:
    """Every command with its options as Markdown, from the parser itself.

    Returns:
        A heading and a table per command.
    """
    parts = []
    for name, parser, about in _commands(build_parser(), "ukiyoe"):
        parts += [f"## {name}", "", f"{about[:1].upper()}{about[1:]}.", ""]
        parts += ["| option | meaning |", "|---|---|"]
        for action in parser._actions:
            if action.help is argparse.SUPPRESS or "--help" in action.option_strings:
                continue
            parts.append(f"| {_spelled(action)} | {_safe(action.help or '')} |")
        parts.append("")
    return "\n".join(parts)


def _commands(
    parser: argparse.ArgumentParser, prefix: str
) -> list[tuple[str, argparse.ArgumentParser, str]]:
    """Leaves of the tree of commands, with what each is for."""
    found = []
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        about = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, child in action.choices.items():
            below = _commands(child, f"{prefix} {name}")
            found += below or [(f"{prefix} {name}", child, about.get(name, ""))]
    return found


def _spelled(action: argparse.Action) -> str:
    """An option as one would type it."""
    names = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    value = " ".join(names) if isinstance(names, tuple) else names
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{option} {value}`".replace(" `", "`") for option in action.option_strings)


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("%%", "%").replace("<", "&lt;")
