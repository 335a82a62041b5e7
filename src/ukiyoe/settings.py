"""Every default, once. No torch here: ``ukiyoe --help`` reads this file."""

from dataclasses import dataclass
from typing import Literal, get_args

Orientation = Literal["portrait", "landscape", "square"]
Solver = Literal["ddpm", "ddim", "dpmsolver++", "unipc"]

ORIENTATIONS: tuple[str, ...] = get_args(Orientation)
SOLVERS: tuple[str, ...] = get_args(Solver)

PACKAGED = "packaged"
"""Names the model, and the text encoder, that ship inside the package."""

MAX_SCALE = 10.0
MAX_COUNT = 1000
MAX_PROMPT = 1000  # characters
MAX_SEED = 2**63 - 1  # what a torch generator takes


@dataclass(frozen=True)
class SamplingConfig:
    """How pictures are made, apart from their seeds.

    Attributes:
        prompt: What to steer to, in words; None for no text guidance.
        text_scale: How strongly, 0 (off) to 10 (as far as it goes).
        color: The wished mean color, any CSS color; None for no color guidance.
        color_scale: How strongly, 0 (off) to 10.
        num_inference_steps: Denoising steps, 1 to the model's training timesteps.
        solver: Which diffusers scheduler takes them.
        orientation: Shape of the picture.
        text_encoder: "packaged", or a CLIP folder or Hub id.
    """

    prompt: str | None = None
    text_scale: float = 5.0
    color: str | None = None
    color_scale: float = 5.0
    num_inference_steps: int = 25
    solver: Solver = "dpmsolver++"
    orientation: Orientation = "portrait"
    text_encoder: str = PACKAGED


DEFAULTS = SamplingConfig()
BATCH_SIZE = 4


@dataclass(frozen=True)
class EvaluationConfig:
    """How a model is measured.

    Attributes:
        count: Unguided pictures to make.
        features: The network that judges.
    """

    count: int = 256
    features: str = "inception"


EVALUATION = EvaluationConfig()
