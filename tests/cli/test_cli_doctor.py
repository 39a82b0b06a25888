"""`tfg-jax doctor`: the machine, and a model of the user's."""

import json
from pathlib import Path

from tfg_jax.cli.main import main

MOLECULES = Path(__file__).parents[1] / "tasks" / "tiny_molecules.py"
MODEL = """
import tfg_jax as tfg

def right():
    return tfg.analytic.gaussian([0.4, -0.2], [[0.6, 0.2], [0.2, 0.3]]).denoiser(tfg.VPCosine())

def broken():
    return right().replace(apply=lambda params, x, t, cond: x / (t - t))
"""


def test_the_machine_is_told(capsys, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "device     0: cpu" in said and "turned off by $TFG_JAX_CACHE" in said and "optuna" in said
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["doctor", "--steps", "4"]) == 2 and "steps=4 has no effect without --model" in capsys.readouterr().err
    assert told["versions"]["jax"] and told["cache"]["programs"] == 0 and "model" not in told


def test_a_model_is_examined(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MODEL)
    assert main(["doctor", "--model", f"{tmp_path}/mine.py:right", "--steps", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["model"]
    assert told["findings"] == [] and max(told["ratio"]) < 2 and len(told["t"]) == 4
    assert main(["doctor", "--model", f"{tmp_path}/mine.py:broken", "--steps", "4"]) == 3
    said = capsys.readouterr().out
    assert "non-finite: the network gives NaN" in said and "of the linear denoiser" in said


def test_a_model_that_needs_a_condition_is_given_one(capsys):
    words = ["doctor", "--model", f"{MOLECULES}:model", "--steps", "2", "--num-samples", "8", "--json"]
    assert main(words) == 2 and "of molecules the atom count" in capsys.readouterr().err
    assert main([*words, "--cond", "9"]) in (0, 3) and len(json.loads(capsys.readouterr().out)["model"]["t"]) == 2
    assert main([*words, "--cond", "30"]) == 2 and "outside 0..29" in capsys.readouterr().err
