"""`tfg-jax sample --save-program` and `--program`: the samples of the run, without its model."""

import json
from pathlib import Path

import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.cli.main import main
from tfg_jax.runs.program import examples_of
from tfg_jax.runs.store import read_folder


@pytest.fixture(scope="module")
def program(tiny, finished, tmp_path_factory) -> Path:
    """The program of the run `finished`, which `--save-program` adds to a finished folder."""
    file = tmp_path_factory.mktemp("program") / "tiny.program"
    assert main(["sample", *tiny, "--out", str(finished), "--save-program", str(file)]) == 0
    return file


def test_a_program_gives_the_samples_of_its_run(program, finished, tmp_path, capsys):
    command = ["sample", "--program", str(program), "--num-samples", "5", "--chunk", "2", "--output", str(tmp_path)]
    assert main(command) == 0
    got, want = read_folder(tmp_path).read_all(), read_folder(finished).read_all()
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-4, err_msg=name)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["samples"] == 5 and metrics["objective"] < 0 and (tmp_path / "grid.png").exists()
    assert main(command) == 0 and "5 of 5 samples are on disk" in capsys.readouterr().err
    assert main([*command, "--targets", "4"]) == 2 and "asked" in capsys.readouterr().err
    assert main([*command, "--targets", "4", "5", "--overwrite"]) == 0
    assert read_folder(tmp_path).read_all()["target"].tolist() == [4, 5, 4, 5, 4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--targets", "0.5"], "whole numbers"), (["--guidance", "tfg"], "guidance"), (["--seed", "-1"], "seed"),
        (["--num-samples", "-1"], "num_samples=-1"), (["--chunk", "0"], "chunk=0"),
        (["--dry-run"], ""),
    ],
)  # fmt: skip
def test_what_a_program_does_not_take_is_refused(program, tmp_path, words, said, capsys):
    code = main(["sample", "--program", str(program), *words, "--output", str(tmp_path / "none")])
    captured = capsys.readouterr()
    assert code == (2 if said else 0) and said in captured.err + captured.out
    assert not (tmp_path / "none").exists()


def test_a_file_of_another_kind_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"nothing")
    assert main(["sample", "--program", str(tmp_path / "file"), "--output", str(tmp_path / "out")]) == 2
    assert "no program of tfg_jax" in capsys.readouterr().err
    assert main(["sample", "--program", str(tmp_path / "missing"), "--output", str(tmp_path / "out")]) == 2


def test_it_is_small(program):
    """Weights once, the program beside them compressed."""
    header = tfg.aot.load(program).header
    weights = header["body"]["bytes"] - header["program"]["bytes"]
    assert header["program"]["bytes"] < 200_000 and weights < 100_000


def test_of_many_targets_a_program_keeps_one_round():
    """So that sample i is asked for what it is in the run that the program is of."""
    turns = np.arange(9000) % 10
    assert examples_of(turns).tolist() == [*range(10)] and len(examples_of(turns[:30])) == 30
    assert examples_of(np.stack([turns // 5, turns % 2], 1)).tolist() == [[i // 5, i % 2] for i in range(10)]
    with pytest.warns(UserWarning, match="keeps the targets of the first 4096 samples alone"):
        assert len(examples_of(np.arange(9000))) == 4096
