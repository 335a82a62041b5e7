"""Models on disk and on the Hub -> one `Model`, whatever they were made with.

A model is a diffusers folder: a ``UNet2DModel``, a scheduler config, and
either nothing more (a pixel-space DDPM or DDIM pipeline), or an autoencoder
(an unconditional latent pipeline), or our extras, which ``ukiyoe.json``
describes: a space-to-depth codec, picture sizes and an upscaler.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import diffusers
import torch
from diffusers import DDPMScheduler, UNet2DModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ukiyoe.errors import InvalidInput, ModelError
from ukiyoe.settings import ORIENTATIONS, PACKAGED
from ukiyoe.upscaler import SCALE, Upscaler

PACKAGED_FOLDER = Path(__file__).parent / "packaged"
EXTRAS = "ukiyoe.json"
WEIGHTS = "diffusion_pytorch_model"
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "VQModel")
# Width over height of each orientation, for models that do not name their sizes.
ASPECTS = {"portrait": 2 / 3, "landscape": 3 / 2, "square": 1.0}


@runtime_checkable
class Codec(Protocol):
    """What stands between a picture and the U-Net."""

    @property
    def factor(self) -> int:
        """Picture pixels per latent pixel, along one side."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Pictures in [-1, 1] to what the U-Net works on."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """What the U-Net works on to pictures in [-1, 1]; differentiable."""
        ...


@dataclass(frozen=True)
class SpaceToDepth:
    """A fixed, orthonormal rearrangement of pixels; factor 1 is the identity.

    Attributes:
        factor: Side of the block of pixels that becomes channels.
    """

    factor: int = 1

    def encode(
        self, images: Float[Tensor, " batch 3 height width"]
    ) -> Float[Tensor, " batch channels h w"]:
        """Fold blocks of pixels into channels."""
        return F.pixel_unshuffle(images, self.factor)

    def decode(
        self, latents: Float[Tensor, " batch channels h w"]
    ) -> Float[Tensor, " batch 3 height width"]:
        """Unfold channels into blocks of pixels."""
        return F.pixel_shuffle(latents, self.factor)


@dataclass(frozen=True)
class Autoencoder:
    """A diffusers autoencoder as a codec.

    Attributes:
        network: ``AutoencoderKL``, ``AutoencoderTiny``, ``AutoencoderDC`` or ``VQModel``.
        factor: Picture pixels per latent pixel, along one side.
    """

    network: Any
    factor: int

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the latent distribution, scaled as the U-Net expects it."""
        output = self.network.encode(images)
        if hasattr(output, "latent_dist"):  # AutoencoderKL
            latents = output.latent_dist.mode()
        elif hasattr(output, "latents"):  # VQModel, AutoencoderTiny
            latents = output.latents
        else:  # AutoencoderDC
            latents = output.latent
        scaled: Tensor = (latents - self._shift) * self._scale
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Back to pictures."""
        images: Tensor = self.network.decode(latents / self._scale + self._shift).sample
        return images

    @property
    def _scale(self) -> float:
        return float(self.network.config.get("scaling_factor") or 1.0)

    @property
    def _shift(self) -> float:
        return float(self.network.config.get("shift_factor") or 0.0)


