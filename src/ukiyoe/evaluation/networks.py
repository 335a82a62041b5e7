"""Judges by name: a file, or one of three well-known networks that are downloaded once.

Every network sees a whole picture, squeezed to its own square with antialiasing (Parmar et al.
2022: other resizing changes the numbers), and describes each picture on its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.errors import InvalidInput, MissingExtra, ModelError
from ukiyoe.evaluation.features import BATCH, OnnxFeatures

Features = NDArray[np.float64]
Network = Callable[[Sequence[Image.Image]], Features]
"""``network(pictures)``: a row of features per picture, in the order given."""

NAMED = ("inception", "dinov2", "clip")
# The network of every published FID, as TorchScript (a translation of Google's own by T. Karras).
INCEPTION = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
DINOV2 = "facebook/dinov2-small"  # 22 M parameters: about 0.1 s a picture on two CPU cores
CLIP = "openai/clip-vit-base-patch32"
# Mean and standard deviation of the training pictures in [0, 1]: ImageNet's, and CLIP's own.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_PICTURES = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_network(name: str, say: Callable[[str], object] = print) -> Network:
    """Find the network that judges.

    Args:
        name: "inception", "dinov2", "clip", or an ``.onnx`` file.
        say: Is told what will be downloaded.

    Returns:
        The network; CLIP's also has ``embed_text``.

    Raises:
        InvalidInput: If the name is none of these.
    """
    if name.lower().endswith(".onnx"):
        return OnnxFeatures(name)
    if name == "inception":
        return _load(name, INCEPTION, lambda: InceptionFeatures(fetch_inception(say)))
    if name == "dinov2":
        return _load(name, DINOV2, lambda: DinoFeatures(DINOV2))
    if name == "clip":
        return _load(name, CLIP, lambda: ClipFeatures(CLIP))
    raise InvalidInput(
        f"features: expected {', '.join(NAMED)} or an .onnx file, got {name[:200]!r}."
    )


class InceptionFeatures:
    """InceptionV3 of 2015 from a TorchScript file: 2048 features of its last pooling."""

    def __init__(self, path: Path) -> None:
        import torch  # noqa: PLC0415

        self._network = torch.jit.load(str(path), map_location="cpu").eval()

    def __call__(self, pictures: Sequence[Image.Image]) -> Features:
        """Describe pictures; each on its own, whatever the others are."""
        # Resized here, not inside: clean-fid's practice. Levels 0 to 255 become about [-1, 1].
        return _described(
            pictures,
            299,
            lambda pixels: self._network.layers((pixels * 255 - 128) / 128).flatten(1),
        )


class DinoFeatures:
    """DINOv2's class token (Oquab et al. 2023), the judge that Stein et al. 2023 recommend."""

    def __init__(self, source: str) -> None:
        from transformers import Dinov2Model  # noqa: PLC0415

        self._network = Dinov2Model.from_pretrained(source).eval()

    def __call__(self, pictures: Sequence[Image.Image]) -> Features:
        """Describe pictures; each on its own, whatever the others are."""
        return _described(
            pictures,
            224,
            lambda pixels: self._network(_standardized(pixels, *IMAGENET)).pooler_output,
        )


class ClipFeatures:
    """CLIP's picture embedding (Radford et al. 2021); it also judges words."""

    def __init__(self, source: str) -> None:
        import torch  # noqa: PLC0415

        from ukiyoe.text import ClipEncoder  # noqa: PLC0415

        self._encoder = ClipEncoder.from_pretrained(source, torch.device("cpu"))

    def __call__(self, pictures: Sequence[Image.Image]) -> Features:
        """Describe pictures; each on its own, whatever the others are."""

        def network(pixels: Any) -> Any:
            pixels = _standardized(pixels, *CLIP_PICTURES)
            found = self._encoder.network.get_image_features(pixel_values=pixels)
            return getattr(found, "pooler_output", found)

        return _described(pictures, self._encoder.image_size, network)

    def embed_text(self, prompt: str) -> Features:
        """Words in the space of the pictures, length 1."""
        return np.asarray(self._encoder.embed_text(prompt).numpy(), dtype=np.float64)


def fetch_inception(say: Callable[[str], object] = print) -> Path:
    """The Inception file, downloaded once into PyTorch's own cache (``TORCH_HOME``).

    Args:
        say: Is told before anything is downloaded.

    Returns:
        The file.
    """
    import torch  # noqa: PLC0415

    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION.rsplit("/", 1)[1]
    if not path.is_file():
        say(f"downloading {INCEPTION} (91 MB) to {path}; it is needed once.")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(INCEPTION, str(path))
    return path


def _load(name: str, source: str, load: Callable[[], Network]) -> Network:
    try:
        return load()
    except ImportError as error:
        raise MissingExtra(
            f"features: {name} needs transformers; run pip install 'ukiyoe[text]'."
        ) from error
    except Exception as error:  # a download fails in as many ways as there are networks
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        raise ModelError(
            f"features: cannot load {name} ({source}): {reason}; connect once to download it, or "
            "pass --features FILE.onnx, which works offline."
        ) from error


def _described(
    pictures: Sequence[Image.Image], side: int, network: Callable[[Any], Any]
) -> Features:
    """Run a PyTorch network over pictures in [0, 1], a few at a time."""
    import torch  # noqa: PLC0415

    if not len(pictures):
        raise InvalidInput("pictures: expected at least one, got none.")
    batches = []
    for start in range(0, len(pictures), BATCH):
        group = range(start, min(start + BATCH, len(pictures)))
        pixels = torch.from_numpy(np.stack([squeezed(pictures[i], side) for i in group]))
        with torch.inference_mode():
            batches.append(network(pixels).double().numpy())
    found: Features = np.concatenate(batches)
    return found


def squeezed(picture: Image.Image, side: int) -> NDArray[np.float32]:
    """One picture as (3, side, side) in [0, 1]; PIL's bicubic is antialiased."""
    small = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return (np.asarray(small, dtype=np.float32) / np.float32(255)).transpose(2, 0, 1)


def _standardized(pixels: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    shape = (3, 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)
