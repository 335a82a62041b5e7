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
class AppConfig:
    """How the app is served, and what one visitor may ask of it.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        max_queue: Requests that may wait; more are turned away.
        max_count: Pictures a request may ask for.
        max_steps: Denoising steps a request may ask for.
        draft_steps: Steps of a quick draft.
        preview_steps: Steps of the first look at an edit, before the full one.
        max_wall: Pictures a visitor's wall holds; the oldest makes room.
        max_kept: Of these, how many are kept in full; older ones are drawn again on demand.
        max_visitors: Visitors whose walls are kept in memory.
        max_upload: Largest file a visitor may drop.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    max_queue: int = 32
    max_count: int = 8
    max_steps: int = 100
    draft_steps: int = 10
    preview_steps: int = 6
    max_wall: int = 60
    max_kept: int = 24
    max_visitors: int = 32
    max_upload: str = "20mb"


APP = AppConfig()


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
