"""A trained U-Net -> a model folder with everything its start had, and a model card."""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from ukiyoe.errors import InvalidInput
from ukiyoe.model import Model, SpaceToDepth

CARD, GRID = "README.md", "samples.png"
# What a model may have beside its U-Net and scheduler.
PARTS = ("vae", "vqvae", "upscaler", "text_tower")
UPLOADED = ["model_index.json", "ukiyoe.json", CARD, GRID, "unet/*", "scheduler/*"] + [
    f"{part}/*" for part in PARTS
]


def save_result(folder: Path, model: Model, unet: Any, card: str) -> None:
    """Write a diffusers folder: the start's, with the trained weights in float32.

    Every part is written beside its place first, so that a folder of an earlier run is replaced
    part by part by whole ones.

    Args:
        folder: Where to.
        model: What training started from; its other parts are copied.
        unet: The trained network.
        card: Text of the model card.

    Raises:
        InvalidInput: If the folder cannot be written.
    """
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    source = model.folder
    # The oldest DDPMs keep everything at the top.
    scheduler = source / "scheduler" if (source / "scheduler").is_dir() else source
    try:
        (part / "scheduler").mkdir(parents=True)
        unet.save_pretrained(part / "unet", safe_serialization=True)
        shutil.copy(scheduler / "scheduler_config.json", part / "scheduler")
        for name in ("model_index.json", "ukiyoe.json"):
            if (source / name).is_file():
                shutil.copy(source / name, part / name)
        for name in PARTS:
            if (source / name).is_dir():
                shutil.copytree(source / name, part / name)
        (part / CARD).write_text(card, encoding="utf-8")
        for new in part.iterdir():
            if (folder / new.name).is_dir():
                shutil.rmtree(folder / new.name)
            new.replace(folder / new.name)
    except OSError as error:
        raise InvalidInput(
            f"output: cannot write {folder} ({error.strerror}); the checkpoints are kept, free "
            "some space and resume."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def model_card(model: Model, name: str, facts: dict[str, str], summary: str) -> str:
    """The card of a result: how to use it, what it learned from, what is not known.

    Args:
        model: What training started from.
        name: What the result is called.
        facts: Rows of the table of how it was trained.
        summary: The data report.

    Returns:
        Markdown with the metadata the Hub reads.
    """
    plain = isinstance(model.codec, SpaceToDepth) and model.codec.factor == 1
    if plain and model.upscaler is None:
        use = (
            "```python\nfrom diffusers import DDPMPipeline\n\n"
            f'pipeline = DDPMPipeline.from_pretrained("{name}")\npipeline().images[0]\n```\n\n'
            f'or, steered and with fewer steps, `ukiyoe generate --model "{name}"`.'
        )
    else:
        use = (
            "The U-Net does not work on pixels as they are, so use Ukiyoe, not diffusers' own "
            "pipelines:\n\n```python\nfrom ukiyoe import UkiyoePipeline\n\n"
            f'pipeline = UkiyoePipeline.from_pretrained("{name}")\n'
            "pipeline(seeds=[7]).images[0]\n```"
        )
    lines = ["---", "tags:", "- diffusers", "- unconditional-image-generation", "- ukiyoe"]
    if model.name.count("/") == 1 and not _local(model.name):
        lines.append(f"base_model: {model.name}")
    lines += [
        "---",
        f"# {name}",
        f"![Samples from fixed seeds]({GRID})",
        f"An unconditional diffusion model, trained with Ukiyoe from `{public_name(model)}`.",
        "## Use",
        use,
        "## Training",
        "| what | value |\n|---|---|\n" + "\n".join(f"| {k} | {v} |" for k, v in facts.items()),
        "## Data",
        f"```text\n{summary}\n```",
        "## Not known",
        "This card was written by a program. The rights to the pictures, what they leave out, and "
        "what the model is fit for are for its maker to say here.",
    ]
    head = lines.index("---", 1)
    return "\n".join(lines[: head + 1]) + "\n\n" + "\n\n".join(lines[head + 1 :]) + "\n"


def push(folder: Path, name: str, endpoint: str | None = None) -> str:
    """Upload a result to the Hub, without checkpoints and logs.

    Args:
        folder: The result.
        name: ``owner/name``; made if it is not there.
        endpoint: Another Hub.

    Returns:
        Its address.

    Raises:
        InvalidInput: If the Hub says no, or cannot be reached.
    """
    api = HfApi(endpoint=endpoint)
    try:
        made = api.create_repo(name, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            allow_patterns=UPLOADED,
            commit_message="Trained with Ukiyoe",
        )
    except Exception as error:  # the hub client's errors share no base class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidInput(
            f"push-to-hub: cannot upload to {name!r} ({reason[0][:200]}); the model is in "
            f"{folder}. Check the id, the network, and that `hf auth login` was done."
        ) from error
    return str(made)


def public_name(model: Model) -> str:
    """What a model is called where others read it: of a folder, only its own name."""
    return Path(model.name).name if _local(model.name) else model.name


def _local(name: str) -> bool:
    return Path(name).expanduser().exists()
