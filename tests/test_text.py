import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import save_clip
from ukiyoe.errors import InvalidInput, MissingExtra, ModelError
from ukiyoe.guidance import GuidanceState, clip_text_guide, packaged_text_guide
from ukiyoe.text import ClipEncoder, PackagedEncoder, TextTable
from ukiyoe.tower import NoisyTower, load_tower, save_tower

CPU = torch.device("cpu")
CONCEPTS = ["wave", "sea", "mountain", "cherry blossom", "kimono", "sword", "cat", "kite"]


@pytest.fixture(scope="module")
def table() -> TextTable:
    return TextTable.load()


@pytest.fixture(scope="module")
def encoder(table: TextTable) -> PackagedEncoder:
    torch.manual_seed(0)
    return PackagedEncoder(table, NoisyTower(channels=(8, 16), blocks=1).eval(), CONCEPTS)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("a sakura tree", "cherry blossom", "sword"),
        ("the ocean", "sea", "kimono"),
        ("Mountains", "mountain", "cat"),
        ("a kitten", "cat", "sword"),
        ("mount Fuji", "mountain", "kimono"),
    ],
)
def test_words_lie_near_their_meaning(table: TextTable, text: str, near: str, far: str) -> None:
    x, y, z = table.embed([text, near, far])
    assert float(x @ y) > 0.45 > float(x @ z)


def test_embeddings_are_unit_and_repeatable(table: TextTable) -> None:
    first, second = table.embed(["a wave"]), table.embed(["a wave", "boats"])
    assert torch.equal(first[0], second[0])
    assert torch.allclose(second.norm(dim=1), torch.ones(2))


def test_a_text_without_words_is_refused(table: TextTable) -> None:
    with pytest.raises(InvalidInput, match=r"^prompt: expected words"):
        table.embed(["?!"])


@pytest.mark.parametrize("prompt", ["a wave", "the great wave off kanagawa", "mountains", "sakura"])
def test_known_prompts(encoder: PackagedEncoder, prompt: str) -> None:
    assert encoder.understand(prompt).known


@pytest.mark.parametrize("prompt", ["a helicopter", "a laptop computer", "stock market", "xqzzt"])
def test_unknown_prompts_use_their_nearest_concepts(encoder: PackagedEncoder, prompt: str) -> None:
    understanding = encoder.understand(prompt)
    assert not understanding.known
    assert len(understanding.concepts) == 3
    nearest = encoder.table.embed([understanding.concepts[0][0]])[0]
    assert float(encoder.embed_text(prompt) @ nearest) > 0.5


def test_broken_tables_and_towers(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="table"):
        TextTable.load(tmp_path)
    tower = NoisyTower(channels=(8, 16), blocks=1)
    save_tower(tower, CONCEPTS, tmp_path)
    again, concepts = load_tower(tmp_path)
    assert concepts == CONCEPTS
    x, level = torch.randn(2, 3, 32, 48), torch.tensor([0.1, 0.9])
    with torch.no_grad():
        assert torch.allclose(again(x, level), tower.eval()(x, level), atol=2e-2)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="tower"):
        load_tower(tmp_path)


def test_a_model_without_a_tower_says_what_to_do(ddpm_folder: Path) -> None:
    with pytest.raises(InvalidInput, match="--text-encoder"):
        PackagedEncoder.load(ddpm_folder, CPU)


def test_packaged_guide_differentiates_through_the_noisy_sample(encoder: PackagedEncoder) -> None:
    leaf = torch.randn(2, 3, 48, 32, requires_grad=True)
    state = GuidanceState(leaf * 0.5, 600, 0.25, leaf, [], lambda x: x)
    loss = packaged_text_guide(encoder, "a wave")(state)
    assert loss.shape == (2,)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("safe", [True, False])
def test_clip_loads_both_formats(tmp_path: Path, safe: bool) -> None:
    encoder = ClipEncoder.from_pretrained(str(save_clip(tmp_path / "clip", safe)), CPU)
    assert encoder.embed_text("a wave").norm() == pytest.approx(1, abs=1e-5)
    assert encoder.image_size == 16
    assert len(encoder.weight_hash) == 16


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(clip_folder), CPU)


def test_clip_sees_zero_to_one_normalized_by_its_own_statistics(clip: ClipEncoder) -> None:
    """Mid-gray is 0.5 in CLIP's range; [-1, 1] fed in directly would give 0."""
    seen = []
    forward = clip.network.get_image_features

    def spy(pixel_values: Tensor) -> object:
        seen.append(pixel_values)
        return forward(pixel_values=pixel_values)

    clip.network.get_image_features = spy
    clip.embed_images(torch.zeros(1, 3, 16, 16), [torch.Generator()], 1)
    del clip.network.get_image_features
    expected = (0.5 - 0.48145466) / 0.26862954
    assert torch.allclose(seen[0][:, 0], torch.tensor(expected), atol=1e-5)


