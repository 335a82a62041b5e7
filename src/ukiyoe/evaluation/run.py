"""One model -> everything we measure of it, part by part."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ukiyoe.errors import InvalidInput
from ukiyoe.evaluation.effects import DEFAULT_GUIDES, GuideWish, parse_guide
from ukiyoe.evaluation.guide_parts import guide_effects, scale_curves
from ukiyoe.evaluation.machine import machine, versions
from ukiyoe.evaluation.networks import Network
from ukiyoe.evaluation.parts import colors, cost, likeness, novelty, step_curves
from ukiyoe.evaluation.result import Evaluation
from ukiyoe.evaluation.session import EvaluationData, Features, Part, Session
from ukiyoe.pipeline import UkiyoePipeline
from ukiyoe.settings import DEFAULTS

FEWEST = 12  # pictures, made and real: fewer have no 5th neighbor in a half


def no_progress(items: Iterable[Any], label: str) -> Iterable[Any]:
    """Show nothing."""
    return items


def forget(name: str, features: Features) -> None:
    """Keep nothing."""


def evaluation_parts(
    pipe: UkiyoePipeline,
    data: EvaluationData,
    network: Network,
    network_name: str,
    guides: Sequence[GuideWish] | None = None,
    count: int = 256,
    curves: bool = False,
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = no_progress,
    keep: Callable[[str, Features], object] = forget,
) -> Generator[Evaluation]:
    """Measure a model; every part adds to what the ones before it found.

    Args:
        pipe: The model.
        data: Real pictures.
        network: What describes pictures; it should have had no part in making them.
        network_name: What to call it.
        guides: Wishes to measure; None takes `DEFAULT_GUIDES`, as far as the model has a text
            side.
        count: Unguided pictures to make, seeds 0, 1, ...
        curves: Also KID over steps and solvers.
        progress: Wraps lists of batches, with a label, for a progress bar.
        keep: Is given the features behind the numbers, so that others can check them.

    Yields:
        The evaluation so far; the last one is whole.

    Raises:
        InvalidInput: If there are too few pictures.
    """
    for name, size in (("count", count), ("data", len(data.reference))):
        if size < FEWEST:
            raise InvalidInput(f"{name}: expected at least {FEWEST} pictures, got {size}.")
    if len(data.training) < 2:
        raise InvalidInput(f"data: expected at least 2 training prints, got {len(data.training)}.")
    session = Session(pipe, data, network, progress, keep)
    wishes = list(guides) if guides is not None else default_guides(pipe)
    found = Evaluation(_about(session, network_name, count))
    parts: list[Callable[[], Part]] = [
        lambda: likeness(session, count),
        lambda: novelty(session, count),
        lambda: colors(session, count),
        *(
            [lambda: guide_effects(session, wishes), lambda: scale_curves(session, wishes)]
            if wishes
            else []
        ),
        *([lambda: step_curves(session)] if curves else []),
        lambda: cost(session),
    ]
    for part in parts:
        measures, plots, galleries = part()
        found = replace(
            found,
            measures=found.measures + tuple(measures),
            plots=found.plots + tuple(plots),
            galleries=found.galleries + tuple(galleries),
        )
        yield found


def default_guides(pipe: UkiyoePipeline) -> list[GuideWish]:
    """What to measure when nobody says; without words for a model that has no text tower."""
    wishes = [parse_guide(text) for text in DEFAULT_GUIDES]
    has_text = (pipe.model.folder / "text_tower").is_dir()
    return [wish for wish in wishes if has_text or wish.prompt is None]


def _about(session: Session, network_name: str, count: int) -> dict[str, str]:
    model, data = session.pipe.model, session.data
    height, width = model.picture_size(model.default_orientation)
    held = "kept out of training" if data.reference_crops is not None else "all there are"
    return {
        "model": f"{model.name} ({model.weight_hash})",
        "pictures": f"{count}, seeds 0 to {count - 1}, {width}x{height} px, "
        f"{DEFAULTS.num_inference_steps} steps of {DEFAULTS.solver}",
        "data": f"{data.name}: {len(data.reference)} prints to compare with ({held}), "
        f"{len(data.training)} that may have been copied",
        "judge": network_name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
    }
