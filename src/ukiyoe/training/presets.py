"""Ready-made ways to train: every number of a run, by name. No torch: ``--help`` reads this.

A preset is a starting point; every field that has an option can be changed alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

AUGMENTATIONS = ("shift", "flip", "color")


@dataclass(frozen=True)
class Preset:
    """How to train.

    Attributes:
        name: What it is called.
        purpose: When to take it, and what it costs.
        start: Where the weights come from when ``--from`` is not given.
        learning_rate: Peak of AdamW's learning rate.
        matrix_rate: Peak of Muon's learning rate for hidden matrices; None: AdamW takes all.
        betas: AdamW's.
        weight_decay: Decoupled.
        schedule: "cosine" to zero, or "constant".
        warmup_steps: Steps of linear warm-up.
        batch_size: Pictures a forward, of all processes together.
        accumulation: Forwards a step.
        gradient_clip: Largest norm of the gradient.
        weighting: Which noise levels count: see `objective.min_snr_weight`.
        gamma: Its cap.
        ema_decay: Decay a step of the weight average, once warm; 0 is no average.
        ema_every: Average once in so many steps.
        augment: Which of `AUGMENTATIONS`; never "flip" unless asked for: it mirrors seals and
            writing.
        max_minutes: Length, if no length is given; None takes `epochs`.
        epochs: Length in rounds through the pictures.
    """

    name: str
    purpose: str
    start: str = "packaged"
    learning_rate: float = 1e-4
    matrix_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 100
    batch_size: int = 16
    accumulation: int = 1
    gradient_clip: float = 1.0
    weighting: Literal["min-snr", "min-snr+1", "none"] = "min-snr+1"
    gamma: float = 5.0
    ema_decay: float = 0.999
    ema_every: int = 4
    augment: tuple[str, ...] = ("shift",)
    max_minutes: float | None = 60.0
    epochs: float | None = None


TUNE = Preset(
    name="tune",
    purpose="your pictures, from a trained model; minutes for the packaged one",
    learning_rate=2e-4,
)

SMALL = Preset(
    name="small",
    purpose="from nothing, in the packaged model's shape; hours on two cores",
    start="scratch",
    learning_rate=6e-4,
    matrix_rate=1.2e-3,
    warmup_steps=300,
    batch_size=32,
)

# The blog of 2023, which followed unit 2 of Hugging Face's diffusion models class: see
# docs/training.md for what it did and what is left out here.
SEED = Preset(
    name="seed",
    purpose="the 2023 blog's recipe, its bugs left out; hours on a GPU",
    start="google/ddpm-celebahq-256",
    learning_rate=1e-5,
    betas=(0.9, 0.999),  # PyTorch's defaults
    weight_decay=0.01,
    schedule="constant",
    warmup_steps=0,
    batch_size=4,
    accumulation=2,  # 4 * 2 accumulation = 8 pictures a step
    gradient_clip=math.inf,
    weighting="none",  # MSE on the noise
    ema_decay=0.0,
    ema_every=1,
    augment=(),
    max_minutes=None,
    epochs=1.0,
)

PRESETS = {preset.name: preset for preset in (TUNE, SMALL, SEED)}
