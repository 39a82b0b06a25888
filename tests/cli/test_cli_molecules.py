"""`tfg-jax sample --task qm9`, on networks that compile in no time, and what it is told in vain."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from tfg_jax.cli import search, searching
from tfg_jax.cli.main import main
from tfg_jax.cli.options import parse
from tfg_jax.data import qm9
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.runs.store import read_folder
from tfg_jax.search.setup import weights_of
from tfg_jax.weights import store

TINY = Path(__file__).parents[1] / "tasks" / "tiny_molecules.py"
CONFIG = EGNNConfig(width=8, pair_width=4, pair_hidden=4, heads=1, vectors=2, layers=1, radial=4)


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Networks by the functions that give them, and a run of three molecules in two chunks."""
    networks = [f"--{role}={TINY}:{role}" for role in ("model", "guide", "evaluator")]
    return ["sample", "--task", "qm9", *networks, "--num-samples", "3", "--chunk", "2", "--steps", "2"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A folder of weights of a network of properties."""
    folder, rng = tmp_path_factory.mktemp("weights") / "mine", np.random.default_rng(0)
    state = nnx.state(nnx.eval_shape(lambda: PropertyNet(CONFIG, 2, rngs=nnx.Rngs(0))), nnx.Param)
    shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(state)}
    arrays = {name: (rng.normal(size=shape) / 3).astype(np.float32) for name, shape in shapes.items()}
    units = {"properties": ["alpha", "gap"], "mean": [75.0, 6800.0], "scale": [6.0, 1000.0]}
    head = {"architecture": "egnn.PropertyNet", "name": "mine", "network": CONFIG.to_dict()}
    store.save_weights(folder, {**head, **units}, arrays)
    return folder


def test_molecules_are_sampled_scored_reported_and_kept(asked, tmp_path, capsys):
    out = tmp_path / "run"
    words = [*asked, "--property", "alpha", "gap", "--target", "150", "6900", "--method", "dps", "--output", str(out)]
    assert main([*words, "--dry-run"]) == 0
    heard = capsys.readouterr()
    assert "dps" in heard.out and "29 x 9" in heard.out and "Nothing was sampled or written" in heard.out
    assert "note: target alpha = 150 bohr^3 lies outside the data" in heard.err and not out.exists()
    assert main(words) == 0
    heard = capsys.readouterr()
    assert "molecules.sdf" in heard.out and "alpha = 150" in heard.err
    names = "grid.png report.html metrics.json molecules.sdf molecules.xyz samples.csv config.json"
    assert set(names.split()) <= {file.name for file in out.iterdir()}
    page, numbers = (out / "report.html").read_text(), json.loads((out / "metrics.json").read_text())
    assert "alpha = 150 bohr^3 lies outside the data" in page and "quantiles are" in page
    assert numbers["samples"] == 3 and {"error_alpha", "error_gap", "guide_error_gap", "validity"} <= set(numbers)
    target = read_folder(out).read_all()["target"]
    assert target[:, 1:].tolist() == [[150.0, 6900.0]] * 3 and target[0, 0] > 15
    lines = (out / "samples.csv").read_text().splitlines()
    assert len(lines) == 4 and {"requested_gap", "reached_gap", "error_gap"} <= set(lines[0].split(","))
    assert main([*words, "--seed", "1"]) == 2 and "seed: 0 -> 1" in capsys.readouterr().err
    config = ["sample", "--task", "qm9", "--config", str(out / "config.json"), "--model", f"{TINY}:model"]
    assert main([*config, "--dry-run"]) == 2
    assert "names code to run" in (said := capsys.readouterr().err) and "pass --evaluator" in said


def test_weights_in_a_folder_guide_too(asked, stored, tmp_path, capsys):
    words = [*asked, "--guide", str(stored), "--method", "mpgd", "--atoms", "9", "--dry-run", "--property"]
    assert main([*words, "gap"]) == 0 and not capsys.readouterr().err
    assert main([*words, "mu"]) == 2
    assert "property='mu' is unknown to 'mine'; choose of alpha, gap" in capsys.readouterr().err


def test_the_options_of_molecules_are_shown(capsys):
    assert main(["sample", "--task", "qm9", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(flag in said for flag in ("--property", "--target", "--atoms", "--by-size", "--xtb"))
    assert "--classes" not in said


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--property", "charge"], "property='charge' is unknown; choose of mu, alpha, homo, lumo, gap, cv"),
        (["--property", "mu", "mu"], "must name one property or several, each once"),
        (["--target", "1", "2"], r"target=\[1.0, 2.0\] must hold one finite number for each of alpha"),
        (["--target", "nan"], r"target=\[nan\] must hold one finite number"),
        (["--target", "1e300"], "must hold one finite number"),
        (["--atoms", "0"], "atoms=0 must be an integer >= 1"),
        (["--atoms", "30"], "atoms=30 is asked for, the model makes molecules of 1 to 29"),
        (["--num-samples", "0"], "num_samples=0"),
        (["--clip"], "--clip has no effect on molecules"),
        (["--save-program", "program"], "save_program=program cannot hold a run of MoleculeTask"),
        (["--objective", "{tiny}:guide"], "--objective has no effect on molecules"),
        (["--method", "conditional"], "guidance='conditional' is unknown; choose one of none, dps"),
        (["--guide", "fashion-mnist-guide"], "a PropertyPredictor is needed"),
        (["--evaluator", "{tiny}:model"], "evaluator=.* is a Denoiser; a PropertyPredictor is needed"),
        (["--guide", "{tiny}:nothing"], "guide=.* has no 'nothing'"),
        (["--model", "fashion-mnist"], "not molecules of shape"),
        (["--model", "{tiny}:guide"], "model=.* is a PropertyPredictor; a Denoiser is needed"),
        (["--model", "{tiny}:small"], "the model makes molecules of 1 to 9"),
        (["--evaluator", "no-such-weights"], "neither a released name"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_sentence(extra, said, asked, capsys):
    assert main([*asked, *(word.format(tiny=TINY) for word in extra), "--dry-run"]) == 2
    heard = capsys.readouterr().err
    assert re.search(said, heard) and "Traceback" not in heard and len(heard.strip().splitlines()) == 1, heard


@pytest.mark.parametrize("extra", [["--classes", "3"], ["--per-class", "2"], ["--noisy-guide", "x"], ["--weak", "x"]])
def test_options_of_images_are_no_options_of_molecules(extra, asked, capsys):
    assert main([*asked, *extra, "--dry-run"]) == 2
    heard = capsys.readouterr().err
    assert extra[0] in heard and "Traceback" not in heard


@pytest.mark.parametrize("command", ["solve", "compare", "optimize", "evaluate", "study"])
def test_commands_of_images_refuse_molecules(command, capsys):
    assert main([command, "--task", "qm9", "--dry-run"]) == 2
    assert "task=qm9 is no data set of labelled images; `tfg-jax sample`" in capsys.readouterr().err


def test_xtb_is_looked_for_before_anything_is_sampled(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*asked, "--xtb", "--output", str(tmp_path / "run")]) == 2
    assert "install it with `apt install xtb`" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_training_without_usable_data_says_what_to_do(tmp_path, monkeypatch, capsys):
    """Empty, damaged and foreign files, and the package missing; nothing is left behind."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(1000))
    store.save_arrays(tmp_path / "other", {"a": np.zeros(3, np.float32)})
    (tmp_path / "csv").mkdir()
    for part in (1, 2, 3):
        (tmp_path / "csv" / f"qm9_part{part}.csv").write_text("")
    monkeypatch.delenv(qm9.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(qm9.importlib.util, "find_spec", lambda name: None)
    cases = {"empty": "sha256", "noise": "sha256", "other": "sha256", "csv": "holds 0 molecules where QM9 has 130831"}
    small = [
        "--width",
        "8",
        "--pair-width",
        "4",
        "--pair-hidden",
        "4",
        "--heads",
        "1",
        "--vectors",
        "2",
        "--layers",
        "1",
    ]
    recipe = ["train", "molecules-guide", *small, "--folder", str(tmp_path / "state")]
    for name, said in cases.items():
        assert main([*recipe, "--data", str(tmp_path / name)]) == 2
        heard = capsys.readouterr().err
        assert said in heard and str(tmp_path / name) in heard and "Traceback" not in heard, heard
    for words in (recipe, [*recipe, "--data", str(tmp_path / "nothing")]):
        assert main(words) == 2
        heard = capsys.readouterr().err
        assert "pip install 'tfg_jax[molecules]'" in heard and "--data of `tfg-jax train`" in heard, heard
    assert not (tmp_path / "state").exists()


def test_molecules_are_searched_by_the_evaluator_that_is_named(asked, tmp_path, capsys):
    """And reported by the other; what chooses without a network needs none."""
    words = ["search", *asked[1:], "--method", "dps", "--axes", "strength=0.1,0.2", "--trial-samples", "2"]
    assert main([*words, "--dry-run"]) == 2 and "aim=error_alpha is given by" in capsys.readouterr().err
    by_bonds = parse(search, "search", [*words[1:], "--aim", "molecule_stability"])
    assert searching.notes(what := searching.search_of(by_bonds)) == []
    np.testing.assert_array_equal(what.space.task.targets(2), what.report_task.targets(5)[3:])  # which are not reported
    shipped = searching.search_of(parse(search, "search", ["--task", "qm9", "--num-samples", "2"]))
    assert searching.notes(shipped) == [] and shipped.scored_by("error_alpha") is shipped.space.task.evaluator
    chooses, reports = (parts.space.task for parts in (shipped, shipped.reporting))
    assert weights_of(chooses.guide) == weights_of(reports.guide)
    assert len({weights_of(each) for each in (chooses.evaluator, reports.evaluator, reports.guide)}) == 3
    assert main([*words, "--search-evaluator", f"{TINY}:guide", "--output", str(tmp_path)]) == 0
    assert "error_alpha is given by the network that guides" in capsys.readouterr().err
    best = json.loads((tmp_path / "best.json").read_text())
    assert set(best["found"]["scores"]) == {"error_alpha", "molecule_stability"} and best["found"]["samples"] == 3
