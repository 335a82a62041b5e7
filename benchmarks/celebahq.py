"""The networks of the published recipe, with random weights: only their time is compared."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel

from ukiyoe.model import Model, SpaceToDepth

# google/ddpm-celebahq-256: 113.7 M parameters, attention at 16 px, one head.
CELEBAHQ = {
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4),
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
TINY = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}


def unet(side: int, tiny: bool = False) -> Any:
    """The U-Net for pictures of a side, in evaluation mode."""
    torch.manual_seed(0)
    network = UNet2DModel(sample_size=side, **(TINY if tiny else CELEBAHQ))
    network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def model(side: int, tiny: bool = False) -> Model:
    """The same as one of our models."""
    network = unet(side, tiny)
    return Model(
        name="celebahq-shaped",
        folder=Path(),
        unet=network,
        scheduler=DDPMScheduler(num_train_timesteps=1000),
        codec=SpaceToDepth(1),
        upscaler=None,
        sizes={"square": (side, side)},
        default_orientation="square",
        extras={},
        weight_hash="random",
    )


def clip(tiny: bool = False) -> Any:
    """CLIP ViT-B/32."""
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    config = CLIPConfig(text_config=small, vision_config=small) if tiny else CLIPConfig()
    return CLIPModel(config).eval().requires_grad_(False)
