"""Tasks, models, objectives, methods and samplers of the user's own, named on the command line."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.cli import methods, optimize
from tfg_jax.cli.main import main
from tfg_jax.cli.options import Typed, parse
from tfg_jax.cli.samplers import sampler_of, sampler_part
from tfg_jax.runs.run import Run
from tfg_jax.runs.store import read_folder
from tfg_jax.tasks.find import find_task


@pytest.fixture(scope="module")
def asked(own) -> list[str]:
    return ["sample", "--task", str(own), "--num-samples", "4", "--chunk", "3"]


@pytest.fixture(scope="module")
def run(asked, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tasks") / "run"
    assert main([*asked, "--output", str(out)]) == 0
    return out


def test_a_task_of_ones_own_is_one_file(run, asked, own, capsys):
    """Its samples are those of `tfg_jax.sample`, its numbers and report those that it says; the command resumes."""
    arrays, task = read_folder(run).read_all(), find_task(str(own))
    assert arrays["target"].tolist() == np.asarray(task.targets(4)).tolist()
    found = tfg.sample(
        __import__("jax").random.key(0), task.model, objective=task.objective(None), target=task.targets(4),
        guidance=tfg.TFG(rho=0.5, mu=0.1), sampler=tfg.DDIM(steps=3, eta=0.5),
    )  # fmt: skip
    np.testing.assert_allclose(arrays["x"], found.x, rtol=1e-5, atol=1e-6)
    numbers = json.loads((run / "metrics.json").read_text())
    distance = np.linalg.norm(arrays["x"] - arrays["target"], axis=1)
    assert (
        numbers["distance"] == pytest.approx(distance.mean(), rel=1e-5) and numbers["network_forwards_per_sample"] == 3
    )
    rows = list(csv.DictReader((run / "samples.csv").open()))
    assert [float(row["distance"]) for row in rows] == pytest.approx(distance.tolist(), rel=1e-5)
    assert "Objective against sampling step" in (run / "report.html").read_text() and not (run / "grid.png").exists()
    capsys.readouterr()
    assert main([*asked, "--output", str(run)]) == 0
    assert "4 of 4 samples are on disk already" in capsys.readouterr().err
    assert main([*asked, "--seed", "1", "--output", str(run)]) == 2
    assert "seed: 0 -> 1" in (said := capsys.readouterr().err) and "--output" in said and "path=" not in said


def test_a_folder_goes_on_to_more_samples(run, asked, tmp_path, capsys):
    """Whole shards stay, a shorter last one is made again, and all is what a folder of as many samples holds."""
    shutil.copytree(run, grown := tmp_path / "grown")
    whole = next((grown / "x").glob("c.0.*")).stat().st_mtime_ns
    more = [*asked, "--num-samples", "8", "--output"]
    assert main([*more, str(grown), "--seed", "1"]) == 2 and "seed: 0 -> 1" in capsys.readouterr().err
    assert main([*more, str(grown)]) == 0 and "3 of 8 samples are on disk already" in capsys.readouterr().err
    assert main([*more, str(tmp_path / "fresh")]) == 0
    files = [*grown.glob("shard-*"), *grown.glob("*/c.*"), *grown.rglob("zarr.json"), grown / "manifest.json"]
    assert len([*grown.glob("shard-*")]) == 3 and next((grown / "x").glob("c.0.*")).stat().st_mtime_ns == whole
    for name in [file.relative_to(grown) for file in files]:
        assert (grown / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    capsys.readouterr()
    assert main([*asked, "--output", str(grown)]) == 2 and "num_samples: 8 -> 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--objective", "{file}:flipped"], "objective.name"),
        (["--model", "{file}:other"], "schedule.type"),
        (["--guidance", "{file}:Mine"], "guidance.mu"),
        (["--guidance", "dps", "--strength", "0.25"], "guidance.mu"),
        (["--sampler", "heun"], "sampler.eta"),
        (["--clip"], "clip"),
        (["--steps", "4"], "sampler.steps: 3 -> 4"),
        (["--horizon", "1"], "lookahead"),
        (["--dtype", "bfloat16"], 'dtype: None -> "bfloat16"'),
    ],
)
def test_each_part_of_a_run_may_be_the_users(extra, said, run, asked, own, capsys):
    """It is understood, and tells the folder from that of the task's own parts."""
    assert main([*asked, *(word.format(file=own) for word in extra), "--output", str(run)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--task", "nothing"], "task='nothing' is unknown; choose one of fashion-mnist"),
        (["--task", "nothing.py"], "does not exist"),
        (["--task", "no_such_module:task"], "cannot be imported"),
        (["--task", "json:dumps"], "fails|is a"),
        (["--guidance", "ugd"], "guidance='ugd' is unknown; choose one of none, tfg, dps"),
        (["--guidance", "json:dumps"], "give a guidance method"),
        (["--sampler", "magic"], "sampler='magic' is unknown; choose one of ddim"),
        (["--objective", "{file}:nothing"], "has no 'nothing'"),
        (["--model", "{file}:near"], "fails when it is called"),
        (["--num-samples", "0"], "num_samples=0"),
        (["--split-weights", "3"], "--split-weights 3|split_weights=3 must divide the 1 devices"),
        (["--strength", "1"], "--strength has no effect on --method tfg"),
    ],
)
def test_code_that_cannot_be_used_is_named(extra, said, asked, own, capsys):
    words = [word.format(file=own) for word in extra]
    assert main([*asked, *words, "--dry-run"]) == 2
    heard = capsys.readouterr().err
    assert re.search(said, heard) and "Traceback" not in heard and len(heard.strip().splitlines()) == 1