@dataclass(frozen=True)
class Model:
    """Everything that turns noise into pictures, except the steering.

    Attributes:
        name: What it was loaded as.
        folder: Where its files are.
        unet: The denoiser.
        scheduler: The checkpoint's own forward process and prediction type.
        codec: Picture to latent and back.
        upscaler: Enlarges finished pictures; None for models without one.
        sizes: Height and width in pixels the U-Net makes, per orientation.
        default_orientation: The shape the model was trained on most.
        extras: The rest of ``ukiyoe.json`` (concepts the text tower knows, ...).
        weight_hash: First 16 hex digits of the SHA-256 of all weights.
    """

    name: str
    folder: Path
    unet: Any
    scheduler: Any
    codec: Codec
    upscaler: Upscaler | None
    sizes: dict[str, tuple[int, int]]
    default_orientation: Literal["portrait", "landscape", "square"]
    extras: dict[str, Any] = field(repr=False)
    weight_hash: str

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device  # type: ignore[no-any-return]

    @property
    def num_train_timesteps(self) -> int:
        """T, the length of the forward process."""
        return int(self.scheduler.config.num_train_timesteps)

    def latent_shape(self, orientation: str) -> tuple[int, int, int]:
        """Channels, height and width of what the U-Net works on."""
        height, width = self.sizes[orientation]
        factor = self.codec.factor
        return int(self.unet.config.in_channels), height // factor, width // factor

    def picture_size(self, orientation: str) -> tuple[int, int]:
        """Height and width in pixels of a finished picture."""
        height, width = self.sizes[orientation]
        scale = SCALE if self.upscaler else 1
        return height * scale, width * scale

    def predict_original(
        self,
        sample: Float[Tensor, " batch channels height width"],
        timestep: int,
        alpha_bar: float,
    ) -> Float[Tensor, " batch channels height width"]:
        """One forward of the U-Net, turned into its estimate of the clean sample.

        Args:
            sample: x_t.
            timestep: t, 0 to T - 1.
            alpha_bar: Share of signal variance at t, above 0 and at most 1.

        Returns:
            The estimate of x_0, clipped the way the checkpoint's scheduler clips.
        """
        output = self.unet(sample, timestep).sample[:, : sample.shape[1]]  # without learned sigma
        signal, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        config = self.scheduler.config
        prediction_type = config.get("prediction_type", "epsilon")
        if prediction_type == "epsilon":
            original = (sample - sigma * output) / signal  # DDPM, eq. 15
        elif prediction_type == "v_prediction":
            original = signal * sample - sigma * output  # Salimans & Ho 2022, eq. 10
        else:
            original = output
        if config.get("thresholding"):
            original = self.scheduler._threshold_sample(original)
        elif config.get("clip_sample"):
            limit = config.get("clip_sample_range", 1.0)
            original = original.clamp(-limit, limit)
        return original  # type: ignore[no-any-return]

    def finish(
        self, latents: Float[Tensor, " batch channels h w"]
    ) -> Float[Tensor, " batch 3 height width"]:
        """Decode and enlarge finished latents.

        Args:
            latents: x_0.

        Returns:
            Pictures in [-1, 1].
        """
        with torch.inference_mode():
            finished = []
            for latent in latents.split(1):  # large activations: one picture at a time
                images = self.codec.decode(latent).clamp(-1, 1)
                if self.upscaler:
                    images = self.upscaler(images)
                finished.append(images.clamp(-1, 1))
            return torch.cat(finished)


def best_device() -> str:
    """The fastest device PyTorch can use here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(name: str | Path = PACKAGED, device: str | None = None) -> Model:
    """Load the packaged model, a local folder, or a Hub id.

    Args:
        name: "packaged", a folder in diffusers' layout, or an id such as
            ``google/ddpm-celebahq-256`` (downloaded once, then cached).
        device: "cpu", "cuda" or "mps"; None takes the best there is.

    Returns:
        The model in float32, ready to sample.

    Raises:
        ModelError: If there is no such model, or it is broken or of a kind we cannot run.
    """
    target = torch.device(_check_device(device))
    folder = _locate(str(name))
    index = _read_json(folder / "model_index.json")
    extras = _read_json(folder / EXTRAS) if (folder / EXTRAS).is_file() else {}
    kind = _component(index, "unet", folder)
    if kind != "UNet2DModel":
        raise ModelError(
            f"model: expected an unconditional UNet2DModel, got {kind} in {folder}; "
            "text-conditioned pipelines cannot be steered by Ukiyoe."
        )
    unet = _load_network(folder, "unet", UNet2DModel)
    scheduler = _load_scheduler(folder, index)
    codec = _load_codec(folder, index, extras)
    channels = getattr(codec, "channels", None) or unet.config.in_channels
    if isinstance(codec, SpaceToDepth) and channels != 3 * codec.factor**2:
        raise ModelError(
            f"model: the U-Net in {folder} takes {channels} channels, but its codec gives "
            f"{3 * codec.factor**2}; the folder lacks its autoencoder or its {EXTRAS}."
        )
    upscaler = _load_upscaler(folder, extras)
    for network in (unet, upscaler, getattr(codec, "network", None)):
        if network is not None:
            network.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
            network.eval().requires_grad_(False)
    return Model(
        name=str(name),
        folder=folder,
        unet=unet,
        scheduler=scheduler,
        codec=codec,
        upscaler=upscaler,
        sizes=_sizes(unet, codec, extras),
        default_orientation="portrait" if "sizes" in extras else "square",
        extras=extras,
        weight_hash=hash_weights(folder),
    )


def save_model(
    folder: Path,
    unet: Any,
    scheduler: Any,
    extras: dict[str, Any],
    upscaler: Upscaler | None = None,
) -> None:
    """Write a model as a diffusers folder with half-precision safetensors.

    Args:
        folder: Where to; existing files of the same names are replaced.
        unet: The denoiser.
        scheduler: The forward process it was trained with.
        extras: Contents of ``ukiyoe.json``.
        upscaler: Saved beside it, if any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    unet.save_config(folder / "unet")
    save_half(unet, folder / "unet" / f"{WEIGHTS}.safetensors")
    scheduler.save_config(folder / "scheduler")
    if upscaler:
        extras = {**extras, "upscaler": upscaler.config}
        save_half(upscaler, folder / "upscaler" / f"{WEIGHTS}.safetensors")
    (folder / EXTRAS).write_text(json.dumps(extras, indent=2) + "\n")