def test_crops_belong_to_their_picture_alone(clip: ClipEncoder) -> None:
    pictures = torch.rand(3, 3, 24, 16) * 2 - 1

    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    together = clip.embed_images(pictures, generators(1, 2, 3), 4)
    alone = clip.embed_images(pictures[1:2], generators(2), 4)
    assert together.shape == (4, 3, 8)
    assert torch.allclose(together[:, 1], alone[:, 0], atol=1e-5)
    assert not torch.allclose(together[0, 1], together[1, 1], atol=1e-4)


def test_clip_guide_reaches_the_pixels(clip: ClipEncoder) -> None:
    leaf = torch.zeros(2, 3, 24, 16, requires_grad=True)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    state = GuidanceState(leaf, 600, 0.25, leaf, generators, lambda x: x)
    loss = clip_text_guide(clip, "a wave")(state)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert loss.shape == (2,)
    assert bool((gradient.abs().sum(dim=(1, 2, 3)) > 0).all())


def _remove(*names: str):  # type: ignore[no-untyped-def]
    return lambda folder: [(folder / name).unlink() for name in names]


CLIP_BREAKS = {
    "no config": _remove("config.json"),
    "no weights": _remove("model.safetensors"),
    "no tokenizer": _remove("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    "no processor": _remove("preprocessor_config.json"),
    "truncated": lambda f: (f / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}"),
    "config is no json": lambda f: (f / "config.json").write_text("{"),
}


@pytest.mark.parametrize("name", CLIP_BREAKS)
def test_broken_clip_folders(tmp_path: Path, name: str) -> None:
    folder = save_clip(tmp_path / "clip")
    CLIP_BREAKS[name](folder)
    with pytest.raises(ModelError, match=r"^text_encoder: ") as caught:
        ClipEncoder.from_pretrained(str(folder), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "./x", "", "a/b/c"])
def test_clip_names_that_are_nothing(name: str) -> None:
    with pytest.raises(ModelError, match=r"^text_encoder: "):
        ClipEncoder.from_pretrained(name, CPU)


@pytest.mark.parametrize("prompt", ["", "   ", "!!!", "🌊", "桜"])
def test_no_known_word_piece_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidInput, match="expected words"):
        TextTable.load().embed([prompt])


def test_unknown_characters_are_passed_over_and_ukiyoe_is_not_a_man() -> None:
    encoder = PackagedEncoder(
        TextTable.load(), NoisyTower(channels=(8, 16)), ["wave", "man", "sea"]
    )
    assert encoder.understand("a 桜 wave").concepts[0][0] == "wave"
    assert not encoder.understand("ukiyo-e").known
    with pytest.raises(InvalidInput):
        encoder.understand("!!!")


def test_prompts_differ_and_long_ones_are_cut(clip: ClipEncoder) -> None:
    assert not torch.allclose(clip.embed_text("a wave"), clip.embed_text("a boat"))
    assert clip.embed_text("wave " * 200).shape == (8,)


def test_crops_reach_both_ends_and_are_never_mirrored(clip: ClipEncoder) -> None:
    ramp = torch.linspace(-1, 1, 60).expand(1, 3, 40, 60)
    generator = torch.Generator().manual_seed(0)
    crops = torch.cat([clip._crop(ramp, generator) for _ in range(64)])
    assert crops.amin() < -0.94
    assert crops.amax() > 0.94
    assert bool((crops[..., -1] > crops[..., 0]).all())


def test_weights_are_frozen_float32(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    weights = list(ClipEncoder.from_pretrained(str(folder), CPU).network.parameters())
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert not any(weight.requires_grad for weight in weights)


def test_a_tilde_is_home(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(clip_folder.parent))
    assert ClipEncoder.from_pretrained(f"~/{clip_folder.name}", CPU).image_size == 16


def test_statistics_of_something_else(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="text_encoder"):
        ClipEncoder.from_pretrained(str(folder), CPU)


def test_weights_of_something_else(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if not key.startswith("vision_model")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not CLIP's"):
        ClipEncoder.from_pretrained(str(folder), CPU)


def test_a_pickle_that_runs_code_is_never_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    folder = save_clip(tmp_path / "clip", safe=False)
    torch.save({"weight": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        ClipEncoder.from_pretrained(str(folder), CPU)
    assert not (tmp_path / "ran").exists()


def test_missing_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ukiyoe\[text\]'"):
        ClipEncoder.from_pretrained("openai/clip-vit-base-patch32", CPU)
