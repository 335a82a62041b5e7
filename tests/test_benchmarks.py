"""The benchmarks run (on tiny networks, whose numbers mean nothing) and their tables add up."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import memory
import reference
import run
import sampler
import startup
from celebahq import unet
from timing import Report, half_quartiles, ratios, side_by_side
from ukiyoe.evaluation.machine import peak_memory


def rows(folder: Path, name: str) -> dict[str, float]:
    content = json.loads((folder / f"{name}.json").read_text())
    assert content["smoke"] is True
    assert content["machine"]
    return {row["name"]: row["value"] for row in content["rows"]}


def test_works_take_turns_and_each_goes_first() -> None:
    order: list[str] = []
    works = {name: partial(order.append, name) for name in "ab"}
    times = side_by_side(works, rounds=3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert [len(values) for values in times.values()] == [3, 3]


def test_ratios_are_of_neighbors() -> None:
    assert ratios({"a": [2, 9], "b": [1, 3]}, "a", "b") == [2, 3]
    assert half_quartiles([1, 2, 3, 4, 5]) == 1


def test_a_missed_bar_is_told_and_is_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("x")
    assert report.add("kept", [1.0, 2.0, 9.0], "s", high=2) == 2
    assert report.save(tmp_path, {}) == 0
    report.add("missed", 1.0, low=2)
    assert report.save(tmp_path, {}) == 1
    assert [row.verdict for row in report.rows] == ["PASS", "FAIL"]
    assert report.rows[0].spread == 2
    capsys.readouterr()


def test_the_reference_network_has_the_published_size() -> None:
    with torch.device("meta"):
        network = unet(256)
    assert sum(w.numel() for w in network.parameters()) == pytest.approx(113.7e6, rel=1e-3)


def test_reference(ddpm_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    options = ["--smoke", "--model", str(ddpm_folder), "--rounds", "2", "--output", str(tmp_path)]
    assert reference.main(options) == 0
    found = rows(tmp_path, "reference")
    step = found["one guided step of the reference"]
    assert found["reference picture, 40 steps (scaled)"] == pytest.approx(40 * step)
    assert found["how many times faster"] > 0


def test_a_reference_step_follows_the_gradient() -> None:
    pytest.importorskip("transformers")
    recipe = reference.Recipe(32, tiny=True)
    torch.manual_seed(1)
    guided = recipe.step()
    recipe.color = -recipe.color
    torch.manual_seed(1)
    assert float((recipe.step() - guided).abs().max()) > 0


def test_sampler(ddpm_folder: Path, tmp_path: Path) -> None:
    options = ["--smoke", "--model", str(ddpm_folder), "--rounds", "2", "--output", str(tmp_path)]
    assert sampler.main(options) == 0
    found = rows(tmp_path, "sampler")
    assert found["our loop / bare forwards"] > 0
    assert found["ours / DDIMPipeline"] > 0


def test_memory(ddpm_folder: Path, tmp_path: Path) -> None:
    if peak_memory() is None:
        pytest.skip("nobody counts memory here")
    assert memory.main(["--smoke", "--model", str(ddpm_folder), "--output", str(tmp_path)]) == 0
    found = rows(tmp_path, "memory")
    alone = found.pop("Python alone")
    assert all(value > alone + 50 for value in found.values())  # torch alone is more


def test_startup(ddpm_folder: Path, tmp_path: Path) -> None:
    options = ["--smoke", "--model", str(ddpm_folder), "--rounds", "1", "--output", str(tmp_path)]
    assert startup.main(options) == 0
    found = rows(tmp_path, "startup")
    assert found["Python alone"] < found["first picture, from the prompt to the PNG"]


def test_results_are_written_from_what_is_on_disk(tmp_path: Path) -> None:
    report = Report("sampler")
    report.add("our loop / bare forwards", [1.01, 1.02, 1.04], "x", high=1.03)
    report.save(tmp_path / "sampler", {})
    line = {"name": "ddim", "x": [5], "y": [1.5], "spread": [0.1]}
    evaluation = {
        "about": {"date": "2030-01-02", "machine": "a loom"},
        "measures": [{"name": "KID", "value": 1.25, "spread": 0.03, "unit": ""}],
        "plots": [{"title": "KID over steps", "series": [line]}],
    }
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "report.json").write_text(json.dumps(evaluation))
    text = run.tables(tmp_path)
    assert "| our loop / bare forwards | 1.02 ± 0.0075 x | <= 1.03 | PASS |" in text
    assert "| KID | 1.25 ± 0.03 |  |  |" in text
    assert "| KID, 5 steps of ddim | 1.5 ± 0.1 |" in text
    assert "2030-01-02; a loom" in text


def test_one_command_runs_the_named_ones(
    ddpm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--model", str(ddpm_folder), "--results", str(tmp_path / "results"), "--smoke"]
    common += ["--output", str(tmp_path / "RESULTS.md")]
    assert run.main(["--only", "sampler,quality", *common]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## Our sampling loop" in text
    assert "A smoke run: the numbers mean nothing." in text
    with pytest.raises(SystemExit):
        run.main(["--only", "weather", *common])
    capsys.readouterr()
