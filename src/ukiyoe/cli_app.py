"""``ukiyoe app``: serve the app until Ctrl-C."""

import argparse
import os
import socket
from pathlib import Path
from typing import Any

from ukiyoe.errors import InvalidInput, MissingExtra
from ukiyoe.settings import APP, PACKAGED

MAX_PASSWORD = 1024  # bytes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every option of the command, with defaults from `ukiyoe.settings`."""
    add = parser.add_argument
    add("--model", default=PACKAGED, help=f'"{PACKAGED}" (default), a folder, or a Hub id')
    add("--device", metavar="D", help="cpu, cuda or mps (default: the best there is)")
    add("--host", default=APP.host, metavar="H", help=f"address to serve on (default {APP.host})")
    add("--port", default=str(APP.port), metavar="P", help=f"port (default {APP.port})")
    add("--share", action="store_true", help="a public link through Gradio's servers")
    add("--root-path", metavar="P", help="where a proxy serves the app, such as /ukiyoe")
    add(
        "--max-queue", default=str(APP.max_queue), metavar="N",
        help=f"requests that may wait (default {APP.max_queue})",
    )  # fmt: skip
    add("--auth", metavar="USER:PASSWORD_FILE", help="ask for this user and the file's password")


def serve(options: argparse.Namespace) -> int:
    """Load the model, open the page, wait.

    Args:
        options: Parsed ``app`` options.

    Returns:
        The exit code.

    Raises:
        MissingExtra: If gradio is not installed.
    """
    port = _whole("port", options.port, 1, 65535)
    max_queue = _whole("max-queue", options.max_queue, 1, 10_000)
    auth = read_auth(options.auth) if options.auth is not None else None
    _check_address(options.host, port)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtra(
            "app: gradio is not installed; install it with: pip install 'ukiyoe[app]'."
        ) from error

    from ukiyoe.app import LAUNCH_OPTIONS, build_app  # noqa: PLC0415
    from ukiyoe.pipeline import UkiyoePipeline  # noqa: PLC0415

    app = build_app(UkiyoePipeline.from_pretrained(options.model, options.device), max_queue)
    _, local, public = app.launch(
        **LAUNCH_OPTIONS,
        server_name=options.host,
        server_port=port,
        share=options.share,
        root_path=options.root_path,
        auth=auth,
        prevent_thread_lock=True,
    )
    print(f"Ukiyoe is open at {local}", flush=True)
    if public:
        print(f"and for everybody at {public}", flush=True)
    try:
        app.block_thread()  # until Ctrl-C
    finally:
        app.close()
    return 0


def read_auth(text: str) -> tuple[str, str]:
    """A user and a password, which stays off the command line.

    Args:
        text: ``USER:PASSWORD_FILE``.

    Returns:
        The user, and the first line of the file.

    Raises:
        InvalidInput: If either is missing or empty.
    """
    user, colon, name = text.partition(":")
    if not user or not colon or not name:
        raise InvalidInput("auth: expected USER:PASSWORD_FILE, a user and a file with a password.")
    try:
        with Path(name).open("rb") as stream:
            lines = stream.read(MAX_PASSWORD).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"auth: cannot read a password from {name}.") from error
    if not lines or not lines[0]:
        raise InvalidInput(f"auth: the first line of {name} is empty; it should be the password.")
    return user, lines[0]


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:10]) <= most:
        raise InvalidInput(f"{name}: expected a whole number from {least} to {most}, got {text!r}.")
    return int(text)


def _check_address(host: str, port: int) -> None:
    """Fail early, before a model is loaded, if we cannot listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason: Any = error.strerror or error
        raise InvalidInput(f"port: cannot serve at {host}:{port} ({reason}).") from error
