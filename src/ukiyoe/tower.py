"""A noise-aware image tower: a picture under any amount of noise -> the text space."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.errors import ModelError

FOLD = 2  # side of the block of pixels that becomes channels before the first layer


class TimedBlock(nn.Module):
    """Residual block whose features are scaled and shifted by the noise level."""

    def __init__(self, channels_in: int, channels: int, time_channels: int) -> None:
        super().__init__()
        stride = 1 if channels_in == channels else 2
        self.norm_1 = nn.GroupNorm(8, channels_in)
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1, stride=stride)
        self.modulate = nn.Linear(time_channels, 2 * channels)
        self.norm_2 = nn.GroupNorm(8, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if stride == 2 else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Transform features, halving the resolution where channels change."""
        shortcut = x
        if not isinstance(self.shortcut, nn.Identity):
            shortcut = self.shortcut(F.avg_pool2d(x, 2))
        x = self.first(F.silu(self.norm_1(x)))
        scale, shift = self.modulate(time)[:, :, None, None].chunk(2, dim=1)
        x = self.second(F.silu(self.norm_2(x) * (1 + scale) + shift))
        result: Tensor = shortcut + x
        return result


class NoisyTower(nn.Module):
    """Reads what a noisy sample shows, so that guidance needs no clean picture.

    It sees noisy pixels, whatever codec the U-Net works behind. The classifier of Dhariwal &
    Nichol 2021 (arXiv 2105.05233, section 4), with the text space in place of classes. The
    length of the embedding says how sure it is: pure noise maps near 0.
    """

    def __init__(
        self,
        dims: int = 128,
        channels: Sequence[int] = (64, 128, 192),
        blocks: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "dims": dims,
            "channels": list(channels),
            "blocks": blocks,
        }
        time_channels = 128
        self.time = nn.Sequential(
            nn.Linear(32, time_channels),
            nn.SiLU(),
            nn.Linear(time_channels, time_channels),
            nn.SiLU(),
        )
        self.stem = nn.Conv2d(3 * FOLD**2, channels[0], 4, stride=2, padding=1)
        layers: list[nn.Module] = []
        before = channels[0]
        for width in channels:
            for _ in range(blocks):
                layers.append(TimedBlock(before, width, time_channels))
                before = width
        self.blocks = nn.ModuleList(layers)
        self.norm = nn.GroupNorm(8, before)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * before, dims)

    def forward(
        self,
        sample: Float[Tensor, " batch 3 height width"],
        alpha_bar: Float[Tensor, " batch"],
    ) -> Float[Tensor, " batch dims"]:
        """Embed noisy samples.

        Args:
            sample: x_t as pixels.
            alpha_bar: Share of signal variance of each.

        Returns:
            Embeddings in the text space; longer means surer.
        """
        angle = torch.acos(alpha_bar.sqrt())  # 0 is clean, pi / 2 is noise
        frequencies = 2.0 ** torch.arange(16, device=angle.device) * (math.pi / 64)
        waves = angle[:, None] * frequencies
        time = self.time(torch.cat([waves.sin(), waves.cos()], dim=1).to(sample.dtype))
        x = self.stem(F.pixel_unshuffle(sample, FOLD))
        for block in self.blocks:
            x = block(x, time)
        x = F.silu(self.norm(x))
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        result: Tensor = self.head(self.dropout(pooled))
        return result


def save_tower(tower: NoisyTower, concepts: Sequence[str], folder: Path) -> None:
    """Write a tower and the concepts it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**tower.config, "concepts": list(concepts)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = {key: value.detach().half().contiguous() for key, value in tower.state_dict().items()}
    save_file(state, folder / "model.safetensors")


def load_tower(folder: Path) -> tuple[NoisyTower, list[str]]:
    """Read a tower.

    Args:
        folder: Written by `save_tower`.

    Returns:
        The tower in float32, frozen, and the concepts it was trained on.

    Raises:
        ModelError: If the folder is incomplete or broken.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        concepts = config.pop("concepts")
        tower = NoisyTower(**config)
        state = load_file(folder / "model.safetensors")
        tower.load_state_dict({key: value.float() for key, value in state.items()})
    except Exception as error:  # truncated, foreign or hostile files fail in many ways
        raise ModelError(f"text encoder: the tower in {folder} is missing or broken.") from error
    return tower.eval().requires_grad_(False), concepts
