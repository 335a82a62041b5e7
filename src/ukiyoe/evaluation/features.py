"""Pictures -> features of a network that had no part in making them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.errors import InvalidInput, MissingExtra

SIDE = 224  # px; what MobileNetV2 was trained on
BATCH = 32


class OnnxFeatures:
    """An ONNX image network with an input ``image`` and an output ``features``."""

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: The ``.onnx`` file.
            threads: CPU threads to use; 0 takes all cores.

        Raises:
            MissingExtra: If onnxruntime is not installed.
            InvalidInput: If the file is missing or not such a network.
        """
        try:
            import onnxruntime  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise MissingExtra(
                "features: onnxruntime is not installed; run pip install 'ukiyoe[eval]'."
            ) from error
        if not Path(path).is_file():
            raise InvalidInput(f"features: expected an .onnx file, got {path}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no public base class
            raise InvalidInput(f"features: {path} is not a readable ONNX network.") from error
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [node.name for node in self._session.get_outputs()]
        if inputs != ["image"] or "features" not in outputs:
            raise InvalidInput(
                f"features: expected a network from image to features, got one from "
                f"{', '.join(inputs)} to {', '.join(outputs)} in {path}."
            )

    def __call__(self, pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Describe pictures; each on its own, whatever the others are.

        Args:
            pictures: Any sizes and modes; each is resized to 224x224 with antialiasing, its
                shape not kept.

        Returns:
            Features, (pictures, dimensions).

        Raises:
            InvalidInput: If there is no picture.
        """
        if not pictures:
            raise InvalidInput("pictures: expected at least one, got none.")
        batches = []
        for start in range(0, len(pictures), BATCH):
            batch = np.stack([_network_input(p) for p in pictures[start : start + BATCH]])
            (features,) = self._session.run(["features"], {"image": batch})
            batches.append(np.asarray(features, dtype=np.float64))
        return np.concatenate(batches)


def _network_input(picture: Image.Image) -> NDArray[np.float32]:
    """One picture as (3, 224, 224) in [-1, 1].

    PIL's bicubic is antialiased. Measured on the val prints, it gives KID 0.30, 0.59, 0.82 and
    1.28 for prints squeezed to 2:3 of 96, 64, 48 and 32 px and back, where ../shared/README.md
    says 0.32, 0.62, 0.83 and 1.29; bilinear is further off at 96 and 64 px, Lanczos at 48.
    """
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return (np.asarray(small, dtype=np.float32) / 127.5 - 1).transpose(2, 0, 1)
