"""LPIPS: how different two pictures look to a network (Zhang et al. 2018)."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.errors import InvalidInput

# AlexNet's convolutions: torchvision's index, stride, padding, and whether pooling comes before.
LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))


class Lpips(nn.Module):
    """Weighted distance of AlexNet features; 0 is equal, about 0.7 unrelated."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            weights = load_file(path)
            self.layers = [
                (weights[f"features.{i}.weight"], weights[f"features.{i}.bias"], stride, pad, pool)
                for i, stride, pad, pool in LAYERS
            ]
            self.heads = [weights[f"lin{i}.weight"] for i in range(len(LAYERS))]
        except Exception as error:
            raise InvalidInput(f"lpips: {path} is missing or holds no LPIPS weights.") from error
        # The statistics of LPIPS v0.1, for pictures in [-1, 1].
        self.shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        self.scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

    def activations(self, images: Tensor) -> list[Tensor]:
        """AlexNet's five activations of pictures in [-1, 1]."""
        x = (images - self.shift) / self.scale
        found = []
        for weight, bias, stride, padding, pool in self.layers:
            if pool:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            found.append(x)
        return found

    def features(self, images: Tensor) -> list[Tensor]:
        """The same, each pixel of unit length."""
        activations = [x.float() for x in self.activations(images)]
        return [x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt() for x in activations]

    def forward(
        self,
        images: Float[Tensor, " batch 3 height width"],
        targets: Float[Tensor, " batch 3 height width"],
    ) -> Float[Tensor, " batch"]:
        """Distance of every picture from its target, both in [-1, 1]."""
        with torch.no_grad():
            wanted = self.features(targets)
        distance = images.new_zeros(len(images), dtype=torch.float32)
        for x, y, head in zip(self.features(images), wanted, self.heads, strict=True):
            distance = distance + F.conv2d((x - y).square(), head).mean(dim=(1, 2, 3))
        return distance
