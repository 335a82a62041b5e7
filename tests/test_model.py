import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC, DDIMScheduler, DDPMPipeline, LDMPipeline
from safetensors.torch import load_file, save_file

from conftest import save_ddim, save_ddpm, save_ldm
from ukiyoe.errors import InvalidInput, ModelError
from ukiyoe.model import Autoencoder, SpaceToDepth, load_model

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_space_to_depth_is_orthonormal_and_reversible() -> None:
    images = torch.randn(2, 3, 8, 12)
    codec = SpaceToDepth(2)
    latents = codec.encode(images)
    assert latents.shape == (2, 12, 4, 6)
    assert torch.equal(codec.decode(latents), images)
    assert torch.allclose(latents.norm(), images.norm())


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("save", [save_ddpm, save_ddim, save_ldm])
def test_loads_what_diffusers_saved(tmp_path: Path, save, safe: bool) -> None:  # type: ignore[no-untyped-def]
    folder = save(tmp_path / "m", safe=safe)
    assert bool(list(folder.rglob("*.bin"))) != safe
    model = load_model(folder, "cpu")
    cls = LDMPipeline if save is save_ldm else DDPMPipeline
    reference = cls.from_pretrained(folder, low_cpu_mem_usage=False)
    x = torch.randn(1, *model.latent_shape("square"))
    with torch.no_grad():
        expected = reference.unet(x, 7).sample
        assert torch.allclose(model.unet(x, 7).sample, expected, atol=1e-6)
    assert len(model.weight_hash) == 16


@pytest.mark.parametrize("kind", ["VQModel", "AutoencoderKL", "AutoencoderTiny"])
def test_autoencoders_decode_as_their_pipeline_does(tmp_path: Path, kind: str) -> None:
    model = load_model(save_ldm(tmp_path / "m", kind), "cpu")
    assert isinstance(model.codec, Autoencoder)
    assert model.codec.factor == 2
    assert model.picture_size("square") == (32, 32)
    latents = torch.randn(1, 3, 16, 16)
    scale = model.codec.network.config.scaling_factor
    with torch.no_grad():
        expected = model.codec.network.decode(latents / scale).sample
        assert torch.allclose(model.codec.decode(latents), expected, atol=1e-6)
        assert model.codec.encode(torch.zeros(1, 3, 32, 32)).shape == latents.shape


def test_dc_autoencoder_encodes() -> None:
    network = AutoencoderDC(
        latent_channels=4, attention_head_dim=8,
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()),
    )  # fmt: skip
    codec = Autoencoder(network, 2)
    with torch.no_grad():
        latents = codec.encode(torch.zeros(1, 3, 16, 16))
        assert codec.decode(latents).shape == (1, 3, 16, 16)


def test_the_oldest_layout_keeps_everything_at_the_top(tmp_path: Path) -> None:
    """google/ddpm-celebahq-256 has no sub-folders."""
    folder = save_ddpm(tmp_path / "m", safe=False)
    for name in ("unet", "scheduler"):
        for path in (folder / name).iterdir():
            path.rename(folder / path.name)
        (folder / name).rmdir()
    assert load_model(folder, "cpu").num_train_timesteps == 50


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("timestep", [0, 25, 49])
def test_x0_agrees_with_diffusers(tmp_path: Path, prediction_type: str, timestep: int) -> None:
    model = load_model(save_ddim(tmp_path / "m", prediction_type), "cpu")
    reference = DDIMScheduler.from_pretrained(tmp_path / "m", subfolder="scheduler")
    reference.set_timesteps(50)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        output = model.unet(x, timestep).sample
        expected = reference.step(output, timestep, x).pred_original_sample
        alpha_bar = float(reference.alphas_cumprod[timestep])
        found = model.predict_original(x, timestep, alpha_bar)
    assert torch.allclose(found, expected, atol=1e-4)


def test_clipping_is_the_checkpoints_own(tmp_path: Path) -> None:
    x = 50 * torch.randn(1, 3, 16, 16)
    for clip, name in ((True, "a"), (False, "b")):
        folder = save_ddpm(tmp_path / name, clip_sample=clip, clip_sample_range=2.0)
        model = load_model(folder, "cpu")
        with torch.no_grad():
            top = float(model.predict_original(x, 40, 0.5).abs().max())
        assert (top == 2.0) == clip


def test_orientations_halve_evenly(ddpm_folder: Path) -> None:
    model = load_model(ddpm_folder, "cpu")
    for name in ("portrait", "landscape", "square"):
        height, width = model.sizes[name]
        assert height % 2 == width % 2 == 0
    assert model.sizes["square"] == (16, 16)
    assert model.sizes["portrait"] == model.sizes["landscape"][::-1]
    assert model.default_orientation == "square"


def _truncate(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:2000])


def _drop_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state.pop("conv_in.weight")
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def _reshape_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state["conv_in.weight"] = torch.zeros(9, 3, 3, 3)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def _edit(path: str, **changes: object):  # type: ignore[no-untyped-def]
    def edit(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps({**content, **changes}))

    return edit


def _pickle_code(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"a": Path}, folder / "unet/diffusion_pytorch_model.bin")


BREAKS = {
    "no index": lambda f: (f / "model_index.json").unlink(),
    "index is no json": lambda f: (f / "model_index.json").write_text("{"),
    "index is a list": lambda f: (f / "model_index.json").write_text("[]"),
    "index without unet": lambda f: (f / "model_index.json").write_text("{}"),
    "another kind of network": _edit(
        "model_index.json", unet=["diffusers", "UNet2DConditionModel"]
    ),
    "foreign autoencoder": _edit("model_index.json", vae=["diffusers", "Evil"]),
    "autoencoder not there": _edit("model_index.json", vqvae=["diffusers", "VQModel"]),
    "truncated weights": _truncate,
    "empty weights": lambda f: (f / WEIGHTS).write_bytes(b""),
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "a weight is missing": _drop_weight,
    "a weight of another shape": _reshape_weight,
    "no unet config": lambda f: (f / "unet/config.json").unlink(),
    "scheduler is no json": lambda f: (f / "scheduler/scheduler_config.json").write_text("x"),
    "no scheduler": lambda f: (f / "scheduler/scheduler_config.json").unlink(),
    "strange betas": _edit("scheduler/scheduler_config.json", beta_schedule="wavy"),
    "strange prediction": _edit("scheduler/scheduler_config.json", prediction_type="flow"),
    "latents without a codec": lambda f: (f / "ukiyoe.json").write_text('{"space_to_depth": 2}'),
    "upscaler not there": lambda f: (f / "ukiyoe.json").write_text('{"upscaler": {}}'),
    "extras are no json": lambda f: (f / "ukiyoe.json").write_text("]"),
    "pickled code": _pickle_code,
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_broken_folders_are_one_sentence(tmp_path: Path, name: str) -> None:
    folder = save_ddpm(tmp_path / "m")
    BREAKS[name](folder)
    with pytest.raises(ModelError) as caught:
        load_model(folder, "cpu")
    assert str(caught.value).startswith("model: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "a/b/c", "", "own er/na me"])
def test_names_that_are_nothing(name: str) -> None:
    with pytest.raises(ModelError, match=r"^model: "):
        load_model(name, "cpu")


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot download 'google/ddpm-celebahq-256'"):
        load_model("google/ddpm-celebahq-256", "cpu")


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InvalidInput, match=r"^device: expected cpu"):
        load_model("packaged", "tpu")
