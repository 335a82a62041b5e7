"""The noise-aware tower's objective: match noisy prints to their words."""

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.training.base import SHARE
from ukiyoe.training.data import Bucket, Print, draw
from ukiyoe.training.loop import Loss


class WordMatch(nn.Module):
    """A tower under training: its logits against concepts, each with its own prior."""

    def __init__(self, tower: nn.Module, priors: Float[Tensor, " concepts"]) -> None:
        super().__init__()
        self.tower = tower
        self.bias = nn.Parameter(torch.logit(priors.clamp(1e-3, 0.999)))
        self.temperature = nn.Parameter(torch.tensor(1.0))


def tag_matrix(prints: Sequence[Print], concepts: Sequence[str]) -> Tensor:
    """1 where a print carries a tag: (prints, concepts)."""
    return torch.tensor([[float(name in item.tags) for name in concepts] for item in prints])


def tower_loss(
    buckets: dict[str, Bucket],
    scheduler: DDPMScheduler,
    tags: Float[Tensor, " prints concepts"],
    concepts: Float[Tensor, " concepts dims"],
    captions: Float[Tensor, " prints dims"],
    batch_size: int = 64,
) -> Loss:
    """Loss of the tower: which tags, and which caption of the batch, belong to a noisy print.

    Prints are mirrored at random here: what a print shows has no left or right.

    Args:
        buckets: The prints.
        scheduler: Gives the forward process.
        tags: Which concepts each print shows.
        concepts: Unit embeddings of the concepts.
        captions: Unit embeddings of the captions.
        batch_size: Pictures a step.

    Returns:
        A function for `train_steps`.
    """
    alpha_bars = scheduler.alphas_cumprod
    names = [name for name in SHARE if name in buckets]
    shares = torch.tensor([SHARE[name] for name in names])

    def loss(network: nn.Module, generator: torch.Generator, progress: float) -> Tensor:
        bucket = buckets[names[int(torch.multinomial(shares, 1, generator=generator))]]
        indices = torch.randint(len(bucket.prints), (batch_size,), generator=generator)
        pictures = draw(bucket, indices, generator)
        mirrored = torch.rand(batch_size, generator=generator) < 0.5
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
        gain = 1 + 0.2 * (torch.rand(batch_size, 3, 1, 1, generator=generator) - 0.5)
        x_0 = pictures * gain
        noise = torch.randn(x_0.shape, generator=generator)
        alpha_bar = alpha_bars[torch.randint(len(alpha_bars), (batch_size,), generator=generator)]
        level = alpha_bar[:, None, None, None]
        x_t = level.sqrt() * x_0 + (1 - level).sqrt() * noise  # DDPM, eq. 4
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        embedding = network.tower(x_t, alpha_bar).float()  # type: ignore[operator]
        which = torch.tensor([bucket.prints[i] for i in indices.tolist()])
        logits = embedding @ concepts.T + network.bias
        tagged = F.binary_cross_entropy_with_logits(logits, tags[which])
        pairs = embedding @ captions[which].T * network.temperature
        matched = F.cross_entropy(pairs, torch.arange(batch_size))
        return 10 * tagged + 0.3 * matched

    return loss