def save_half(network: nn.Module, path: Path) -> None:
    """Write a network's weights in float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().half().contiguous() for key, value in network.state_dict().items()}
    save_file(state, path)


def load_half(network: nn.Module, path: Path) -> None:
    """Fill a network with weights from a safetensors file, every one of them.

    Args:
        network: Filled in place, in float32.
        path: The file.

    Raises:
        ModelError: If the file is missing, truncated, or of another network.
    """
    try:
        state = load_file(path)
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except Exception as error:
        raise ModelError(f"model: {path} is missing, broken or of another network.") from error


def hash_weights(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of a model's weights and configs."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".bin", ".json"} and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _check_device(device: str | None) -> str:
    """Give the device if it exists here, the best one for None."""
    if device is None:
        return best_device()
    available = {"cpu", best_device()}
    if device not in available:
        raise InvalidInput(
            f"device: expected {' or '.join(sorted(available))} on this machine, got {device!r}."
        )
    return device


def _locate(name: str) -> Path:
    """A local folder that holds the model, downloading it if needed."""
    if name == PACKAGED:
        return PACKAGED_FOLDER
    folder = Path(name).expanduser()
    if folder.exists():
        if not (folder / "model_index.json").is_file():
            raise ModelError(
                f"model: {name} is not a diffusers model folder: it has no model_index.json."
            )
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f'model: {name!r} is not "{PACKAGED}", nor a folder here, nor a Hub id (owner/name).'
        )
    ignore = ["*.fp16.*", "*.bin", "*.ckpt", "*.msgpack", "*.h5", "*.onnx", "*.png", "*.jpg"]
    try:
        folder = Path(snapshot_download(name, ignore_patterns=ignore))
        if not any(folder.rglob("*.safetensors")):
            ignore.remove("*.bin")
            folder = Path(snapshot_download(name, ignore_patterns=ignore))
    except HFValidationError as error:
        raise ModelError(f"model: {name!r} is not a valid Hub id (owner/name).") from error
    except Exception as error:  # the hub client's network errors share no base class
        reason = type(error).__name__
        raise ModelError(
            f"model: cannot download {name!r} from the Hub ({reason}); check the id and the "
            f'network, or pass a local folder or "{PACKAGED}".'
        ) from error
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"model: {name!r} on the Hub is not a diffusers pipeline.")
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model: {path} is missing or not valid JSON.") from error
    if not isinstance(content, dict):
        raise ModelError(f"model: {path} should hold a JSON object.")
    return content


def _component(index: dict[str, Any], name: str, folder: Path) -> str:
    """Class name of a pipeline's component."""
    entry = index.get(name)
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
        raise ModelError(f"model: {folder / 'model_index.json'} names no {name}.")
    return entry[1]


def _subfolder(folder: Path, name: str) -> Path:
    """Where a component lies; the oldest DDPMs keep everything at the top."""
    return folder / name if (folder / name).is_dir() else folder


