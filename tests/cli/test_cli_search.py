"""`tfg-jax search` from options to the samples of the best."""

import json
from types import SimpleNamespace

import pytest

import tfg_jax as tfg
from tfg_jax.cli import methods, sample, search, searching
from tfg_jax.cli import options as options_module
from tfg_jax.cli.main import main
from tfg_jax.cli.options import parse
from tfg_jax.runs.store import read_folder
from tfg_jax.search import Candidate

OWN = """
import jax.numpy as jnp
import tfg_jax as tfg

data = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.05 * jnp.eye(2)] * 2)


def near(x0, target):
    return -2.0 * jnp.sum((x0 - target) ** 2)


task = tfg.tasks.own_task(
    data.denoiser(tfg.VPCosine()),
    objective=near,
    targets=jnp.array([[1.0, 0.3], [-1.0, 0.3]]),
    evaluate=lambda x, target: {"distance": jnp.linalg.norm(x - target, axis=1)},
    presets={"tfg": tfg.TFG(rho=0.5, mu=0.1), "dps": tfg.DPS(0.5)},
    sampler=tfg.DDIM(steps=3, eta=0.5),
)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("own") / "searched.py"
    file.write_text(OWN)
    return str(file)


@pytest.fixture(scope="module")
def asked(own) -> list[str]:
    axes = ["--axes", "rho", "window=none,-5:2", "--aim", "distance=lower", "cost"]
    return ["search", "--task", own, "--num-samples", "4", "--chunk", "8", "--trial-samples", "8", *axes]


def test_the_best_is_what_sample_makes(asked, own, tmp_path, capsys):
    """What best.json says is reported of it are the numbers of the samples that it makes."""
    out = tmp_path / "search"
    assert main([*asked, "--dry-run", "--output", str(out)]) == 0 and not out.exists()
    told = capsys.readouterr().out
    assert "At most 33 candidates, 130 samples and 780 network evaluations at the start's 6 a sample" in told
    assert main([*asked, "--output", str(out)]) == 0
    told = capsys.readouterr()
    assert "round 0, 4 on 2 samples" in told.err and "distance, reported" in told.out and "best.json" in told.out
    page = (out / "report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in ("Best", "Front", "Path", "Importance", "Trials"))
    best = json.loads((out / "best.json").read_text())
    assert best["options"]["num_samples"] == 4 and best["found"]["seeds"] == [0] and best["found"]["samples"] == 4
    assert main(["sample", "--config", str(out / "best.json"), "--dry-run"]) == 2  # a file never names code to run
    assert main(["sample", "--task", own, "--config", str(out / "best.json")]) == 0
    numbers = json.loads((out / "best" / "metrics.json").read_text())
    assert numbers["distance"] == pytest.approx(best["found"]["scores"]["distance"][0], rel=1e-5)
    made, values = read_folder(out / "best").manifest["config"], best["found"]["candidate"]
    assert (made["guidance"]["rho"], made["window"]) == (values["rho"], values["window"])
    capsys.readouterr()
    trials = (out / "trials.jsonl").read_bytes()
    assert main([*asked, "--output", str(out)]) == 0 and (out / "trials.jsonl").read_bytes() == trials
    assert main([*asked, "--search-seed", "5", "--output", str(out)]) == 2
    assert "holds another search (seeds: [1000, 1001] -> [5, 6])" in capsys.readouterr().err


def test_a_term_that_the_best_leaves_out_is_left_out(asked):
    """Of a preset that has it, and with it what only it needs; so is what belongs to a horizon."""
    options = parse(search, "search", [*asked[1:], "--n-iter", "2"])
    best = Candidate.of({"mu": None, "rho": 0.7, "horizon": None, "window": [-5.0, 2.0]})
    given = searching.best_options(options, SimpleNamespace(best=SimpleNamespace(candidate=best)))
    words = options_module._flags({name: value for name, value in given.items() if name != "task"})
    read = parse(sample, "sample", ["--task", given["task"], *words])
    assert methods.build(methods.named("tfg", {"tfg": tfg.TFG(0.5, 0.1)}, ()), read) == tfg.TFG(rho=0.7, mu=None)
    assert read.window == (-5.0, 2.0) and read.horizon is None


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--guidance", "none"], "guidance=none has no settings to search"),
        (["--seed", "1001"], "seed_report=1001 is among the seeds that choose, 1000, 1001"),
        (["--axes", "strength"], "text='strength' names no setting"),
        (["--axes", "smoothing"], "starts at None"),
        (["--aim", "speed"], "write speed=higher or =lower"),
        (["--search-evaluator", "x"], "--search-evaluator has no effect on a task that brings its own scores"),
        (["--max-cost", "3"], "max_cost=3 is below the 6 network evaluations"),
        (["--trial-samples", "1"], "samples=1"),
    ],
)
def test_options_that_cannot_be_meant_are_named(extra, said, asked, capsys):
    assert main([*asked, *extra, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_classes_are_searched_by_another_evaluator(tiny, weights, tmp_path, capsys):
    """Of a data set's task; the evaluator that reports may not choose."""
    asked = ["search", *tiny, "--axes", "rho=1,2", "--trial-samples", "4", "--output", str(tmp_path)]
    evaluator = str(weights / "evaluator")
    assert main([*asked, "--search-evaluator", evaluator, "--dry-run"]) == 2
    assert "report_task has the evaluator that chooses" in capsys.readouterr().err
    assert main(asked) == 0 and "one evaluator both chooses and reports" in capsys.readouterr().err
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["options"]["per_class"] == 1 and best["found"]["samples"] == 5
    assert set(best["found"]["scores"]) == {"evaluator_accuracy"}
