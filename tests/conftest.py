"""Tiny real models, built with diffusers and transformers and saved to disk."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    UNet2DModel,
    VQModel,
)
from jaxtyping import install_import_hook

# Before anything imports the package: see runtime_types.py.
# The modules left out judge people's input themselves.
TENSORS = "color images model sampling guidance text tower upscaler training evaluation"
install_import_hook([f"ukiyoe.{name}" for name in TENSORS.split()], "runtime_types.check")
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_prints = pytest.mark.skipif(
    not (SHARED / "prints").is_dir(), reason="needs the prints of ../shared"
)


def tiny_unet(channels: int = 3, size: int = 16) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    )


def save_ddpm(
    folder: Path, prediction_type: str = "epsilon", safe: bool = True, **scheduler: Any
) -> Path:
    options = {"num_train_timesteps": 50, "prediction_type": prediction_type, **scheduler}
    pipeline = DDPMPipeline(unet=tiny_unet(), scheduler=DDPMScheduler(**options))
    pipeline.save_pretrained(folder, safe_serialization=safe)
    return folder


def save_ddim(folder: Path, prediction_type: str = "epsilon", safe: bool = True) -> Path:
    scheduler = DDIMScheduler(num_train_timesteps=50, prediction_type=prediction_type)
    DDIMPipeline(unet=tiny_unet(), scheduler=scheduler).save_pretrained(
        folder, safe_serialization=safe
    )
    return folder


def save_ldm(
    folder: Path, kind: str = "VQModel", prediction_type: str = "epsilon", safe: bool = True
) -> Path:
    torch.manual_seed(1)
    channels = (8, 8)
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": channels,
        "norm_num_groups": 4,
        "latent_channels": 3,
    }
    if kind == "VQModel":
        codec: Any = VQModel(**blocks, num_vq_embeddings=16)
    elif kind == "AutoencoderKL":
        codec = AutoencoderKL(**blocks)
    else:
        codec = AutoencoderTiny(
            latent_channels=3,
            encoder_block_out_channels=channels,
            decoder_block_out_channels=channels,
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
    scheduler = DDIMScheduler(
        num_train_timesteps=50, prediction_type=prediction_type, clip_sample=False
    )
    LDMPipeline(vqvae=codec, unet=tiny_unet(), scheduler=scheduler).save_pretrained(
        folder, safe_serialization=safe
    )
    return folder


@pytest.fixture(scope="session")
def ddpm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ddpm(tmp_path_factory.mktemp("ddpm"))


def save_clip(folder: Path, safe: bool = True) -> Path:
    """A tiny CLIP with a byte-level tokenizer, laid out as on the Hub."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(letter + "</w>" for letter in letters), "ab"]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    torch.manual_seed(2)
    shared = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = CLIPConfig(
        text_config={
            **shared,
            "num_attention_heads": 2,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 20,
            "eos_token_id": vocabulary["<|endoftext|>"],
            "bos_token_id": vocabulary["<|startoftext|>"],
        },
        vision_config={**shared, "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    network = CLIPModel(config)
    if safe:
        network.save_pretrained(folder)
    else:  # the layout of the oldest checkpoints
        config.save_pretrained(folder)
        torch.save(network.state_dict(), folder / "pytorch_model.bin")
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))