def _load_network(folder: Path, name: str, kind: Any) -> Any:
    """Load a diffusers network, safetensors first, refusing any missing weight."""
    path = _subfolder(folder, name)
    errors = []
    for safe in (True, False):
        if not any(path.glob(f"{WEIGHTS}*.{'safetensors' if safe else 'bin'}")):
            continue
        load: Callable[..., Any] = kind.from_pretrained
        try:
            network, report = load(
                path,
                use_safetensors=safe,  # a .bin is read by torch.load(weights_only=True)
                low_cpu_mem_usage=False,
                local_files_only=True,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # truncated, foreign or hostile files fail in many ways
            errors.append(error)
            continue
        if report["missing_keys"] or report["mismatched_keys"]:
            raise ModelError(
                f"model: the {name} weights in {path} are of another network "
                f"({len(report['missing_keys'])} missing, "
                f"{len(report['mismatched_keys'])} of other shapes)."
            )
        return network
    if errors:
        reason = str(errors[0]).splitlines()[0] if str(errors[0]) else type(errors[0]).__name__
        raise ModelError(f"model: the {name} in {path} cannot be read: {reason[:200]}") from errors[
            0
        ]
    raise ModelError(f"model: {path} has no {WEIGHTS}.safetensors and no {WEIGHTS}.bin.")


def _load_scheduler(folder: Path, index: dict[str, Any]) -> Any:
    """The checkpoint's own scheduler, as a DDPM process: betas, prediction type, T, clipping."""
    kind = _component(index, "scheduler", folder)
    config = _read_json(_subfolder(folder, "scheduler") / "scheduler_config.json")
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    accepted = set(inspect.signature(DDPMScheduler.__init__).parameters)
    if kind in {"PNDMScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler"}:
        config["clip_sample"] = False  # these never clip
    try:
        scheduler = DDPMScheduler(**{k: v for k, v in config.items() if k in accepted})
    except Exception as error:
        raise ModelError(
            f"model: the scheduler config in {folder} is not usable: {error}"
        ) from error
    if scheduler.config.prediction_type not in {"epsilon", "v_prediction", "sample"}:
        raise ModelError(
            "model: expected prediction_type epsilon, v_prediction or sample, "
            f"got {scheduler.config.prediction_type!r}."
        )
    return scheduler


def _load_codec(folder: Path, index: dict[str, Any], extras: dict[str, Any]) -> Codec:
    for name in ("vqvae", "vae"):
        if name not in index:
            continue
        kind = _component(index, name, folder)
        if kind not in AUTOENCODERS:
            raise ModelError(f"model: expected one of {', '.join(AUTOENCODERS)}, got {kind}.")
        network = _load_network(folder, name, getattr(diffusers, kind))
        return Autoencoder(network, _downsampling(network))
    return SpaceToDepth(int(extras.get("space_to_depth", 1)))


def _downsampling(network: Any) -> int:
    """Picture pixels per latent pixel of an autoencoder, by trying it."""
    with torch.no_grad():
        latents = Autoencoder(network, 1).encode(torch.zeros(1, 3, 64, 64))
    return 64 // int(latents.shape[-1])


def _load_upscaler(folder: Path, extras: dict[str, Any]) -> Upscaler | None:
    if "upscaler" not in extras:
        return None
    upscaler = Upscaler(**extras["upscaler"])
    load_half(upscaler, folder / "upscaler" / f"{WEIGHTS}.safetensors")
    return upscaler


def _sizes(unet: Any, codec: Codec, extras: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Picture sizes the U-Net makes: named by the model, or of its own area."""
    if "sizes" in extras:
        return {name: (int(h), int(w)) for name, (h, w) in extras["sizes"].items()}
    own = unet.config.sample_size or 64
    height, width = (own, own) if isinstance(own, int) else own
    halvings = 2 ** (len(unet.config.block_out_channels) - 1)
    sizes = {}
    for name in ORIENTATIONS:
        if name == "square" and height == width:
            rows, columns = height, width
        else:
            side = math.sqrt(height * width)
            columns = max(1, round(side * math.sqrt(ASPECTS[name]) / halvings)) * halvings
            rows = max(1, round(side / math.sqrt(ASPECTS[name]) / halvings)) * halvings
        sizes[name] = rows * codec.factor, columns * codec.factor
    return sizes
