"""Prompts and pictures in one embedding space: the packaged encoder, and CLIP.

The packaged encoder needs no download and no clean picture: a frozen table of
word vectors on the text side, a noise-aware tower on the picture side. CLIP
comes through transformers and looks at decoded pictures.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ukiyoe.errors import InvalidInput, MissingExtra, ModelError
from ukiyoe.tower import NoisyTower, load_tower

TABLE_FOLDER = Path(__file__).parent / "packaged" / "text_table"

# Japanese words that the English sentence encoder does not know, in words it does.
GLOSSARY = {
    "sakura": "cherry blossom",
    "hanami": "cherry blossom",
    "ume": "plum blossom",
    "momiji": "maple leaves",
    "fuji": "mount fuji mountain",
    "fujisan": "mount fuji mountain",
    "koi": "carp fish",
    "katana": "sword",
    "oni": "demon monster",
    "yokai": "monster ghost",
    "yurei": "ghost",
    "neko": "cat",
    "tsuru": "crane bird",
    "tsunami": "wave sea",
    "torii": "torii gate shrine",
    "ronin": "samurai",
    "bijin": "beautiful woman kimono",
    "geisha": "geisha woman kimono",
    "oiran": "geisha woman kimono",
    "face": "portrait face",
    "faces": "portrait face",
    "warrior": "samurai sword",
    "ukiyo": "",
    "ukiyoe": "",
}
# Words that say how something is shown, not what.
FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "with",
        "and",
        "or",
        "by",
        "for",
        "to",
        "some",
        "close",
        "up",
        "closeup",
        "print",
        "picture",
        "image",
    ]
)

# A prompt is known if its best cosine with a concept reaches this. Measured on the packaged table:
# "ocean" 0.83, "kitten" 0.73, "storm" 0.58; things no print shows: "a pizza" 0.53 (food),
# "a spaceship" 0.51 (boat), "a helicopter" 0.46 (kite), "a laptop computer" 0.29.
KNOWN = 0.55
# ... or if one of its words alone is as good as a concept ("the great wave off kanagawa").
KNOWN_WORD = 0.85


class TextTable:
    """Static word-piece vectors, averaged: the text side of the packaged encoder."""

    def __init__(self, vectors: Float[Tensor, " pieces dims"], tokenizer: Tokenizer) -> None:
        self.vectors = vectors
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path = TABLE_FOLDER) -> "TextTable":
        """Read a table.

        Args:
            folder: Holds ``table.safetensors`` (int8 vectors, one scale a row) and
                ``tokenizer.json``.

        Returns:
            The table.

        Raises:
            ModelError: If either file is missing or broken.
        """
        try:
            state = load_file(folder / "table.safetensors")
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(
                f"text encoder: the table in {folder} is missing or broken."
            ) from error
        return cls(state["vectors"].float() * state["scales"].float()[:, None], tokenizer)

    def knows(self, text: str) -> bool:
        """Whether any word piece of a text is in the table."""
        tokens = self.tokenizer.encode(_plain(text), add_special_tokens=False).tokens
        return bool(set(tokens) - {"[PAD]", "[UNK]"})

    def embed(self, texts: Sequence[str]) -> Float[Tensor, " texts dims"]:
        """Embed texts.

        Args:
            texts: Words, phrases or sentences.

        Returns:
            One vector of length 1 per text, on the CPU.

        Raises:
            InvalidInput: If a text has no word piece in the table.
        """
        rows = []
        for text in texts:
            if not self.knows(text):
                raise InvalidInput(f"prompt: expected words in English, got {text!r}.")
            # tokenizer.json pads to 128 pieces, and the mean includes the padding: its vector is
            # short (0.007 to a median of 5.4), and the packaged tower was trained on these means.
            pieces = self.tokenizer.encode(_plain(text), add_special_tokens=False).ids
            rows.append(F.normalize(self.vectors[pieces].mean(dim=0), dim=0, eps=1e-8))
        return torch.stack(rows)


def _plain(text: str) -> str:
    """Lower case, Japanese words translated, filler words dropped (unless nothing else is left)."""
    words = re.findall(r"[^\W_]+", text.lower().replace("ukiyo-e", "ukiyoe"))
    translated = [GLOSSARY.get(word, word) for word in words]
    telling = [word for word in translated if word and word not in FILLERS]
    return " ".join(telling or words)


@dataclass(frozen=True)
class Understanding:
    """What the packaged encoder makes of a prompt.

    Attributes:
        known: Whether the prompt is near anything the tower was trained on.
        concepts: The nearest concepts with their cosine similarity, best first.
    """

    known: bool
    concepts: tuple[tuple[str, float], ...]


class PackagedEncoder:
    """The packaged text encoder: static words, and a tower that reads noisy samples."""

    def __init__(self, table: TextTable, tower: NoisyTower, concepts: Sequence[str]) -> None:
        self.table = table
        self.tower = tower
        self.concepts = tuple(concepts)
        self.concept_vectors = table.embed(self.concepts)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "PackagedEncoder":
        """Load the tower of a model folder.

        Args:
            folder: A model folder with ``text_tower/``.
            device: Where the tower goes.

        Returns:
            The encoder.

        Raises:
            InvalidInput: If the model has no tower.
        """
        if not (folder / "text_tower").is_dir():
            raise InvalidInput(
                "text_encoder: this model has no packaged text tower; name a CLIP model instead, "
                "for example --text-encoder openai/clip-vit-base-patch32."
            )
        tower, concepts = load_tower(folder / "text_tower")
        tower.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(TextTable.load(), tower, concepts)

    def understand(self, prompt: str) -> Understanding:
        """Say which known concepts a prompt is nearest to."""
        similarity = self.concept_vectors @ self.table.embed([prompt])[0]
        best = similarity.topk(min(3, len(self.concepts)))
        concepts = tuple(
            (self.concepts[int(i)], round(float(s), 3))
            for s, i in zip(best.values, best.indices, strict=True)
        )
        words = [word for word in _plain(prompt).split() if self.table.knows(word)]
        surest = float((self.table.embed(words) @ self.concept_vectors.T).max())
        return Understanding(float(best.values[0]) >= KNOWN or surest >= KNOWN_WORD, concepts)

    def embed_text(self, prompt: str) -> Float[Tensor, " dims"]:
        """Embed a prompt; one that shows nothing known becomes its nearest concepts."""
        understanding = self.understand(prompt)
        if understanding.known:
            return self.table.embed([prompt])[0]
        names = [name for name, _ in understanding.concepts]
        weights = torch.tensor([max(s, 1e-3) for _, s in understanding.concepts])
        return F.normalize((weights[:, None] * self.table.embed(names)).sum(dim=0), dim=0)


class ClipEncoder:
    """CLIP (Radford et al. 2021) through transformers; sees decoded pictures."""

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.image_size = image_size
        digest = hashlib.sha256()
        for weight in network.state_dict().values():
            digest.update(weight.cpu().numpy().tobytes())
        self.weight_hash = digest.hexdigest()[:16]
        device = next(network.parameters()).device
        self.mean = torch.tensor(mean, device=device)[:, None, None]
        self.std = torch.tensor(std, device=device)[:, None, None]

    @classmethod
    def from_pretrained(cls, name: str, device: torch.device) -> "ClipEncoder":
        """Load a CLIP model.

        Args:
            name: A local folder or a Hub id.
            device: Where it goes.

        Returns:
            The encoder, in float32, frozen.

        Raises:
            MissingExtra: If transformers is not installed.
            ModelError: If there is no such CLIP, or it is broken.
        """
        try:
            from transformers import (  # noqa: PLC0415
                CLIPModel,
                CLIPTokenizerFast,
            )
            from transformers.image_processing_base import ImageProcessingMixin  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(
                "text_encoder: CLIP needs transformers; install it with pip install 'ukiyoe[text]'."
            ) from error
        folder = Path(name).expanduser()
        if folder.exists() and not (folder / "config.json").is_file():
            raise ModelError(f"text_encoder: {name} is not a CLIP folder: it has no config.json.")
        if not folder.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ModelError(
                f'text_encoder: {name!r} is neither "packaged", nor a folder here, nor a Hub id.'
            )
        source = str(folder) if folder.exists() else name
        try:
            network, report = _load_clip(CLIPModel, source)
            tokenizer = CLIPTokenizerFast.from_pretrained(source)
            processor, _ = ImageProcessingMixin.get_image_processor_dict(source)
            mean, std = processor["image_mean"], processor["image_std"]
        except Exception as error:  # the many ways a folder or a download can be broken
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ModelError(f"text_encoder: cannot load CLIP from {name!r}: {reason}") from error
        missing = [key for key in report["missing_keys"] if "position_ids" not in key]
        if missing or report["mismatched_keys"]:
            raise ModelError(
                f"text_encoder: the weights of {name!r} are not CLIP's ({len(missing)} missing)."
            )
        if "a</w>" not in tokenizer.get_vocab():  # transformers 5 makes one up from no files
            raise ModelError(f"text_encoder: {name!r} has no CLIP tokenizer.")
        network.to(device, torch.float32).eval().requires_grad_(False)
        return cls(network, tokenizer, mean, std, network.config.vision_config.image_size)

    def embed_text(self, prompt: str) -> Float[Tensor, " dims"]:
        """Embed a prompt; cut at CLIP's context length."""
        length = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer([prompt], return_tensors="pt", truncation=True, max_length=length)
        tokens = {key: value.to(self.mean.device) for key, value in tokens.items()}
        with torch.no_grad():
            return _normalized(self.network.get_text_features(**tokens))[0]

    def embed_images(
        self,
        images: Float[Tensor, " batch 3 height width"],
        generators: Sequence[torch.Generator],
        crops: int,
    ) -> Float[Tensor, " crops batch dims"]:
        """Embed random square crops of pictures, differentiably.

        Args:
            images: Pictures in [-1, 1].
            generators: One per picture; its crops depend on nothing else.
            crops: How many crops of each.

        Returns:
            Vectors of length 1.
        """
        cut = [
            torch.cat([self._crop(image[None], generator) for _ in range(crops)])
            for image, generator in zip(images, generators, strict=True)
        ]
        pixels = torch.stack(cut, dim=1).flatten(0, 1)  # crops, batch -> one batch
        # CLIP's statistics are for [0, 1].
        pixels = ((pixels + 1) / 2 - self.mean) / self.std
        features = _normalized(self.network.get_image_features(pixel_values=pixels))
        return features.reshape(crops, len(images), -1)

    def _crop(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A random square of 70 to 100 % of the shorter side, at CLIP's resolution; no flips."""
        height, width = image.shape[-2:]
        draw = torch.rand(3, generator=generator).tolist()
        side = max(1, round(min(height, width) * (0.7 + 0.3 * draw[0])))
        top, left = round((height - side) * draw[1]), round((width - side) * draw[2])
        square = image[..., top : top + side, left : left + side]
        size = (self.image_size, self.image_size)
        return F.interpolate(
            square, size, mode="bicubic", align_corners=False, antialias=side > size[0]
        )


def _load_clip(kind: Any, name: str) -> Any:
    """CLIP and its loading report, safetensors first, then .bin as plain weights."""
    try:
        return kind.from_pretrained(name, use_safetensors=True, output_loading_info=True)
    except OSError:
        return kind.from_pretrained(
            name, use_safetensors=False, weights_only=True, output_loading_info=True
        )


def _normalized(features: Any) -> Tensor:
    """Unit vectors; transformers 5 wraps the features in an output object."""
    tensor: Tensor = getattr(features, "pooler_output", features)
    return F.normalize(tensor, dim=-1)