def test_a_file_of_options_never_names_code_to_run(run, asked, capsys):
    config = ["--config", str(run / "config.json"), "--dry-run"]
    assert main(["sample", *config]) == 2
    assert "names code to run" in (said := capsys.readouterr().err) and "pass --task" in said
    assert main([*asked, *config]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "{file}:Mine"}, "names code to run (method="),
        ({"model": ["{file}:other"]}, "names code to run (model="),
        ({"classes": ["--task", "{file}"]}, "holds '--task', which reads as a flag"),
        ({"evaluator": "--task={file}"}, "which reads as a flag"),
        ({"task={file}": True}, "which reads as a flag"),
    ],
)
def test_a_file_of_options_does_not_pass_code_by_another_name(options, said, own, tmp_path, capsys):
    file = tmp_path / "options.json"
    file.write_text(json.dumps(options).replace("{file}", str(own)))
    assert main(["sample", "--config", str(file), "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_options_are_read_by_the_names_of_version_0_1(tmp_path, capsys):
    file = tmp_path / "options.json"
    file.write_text('{"linearise": "mean", "steps": 3}')
    read = parse(optimize, "optimize", ["--config", str(file)])
    assert read.linearize == "mean" and read.steps == 3 and not capsys.readouterr().err
    assert parse(optimize, "optimize", ["--linearise=mean"]).linearize == "mean"
    assert "--linearise is called --linearize" in capsys.readouterr().err


def test_the_key_of_a_run_is_that_of_all_that_decides_its_samples(own):
    """Not of how many are computed together."""
    task = find_task(str(own))
    run = Run(task, tfg.TFG(rho=0.5, mu=0.1), 4, chunk=2)
    assert run.key == dataclasses.replace(run, chunk=3, name="other").key
    changed = [
        {"n": 5},
        {"seed": 1},
        {"method": tfg.DPS(0.5)},
        {"task": dataclasses.replace(task, sampler=tfg.Heun(3))},
    ]
    assert len({run.key, *(dataclasses.replace(run, **change).key for change in changed)}) == 5


@pytest.mark.parametrize(
    "sampler",
    [tfg.DDIM(4, 1.0, tfg.timesteps.Leading()), tfg.DDIM(4, eta=None), tfg.Heun(4)],
    ids=["grid", "ode", "heun"],
)
def test_a_tasks_own_sampler_is_kept_whole_named_and_replayed(sampler):
    """With all of its settings; another one that is named has those of its own."""
    for words in ([], ["--sampler", "own"]):
        typed = Typed(["--steps", "5", *words])
        options = sampler_part(typed, sampler)
        given = {field.name: field.default for field in dataclasses.fields(options.cls)} | dict(options.defaults)
        built = sampler_of(SimpleNamespace(**{**given, "steps": 5}), sampler)
        assert built == dataclasses.replace(sampler, steps=5)
    part = sampler_part(Typed(["--sampler", "ddim"]), sampler)
    assert {"eta", "v"} <= {field.name for field in dataclasses.fields(part.cls)}


def test_folders_of_compared_methods_stay_inside():
    for name in ("/tmp/m.py:Mine", "../m.py:Mine", "..", "a b"):
        folder = Path("out") / methods.folder_of(name)
        assert folder.resolve().parent == Path("out").resolve() or methods.folder_of(name) == ""
