"""Networks that look at pictures on our behalf. They never train or steer a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ukiyoe.errors import InvalidInput, MissingExtra

SIDE = 224  # px
BATCH = 32


class OnnxFeatures:
    """Features of any ONNX network with input (n, 3, 224, 224) in [-1, 1]."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(
                "features: ONNX networks need onnxruntime; install it with pip install 'ukiyoe[eval]'."
            ) from error
        try:
            self.session = onnxruntime.InferenceSession(str(path))
        except Exception as error:  # onnxruntime's errors share no public base class
            raise InvalidInput(f"features: {path} is missing or not an ONNX network.") from error
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def __call__(self, pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Look at pictures.

        Args:
            pictures: Of any size; squeezed to 224x224 with antialiasing (bicubic), as clean-fid does.

        Returns:
            One row of features per picture.
        """
        rows = []
        for start in range(0, len(pictures), BATCH):
            batch = [
                np.asarray(
                    picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC),
                    dtype=np.float32,
                )
                for picture in pictures[start : start + BATCH]
            ]
            pixels = np.stack(batch).transpose(0, 3, 1, 2) / 127.5 - 1
            (features,) = self.session.run([self.output], {self.input: pixels})
            rows.append(features.astype(np.float64))
        return np.concatenate(rows)
