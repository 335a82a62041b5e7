"""Tells prints from what the upscaler makes, so that it learns to make prints."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from ukiyoe.training.perceptual import Lpips

# Channels of AlexNet's activations, and their root mean squares on our prints.
ACTIVATIONS = ((64, 1.23), (192, 1.90), (384, 1.89), (256, 1.47), (256, 0.84))
WIDTH = 64


class Adversary(nn.Module):
    """A small judge on each activation of a frozen AlexNet.

    The frozen network sees what pixels show; the judges only learn which of it tells a print from
    an imitation. They see it at once, where a network of their own would take days to learn to see.

    Source:
        Sauer et al. 2021, "Projected GANs Converge Faster" (arXiv 2111.01007), section 3;
        hinge loss: Lim & Ye 2017 (arXiv 1705.02894).
    """

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(_judge(channels) for channels, _ in ACTIVATIONS)

    def forward(self, activations: list[Tensor]) -> list[Tensor]:
        """How much like a print each place of each activation looks; higher is more."""
        return [
            judge(x / size)
            for judge, x, (_, size) in zip(self.judges, activations, ACTIVATIONS, strict=True)
        ]


def _judge(channels: int) -> nn.Module:
    def layer(before: int, after: int, side: int) -> nn.Module:
        convolution: nn.Module = spectral_norm(nn.Conv2d(before, after, side, padding=side // 2))
        return convolution

    return nn.Sequential(
        layer(channels, WIDTH, 1),
        nn.LeakyReLU(0.2),
        layer(WIDTH, WIDTH, 3),
        nn.LeakyReLU(0.2),
        layer(WIDTH, 1, 1),
    )


def adversarial_losses(
    adversary: nn.Module,
    alexnet: Lpips,
    made: Float[Tensor, " batch 3 height width"],
    prints: Float[Tensor, " real 3 height width"],
) -> tuple[Tensor, Tensor]:
    """The two sides of the game, for one step of both.

    Args:
        adversary: Trained by the second loss only.
        alexnet: Frozen.
        made: Pictures by the network under training, in [-1, 1].
        prints: Pictures to look like.

    Returns:
        The maker's loss (no gradient reaches the adversary), and the adversary's (no gradient
        reaches the maker).
    """
    seen = alexnet.activations(made)
    frozen = {name: weight.detach() for name, weight in adversary.named_parameters()}
    maker = -_mean(functional_call(adversary, frozen, (seen,)))
    with torch.no_grad():
        real = alexnet.activations(prints)
    false = [(1 + x).relu() for x in adversary([x.detach() for x in seen])]
    true = [(1 - x).relu() for x in adversary(real)]
    return maker, _mean(false) + _mean(true)


def _mean(judgments: list[Tensor]) -> Tensor:
    return torch.stack([x.float().mean() for x in judgments]).mean()
