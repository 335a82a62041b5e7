"""Pictures from datasets, decoded once; results to the Hub."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import save_ddpm
from ukiyoe.cli import main
from ukiyoe.errors import InvalidInput
from ukiyoe.model import load_model
from ukiyoe.training import cache as cache_module
from ukiyoe.training.cache import cached_buckets
from ukiyoe.training.data import Print, load_buckets
from ukiyoe.training.result import push
from ukiyoe.training.sources import picture_folder
from ukiyoe.training.survey import survey

pytest.importorskip("imagehash")


def picture(seed: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


# --- datasets ---------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """As huggan/ukiyoe2photo: prints in imageA, which repeat; photos in imageB."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"imageA": datasets.Image(), "imageB": datasets.Image(), "text": datasets.Value("string")}
    )
    rows = {
        "imageA": [picture(i % 5) for i in range(12)],
        "imageB": [picture(100 + i) for i in range(12)],
        "text": [f"print {i % 5}" for i in range(12)],
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "dataset")
    return tmp_path / "dataset"


def test_a_dataset_gives_each_of_its_pictures_once(dataset: Path, tmp_path: Path) -> None:
    folder = picture_folder(str(dataset), "imageA", tmp_path / "cache")
    found = survey(folder, validation_share=0)
    assert len(found.prints) == 5
    assert len(list(folder.glob("*.png"))) == 5  # repeats are not even written
    assert sorted(item.caption for item in found.prints) == [f"print {i}" for i in range(5)]
    with Image.open(found.prints[0].path) as opened:
        number = int(found.prints[0].caption[-1])
        assert np.array_equal(np.asarray(opened), np.asarray(picture(number)))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert picture_folder(str(dataset), "imageA", tmp_path / "cache") == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_splits_of_a_dataset_share_no_picture(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    splits = {
        name: datasets.Dataset.from_dict(
            {"image": [picture(i) for i in numbers]},
            features=datasets.Features({"image": datasets.Image()}),
        )
        for name, numbers in {"train": range(20), "test": range(15, 25)}.items()
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "dataset")
    found = survey(picture_folder(str(tmp_path / "dataset"), None, tmp_path / "cache"))
    assert len(found.prints) == 25
    assert sum(item.split == "val" for item in found.prints) == 2


@pytest.mark.parametrize("column", [None, "text", "imageC"])
def test_the_column_has_to_be_one_of_pictures(
    column: str | None, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"picture columns \(imageA, imageB\)"):
        picture_folder(str(dataset), column, tmp_path / "cache")


def test_hostile_cells_are_listed_not_fatal(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    cells = [{"bytes": b"no picture", "path": None}, None, {"bytes": b"", "path": None}]
    with (tmp_path / "good.png").open("wb") as file:
        picture(1).save(file, "PNG")
    cells.append({"bytes": (tmp_path / "good.png").read_bytes(), "path": None})
    rows = datasets.Dataset.from_dict(
        {"image": cells}, features=datasets.Features({"image": datasets.Image(decode=False)})
    )
    rows.save_to_disk(tmp_path / "dataset")
    found = survey(picture_folder(str(tmp_path / "dataset"), "image", tmp_path / "cache"))
    assert len(found.prints) == 1
    assert [reason.split(" ")[0] for _, reason in found.skipped] == ["broken", "broken"]


@pytest.mark.parametrize("data", ["nowhere", "a/b/c", "./a/b"])
def test_data_that_is_nothing_is_one_sentence(data: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a folder of pictures, a saved dataset or a Hub id"):
        picture_folder(data, None, tmp_path)


def test_a_dataset_out_of_reach_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")

    def away(name: str) -> None:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(InvalidInput, match=r"'some/prints' \(ConnectionError\); check") as raised:
        picture_folder("some/prints", None, tmp_path)
    assert "\n" not in str(raised.value)


def test_training_on_a_dataset_is_one_command(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ukiyoe.training.watch.SAMPLING_STEPS", 2)
    start = save_ddpm(tmp_path / "start")
    options = ["--data", str(dataset), "--image-column", "imageA", "--from", str(start)]
    assert main(["train", *options, "--output", str(tmp_path / "out"), "--steps", "1"]) == 0
    assert load_model(tmp_path / "out", "cpu").latent_shape("square") == (3, 16, 16)


# --- the cache --------------------------------------------------------------------------------


@pytest.fixture
def prints(tmp_path: Path) -> list[Print]:
    shapes = [(40, 60), (60, 40), (50, 50), (120, 40), (40, 58)]
    for index, shape in enumerate(shapes):
        picture(index, shape).save(tmp_path / f"{index}.png")
    return [Print(tmp_path / f"{index}.png") for index in range(len(shapes))]


SIZES = {"portrait": (24, 16), "landscape": (16, 24), "square": (16, 16)}


def test_cached_pictures_are_those_in_memory(
    prints: list[Print], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [f"content {i}" for i in range(len(prints))]
    plain = load_buckets(prints, SIZES, 1.1)
    cached = cached_buckets(tmp_path / "cache", prints, contents, SIZES, 1.1)
    assert cached.keys() == plain.keys()
    for name, bucket in plain.items():
        assert torch.equal(cached[name].pixels, bucket.pixels)
        assert (cached[name].prints, cached[name].size) == (bucket.prints, bucket.size)

    def never(*arguments: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache_module, "cut_prints", never)
    renamed = [Print(item.path.rename(item.path.with_suffix(".moved"))) for item in prints]
    again = cached_buckets(tmp_path / "cache", renamed, contents, SIZES, 1.1)
    assert torch.equal(again["square"].pixels, plain["square"].pixels)
    for other, jitter in (([*contents[:-1], "changed"], 1.1), (contents, 1.2)):
        with pytest.raises(AssertionError, match="decoded again"):
            cached_buckets(tmp_path / "cache", renamed, other, SIZES, jitter)


def test_writing_to_cached_pictures_changes_no_file(prints: list[Print], tmp_path: Path) -> None:
    arguments: Any = (tmp_path / "cache", prints, ["a"] * len(prints), SIZES, 1.0)
    first = cached_buckets(*arguments)["square"].pixels
    before = first.clone()
    first.zero_()
    assert torch.equal(cached_buckets(*arguments)["square"].pixels, before)


def test_an_interrupted_cache_leaves_nothing(
    prints: list[Print], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(items: list[Print]) -> Iterator[Print]:
        yield items[0]
        raise KeyboardInterrupt

    contents = ["a"] * len(prints)
    with pytest.raises(KeyboardInterrupt):
        cached_buckets(tmp_path / "cache", prints, contents, SIZES, 1.0, stopped)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_broken_or_full_cache_is_one_sentence(prints: list[Print], tmp_path: Path) -> None:
    contents = ["a"] * len(prints)
    cached_buckets(tmp_path / "cache", prints, contents, SIZES, 1.0)
    (index,) = (tmp_path / "cache").rglob("index.json")
    index.write_text("{")
    with pytest.raises(InvalidInput, match="is broken; delete it"):
        cached_buckets(tmp_path / "cache", prints, contents, SIZES, 1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"cannot write .*XDG_CACHE_HOME"):
        cached_buckets(tmp_path / "file" / "cache", prints, contents, SIZES, 1.0)


# --- the Hub ----------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """The few endpoints that an upload uses."""

    asked: ClassVar[list[str]] = []
    stored: ClassVar[dict[str, bytes]] = {}
    files: ClassVar[dict[str, bytes]] = {}
    allowed = True

    def log_message(self, *arguments: Any) -> None:
        """Keep quiet."""

    def _answer(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        self.stored[self.path.rsplit("/", 1)[-1]] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        self.asked.append(self.path)
        here, body = f"http://{self.headers['Host']}", self._body()
        if not self.allowed or self.headers.get("Authorization") != "Bearer secret":
            self._answer({"error": "no"}, 401)
        elif self.path == "/api/repos/create":
            wish = json.loads(body)
            name = f"{wish['organization']}/{wish['name']}"
            self._answer({"url": f"{here}/{name}", "id": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            self._answer(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith("s") else "regular",
                            "shouldIgnore": False,
                        }
                        for file in json.loads(body)["files"]
                    ]
                }
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{here}/lfs/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.stored[value["oid"]]
            self._answer(
                {"success": True, "commitOid": "1" * 40, "commitUrl": f"{here}/me/prints/commit/1"}
            )
        else:
            self._answer({"error": self.path}, 404)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "secret")
    Hub.asked, Hub.stored, Hub.files, Hub.allowed = [], {}, {}, True
    yield address
    server.shutdown()
    server.server_close()


def test_a_result_is_uploaded_without_checkpoints_and_paths(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ukiyoe.training.watch.SAMPLING_STEPS", 2)
    data = tmp_path / "pictures"
    data.mkdir()
    for seed in range(4):
        picture(seed).save(data / f"{seed}.png")
    options = ["--data", str(data), "--output", str(tmp_path / "out"), "--steps", "1"]
    start = str(save_ddpm(tmp_path / "start"))
    assert main(["train", *options, "--from", start, "--push-to-hub", "me/prints"]) == 0
    assert f"uploaded to {hub}/me/prints" in capsys.readouterr().out
    assert Hub.asked[0] == "/api/repos/create"
    assert set(Hub.files) == {
        "model_index.json",
        "README.md",
        "samples.png",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    (digest,) = Hub.stored
    weights = tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest
    card = Hub.files["README.md"].decode()
    assert 'from_pretrained("me/prints")' in card
    assert str(tmp_path) not in card
    downloaded = tmp_path / "downloaded"
    for name, content in Hub.files.items():
        (downloaded / name).parent.mkdir(parents=True, exist_ok=True)
        (downloaded / name).write_bytes(content)
    assert load_model(downloaded, "cpu").latent_shape("square") == (3, 16, 16)


def test_a_hub_that_says_no_is_one_sentence(hub: str, tmp_path: Path) -> None:
    Hub.allowed = False
    (tmp_path / "README.md").write_text("")
    with pytest.raises(
        InvalidInput, match=r"cannot upload to 'me/prints'.*hf auth login"
    ) as raised:
        push(tmp_path, "me/prints")
    assert "\n" not in str(raised.value)
