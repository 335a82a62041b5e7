"""How much a picture shows what words say, judged by a network that steers nothing.

A linear probe per tag, fitted on the training prints' features, or CLIP's own text side.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ukiyoe.errors import MissingExtra

Array = NDArray[np.float64]

FEWEST = 10  # prints with and without a tag; fewer teach a probe nothing
# As in benchmarks/quality.py: best cross-validated AUC on the prints, before any picture was made.
PROBE_C = 3e-3


@runtime_checkable
class Judge(Protocol):
    """Scores pictures for words."""

    def score(self, features: Array, prompt: str) -> Array | None:
        """One score per picture, higher is more; None if it cannot judge these words."""
        ...

    @property
    def unit(self) -> str:
        """What a score of 1 means."""
        ...


class ProbeJudge:
    """Logistic regression from features to a tag, in standard deviations over the prints."""

    unit = "σ of the training prints"

    def __init__(self, features: Array, tags: Sequence[Sequence[str]]) -> None:
        self._features = features
        self._tags = [set(row) for row in tags]
        self._probes: dict[str, Any] = {}

    def score(self, features: Array, prompt: str) -> Array | None:
        """See `Judge.score`."""
        tag = find_tag(prompt, sorted(set().union(*self._tags)))
        if tag is None:
            return None
        wished = np.array([tag in row for row in self._tags])
        if min(wished.sum(), (~wished).sum()) < FEWEST:
            return None
        if tag not in self._probes:
            self._probes[tag] = self._fit(wished)
        probe, spread = self._probes[tag]
        found: Array = probe.decision_function(features) / spread
        return found

    def _fit(self, wished: NDArray[np.bool_]) -> tuple[Any, float]:
        try:
            from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (an extra)
            from sklearn.pipeline import make_pipeline  # noqa: PLC0415
            from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(
                "evaluate: scikit-learn is not installed; run pip install 'ukiyoe[eval]'."
            ) from error
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=2000))
        probe.fit(self._features, wished)
        return probe, max(float(np.std(probe.decision_function(self._features))), 1e-9)


class ClipJudge:
    """CLIP's cosine between picture and words, in hundredths."""

    unit = "cosine x 100"

    def __init__(self, network: Any) -> None:
        self._network = network

    def score(self, features: Array, prompt: str) -> Array | None:
        """See `Judge.score`."""
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        found: Array = 100 * unit @ self._network.embed_text(prompt)
        return found


def find_tag(prompt: str, tags: Sequence[str]) -> str | None:
    """The tag that a prompt names.

    Args:
        prompt: Words, such as "a great wave" or "boats".
        tags: What prints are tagged with.

    Returns:
        The tag with the most words all of which the prompt has, in singular or plural; None if
        there is none.
    """
    words = {_singular(word) for word in prompt.lower().split()}
    named = [tag for tag in tags if tag and {_singular(w) for w in tag.lower().split()} <= words]
    return max(named, key=lambda tag: len(tag.split()), default=None)


def _singular(word: str) -> str:
    word = word.strip(".,;:!?\"'()")
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
