"""The app as programs see it: endpoints, limits, hostile input; and `ukiyoe app`'s own options."""

import base64
import io
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import save_ddpm
from ukiyoe.cli import main
from ukiyoe.cli_app import read_auth
from ukiyoe.errors import InvalidInput
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.recipe import Recipe, read_recipe

# --- the command line: no gradio needed -----------------------------------------------------


def test_a_password_comes_from_the_first_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("öpen sésame\nnot this\n", encoding="utf-8")
    assert read_auth(f"hokusai:{tmp_path / 'secret'}") == ("hokusai", "öpen sésame")


@pytest.mark.parametrize("text", ["", "hokusai", ":file", "hokusai:", "hokusai:nowhere"])
def test_a_bad_auth(text: str) -> None:
    with pytest.raises(InvalidInput, match="auth: "):
        read_auth(text)


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\nnot this")
    with pytest.raises(InvalidInput, match="is empty"):
        read_auth(f"hokusai:{tmp_path / 'secret'}")


@pytest.mark.parametrize(
    "arguments",
    [["--port", "0"], ["--port", "70000"], ["--port", "http"], ["--port", "9" * 5000],
     ["--max-queue", "0"], ["--max-queue", "-1"], ["--auth", "nobody"],
     ["--host", "no.such.host.invalid"], ["--port", "1", "--host", "203.0.113.1"]],
)  # fmt: skip
def test_bad_options_are_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ukiyoe: ")
    assert told.count("\n") == 1


def test_a_port_in_use_is_told_before_a_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port), "--model", "./nowhere"]) == 2
    assert f"port: cannot serve at 127.0.0.1:{port}" in capsys.readouterr().err


# --- the endpoints --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="needs the extra app: pip install 'ukiyoe[app]'")
    from ukiyoe.app import LAUNCH_OPTIONS, build_app

    folder = save_ddpm(tmp_path_factory.mktemp("app") / "m", num_train_timesteps=200)
    app = build_app(UkiyoePipeline.from_pretrained(folder, "cpu"))
    _, address, _ = app.launch(**LAUNCH_OPTIONS, prevent_thread_lock=True, server_name="127.0.0.1")
    yield address
    app.close()


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    from gradio_client import Client

    return Client(url, verbose=False)


def recipe_of(answer: dict[str, Any], folder: Path) -> tuple[Recipe, np.ndarray]:
    path = folder / "answer.png"
    path.write_bytes(base64.b64decode(answer["png_base64"]))
    return read_recipe(str(path)), np.asarray(Image.open(path), dtype=int)


def test_generate_then_edit_at_the_same_seed(client: Any, tmp_path: Path) -> None:
    one, two = client.predict(color="teal", seed=7, count=2, steps=3, api_name="/generate")
    recipe, own = recipe_of(one, tmp_path)
    assert (recipe.seed, recipe.color, recipe.num_inference_steps) == (7, "#008080", 3)
    assert two["seed"] == 8
    assert one["delta_e_2000"] > 0 and one["mean_color"].startswith("#")
    (again,) = client.predict(recipe=one["share"], api_name="/edit")
    assert np.array_equal(recipe_of(again, tmp_path)[1], own)
    (red,) = client.predict(recipe=recipe.to_json(), color="red", color_scale=10, api_name="/edit")
    changed, picture = recipe_of(red, tmp_path)
    assert (changed.seed, changed.color, changed.color_scale) == (7, "#ff0000", 10)
    assert picture[..., 0].mean() > own[..., 0].mean() + 5


def test_only_the_documented_endpoints_are_public(client: Any) -> None:
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/generate", "/edit"}


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("/generate", {"count": 9}, "count: expected 1 to 8"),
    ("/generate", {"count": 10**9}, "count: expected 1 to 8"),
    ("/generate", {"count": "2"}, "count: expected 1 to 8"),
    ("/generate", {"steps": 101}, "steps: expected 1 to 100"),
    ("/generate", {"steps": 0}, "steps: expected"),
    ("/generate", {"steps": 2.5}, "steps: expected"),
    ("/generate", {"seed": -1}, "seed: expected"),
    ("/generate", {"seed": 2**63}, "seed: expected"),
    ("/generate", {"seed": "seven"}, "seed: expected"),
    ("/generate", {"seed": None}, "seed: expected"),
    ("/generate", {"color_scale": 11}, "color_scale: expected a number from 0 to 10"),
    ("/generate", {"text_scale": [5]}, "text_scale: expected"),
    ("/generate", {"color": "url(http://x)"}, "color: expected"),
    ("/generate", {"color": 7}, "color: expected"),
    ("/generate", {"prompt": "wave " * 200_000}, "prompt: expected at most 1000"),
    ("/generate", {"prompt": {"a": 1}}, "prompt: expected"),
    ("/generate", {"prompt": "a wave"}, "text"),  # this model has no text tower
    ("/generate", {"solver": "../../x"}, "solver: expected one of"),
    ("/generate", {"orientation": ["square"]}, "orientation: expected"),
    ("/edit", {"recipe": "/etc/passwd"}, "recipe: expected a share string"),
    ("/edit", {"recipe": "ukiyoe1:AAAA"}, "recipe: the share string is damaged"),
    ("/edit", {"recipe": '{"text_encoder": "/etc"}'}, "text_encoder: expected"),
    ("/edit", {"recipe": '{"num_inference_steps": 1000}'}, "steps: expected 1 to 100"),
    ("/edit", {"recipe": '{"a": 1}'}, "recipe: unknown field"),
    ("/edit", {"recipe": 7}, "recipe: expected a share string"),
    ("/edit", {"recipe": "{}", "variation": 0.5}, "variation: expected"),
]


@pytest.mark.parametrize(("endpoint", "arguments", "message"), HOSTILE)
def test_hostile_requests_get_a_clear_error(
    client: Any, endpoint: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message) as told:
        client.predict(**arguments, api_name=endpoint)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400"])
def test_numbers_that_are_none(url: str, value: str) -> None:
    body = f'{{"data": [null, 5, null, {value}, 0, 1, 2, "ddim", "square"]}}'.encode()
    call = f"{url}gradio_api/call/generate"
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            event = json.load(answer)["event_id"]
    except urllib.error.HTTPError as error:  # refused at the door
        assert error.code in {400, 422}
        return
    with urllib.request.urlopen(f"{call}/{event}") as answer:
        told = answer.read().decode()
    assert "event: error" in told
    assert "color_scale: expected a number from 0 to 10" in told


def test_after_all_that_the_app_goes_on(client: Any) -> None:
    (answer,) = client.predict(seed=1, steps=1, api_name="/generate")
    assert Image.open(io.BytesIO(base64.b64decode(answer["png_base64"]))).size == (16, 16)


def test_files_of_the_server_are_not_served(url: str) -> None:
    for path in ("/etc/passwd", str(Path(__file__).resolve())):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}gradio_api/file={path}")


def test_the_page_is_configured_to_keep_to_itself(url: str) -> None:
    with urllib.request.urlopen(f"{url}config") as answer:
        config = json.load(answer)
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert "fonts.googleapis" not in json.dumps(config)
