"""`tfg-jax benchmark`: a tiny suite over every data set, its table and page, resumption, workers, refusals."""

import json
import os
import signal
from pathlib import Path

import pytest

from tfg_jax.cli.main import main
from tfg_jax.runs import run as runs
from tfg_jax.runs.store import SampleFolder

TINY = Path(__file__).parents[1] / "tasks" / "tiny_molecules.py"
SUITE = """
about = "One task of every kind that is shipped."
headline = "mpgd"
baselines = ["none"]
"""
TASK = """
[[task]]
name = "{name}"
kind = "{kind}"
data = "{data}"
targets = ["{target}"]
methods = ["none", "mpgd"]
samples = 2
steps = 2
metric = "{metric}"
also = ["{also}"]
rate = 100
clip = {clip}
settings = {{mpgd = {{strength = 0.5}}}}
"""
TASKS = [
    ("labels", "labels", "fashion-mnist", "all", "evaluator_accuracy", "frechet_distance", "true"),
    ("box", "restoration", "fashion-mnist", "box", "feature_distance", "psnr", "true"),
    ("alpha", "properties", "qm9", "alpha", "error", "molecule_stability", "false"),
]


@pytest.fixture(scope="module")
def asked(weights, tmp_path_factory) -> list[str]:
    """A suite of two samples and steps on tiny networks."""
    names = ("name", "kind", "data", "target", "metric", "also", "clip")
    file = tmp_path_factory.mktemp("suite") / "mine.toml"
    file.write_text(SUITE + "".join(TASK.format(**dict(zip(names, task, strict=True))) for task in TASKS))
    networks = {
        "fashion-mnist": weights / "model", "fashion-mnist-guide-estimates": weights / "guide",
        "fashion-mnist-evaluator": weights / "evaluator", "fashion-mnist-noisy": weights / "noisy",
        "qm9": f"{TINY}:model", "qm9-guide": f"{TINY}:guide", "qm9-evaluator": f"{TINY}:evaluator",
    }  # fmt: skip
    return ["benchmark", "--suite", str(file), "--use", *(f"{name}={what}" for name, what in networks.items())]


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "run"
    assert main([*asked, "--page", str(out / "pages" / "mine.md"), "--output", str(out)]) == 0
    return out


def numbers_of(out: Path) -> list[dict]:
    """All but times."""
    lines = json.loads((out / "metrics.json").read_text())["lines"]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


def test_a_suite_leaves_a_table_a_page_and_numbers(done):
    lines = numbers_of(done)
    assert [(line["task"], line["method"]) for line in lines] == [
        (task[0], method) for task in TASKS for method in ("none", "mpgd")
    ]
    assert [line["metric"] for line in lines[::2]] == ["evaluator_accuracy", "feature_distance", "error_alpha"]
    for line, task in zip(lines[1::2], TASKS, strict=True):
        assert line["score_low"] <= line["score"] <= line["score_high"] and task[5] in line
        assert (line["samples"], line["network_evaluations_per_sample"]) == (2, 2)
        assert line["settings"].startswith("MPGD(") and "0.5" in line["settings"]
    page, table = (done / "pages/mine.md").read_text(), (done / "table.md").read_text()
    for said in (
        "# Benchmark mine",
        "| mpgd over the best of |",
        "## Gains",
        "## Settings",
    ):
        assert said in page, said
    assert "Made by" not in page  # which no command line did
    assert table.count("\n") == 8 and (done / "pages/mine_gains.png").stat().st_size
    assert {"Headline", "Gains", "Table", "Settings"} <= set(json.loads((done / "pages/mine.json").read_text()))
    assert "<h2>Headline</h2>" in (done / "report.html").read_text()


def test_a_finished_suite_computes_nothing_again(done, asked, monkeypatch, capsys):
    monkeypatch.setattr(runs, "run_chunked", None)  # calling it would fail
    before = numbers_of(done)
    assert main([*asked, "--output", str(done)]) == 0 and numbers_of(done) == before
    capsys.readouterr()
    assert main([*asked, "--output", str(done), "--only", "box", "mpgd", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "1 row, 4 network evaluations: 1 minute on two idle cores, about" in told
    assert told.splitlines()[4].split() == ["box", "mpgd", "1", "2", "2", "4", "–", "1"]
    other = [word.replace("model", "plain") if word.startswith("fashion-mnist=") else word for word in asked]
    assert main([*other, "--output", str(done), "--dry-run"]) == 0  # results of other networks are no results
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[4:10]] == [*"000011"]
    assert main([*asked, "--seeds", "0", "1", "--output", str(done), "--dry-run"]) == 0
    assert "12 rows" in (told := capsys.readouterr().out) and told.splitlines()[4].split()[-1] == "1"


def test_a_killed_suite_goes_on_to_the_same_table(done, asked, tmp_path, monkeypatch, capsys):
    """Two workers, of which one is stopped; their rows are those of one process."""
    out, write = tmp_path / "run", SampleFolder.write

    def interrupted(self, indices, arrays):
        write(self, indices, arrays)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write", interrupted)
        assert main([*asked, "--worker", "0/2", "--output", str(out)]) == 75
    assert "interrupted after labels/all/none/0" in capsys.readouterr().err
    for worker, count in (("0/2", 3), ("1/2", 6)):
        assert main([*asked, "--worker", worker, "--output", str(out)]) == 0
        assert len(json.loads((out / "rows.json").read_text())) == count
    assert numbers_of(out) == numbers_of(done)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--suite", "smok"], "suite='smok' is unknown; choose one of full, headline, smoke, tfg-paper"),
        (["--output", "s3://bucket/run"], "--output s3://bucket/run is a URL, which only sample and solve write to"),
        (["--only", "dsp"], "only='dsp' is no task, target or method"),
        (["--use", "qm8=x"], "use='qm8' is nothing that suite 'smoke' asks for"),
        (["--use", "qm9"], "use='qm9' must be NAME=WHAT"),
        (["--samples", "0"], "samples=0"),
        (["--seeds", "1", "1"], "seeds=1 1 names a seed twice"),
        (["--worker", "2/2"], "worker='2/2' must be i/n"),
    ],
)
def test_what_cannot_be_meant_is_refused(extra, said, refused):
    refused(["benchmark", "--dry-run", *extra], said)


def test_hours_of_work_and_what_is_lacking_are_asked_for(tmp_path, capsys):
    assert main(["benchmark", "--suite", "full", "--output", str(tmp_path)]) == 2
    assert "hours to compute, about; pass --yes to start" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main(["benchmark", "--suite", "tfg-paper", "--output", str(tmp_path)]) == 2
    assert "suite 'tfg-paper' lacks cifar10, cifar10-resnet18" in capsys.readouterr().err
    assert main(["benchmark", "--suite", "tfg-paper", "--only", "deblur", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "--use cat=...  model of deblur, super-resolution, not given" in told and "cifar10" not in told
    assert "rows the time is unknown" in told
