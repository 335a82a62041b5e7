"""Two processes train as one would."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conftest import save_ddpm
from ukiyoe.errors import InvalidInput
from ukiyoe.model import load_model
from ukiyoe.training.finetune import Run, finetune
from ukiyoe.training.fleet import ALONE, Fleet
from ukiyoe.training.presets import TUNE

pytest.importorskip("accelerate")
pytest.importorskip("imagehash")

WORKER = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch, torch.distributed as dist
torch.set_num_threads(1)
import ukiyoe.training.watch as watch
from ukiyoe.training.finetune import Run, finetune
from ukiyoe.training.presets import TUNE

watch.SAMPLING_STEPS = 2
data, start, output = sys.argv[1:]
preset = replace(TUNE, batch_size=4, accumulation=2, warmup_steps=1, learning_rate=1e-3)
run = Run(data, Path(output), preset, start, steps=6, sample_every=3, resume=True)
losses = []
asked = []


def stop():
    asked.append(0)
    return dist.get_rank() == 1 and len(asked) == 4  # only this process hears of it


try:
    finetune(run, show=lambda step, _: losses.append(step.loss), stop=stop)
except KeyboardInterrupt:
    losses.append("stopped")
finetune(run, show=lambda step, _: losses.append(step.loss))
facts = {"world": dist.get_world_size(), "backend": dist.get_backend(), "losses": losses}
if dist.get_rank() == 0:
    Path(output, "facts.txt").write_text(json.dumps(facts))
dist.barrier()
dist.destroy_process_group()
"""


def launch(*arguments: str) -> dict[str, Any]:
    """What two processes found that torchrun started."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc_per_node", "2", "--no_python", sys.executable, "-c", WORKER]
    variables = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *arguments],
        check=False,
        env=variables,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(Path(arguments[2], "facts.txt").read_text())
    return found


def test_two_processes_learn_what_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle by a Ctrl-C that only one of them gets, and resumed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ukiyoe.training.watch.SAMPLING_STEPS", 2)
    data = tmp_path / "pictures"
    data.mkdir()
    for seed in range(20):
        coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(
            data / f"{seed}.png"
        )
    start = save_ddpm(tmp_path / "start")
    facts = launch(str(data), str(start), str(tmp_path / "two"))
    assert (facts["world"], facts["backend"]) == (2, "gloo")
    assert facts["losses"].pop(4) == "stopped"
    losses: list[float] = []
    preset = replace(TUNE, batch_size=4, accumulation=2, warmup_steps=1, learning_rate=1e-3)
    run = Run(str(data), tmp_path / "one", preset, str(start), steps=6, sample_every=3)
    finetune(run, show=lambda step, _: losses.append(step.loss))
    assert facts["losses"] == pytest.approx(losses, abs=1e-5)
    one, two = (load_model(tmp_path / name, "cpu").unet for name in ("one", "two"))
    for weight, other in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(weight, other, atol=1e-5)


def test_a_batch_is_shared_out_evenly() -> None:
    assert [list(Fleet(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(InvalidInput, match="a multiple of the 3 processes, got 4"):
        Fleet(0, 3).share(4)


def test_one_process_alone_needs_nothing() -> None:
    network = nn.Linear(2, 2)
    assert ALONE.wrap(network) is network
    assert ALONE.mean(1.0, 2.0) == [1.0, 2.0]
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.leads
    ALONE.wait()
