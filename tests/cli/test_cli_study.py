"""`tfg-jax study horizon`: its plan, a tiny run of both parts, resumption, refusals."""

import json
import os
import signal
from pathlib import Path

import pytest

from tfg_jax.cli.groups import SizeOptions
from tfg_jax.cli.main import main
from tfg_jax.runs import run as runs
from tfg_jax.runs.store import SampleFolder
from tfg_jax.studies.horizon.cells import images_study
from tfg_jax.studies.horizon.images import Networks
from tfg_jax.studies.horizon.page import write_page


@pytest.fixture(scope="module")
def tiny_study(weights) -> list[str]:
    """One image a row and trial, on the smallest budget, and three rows of restorations and two of labels."""
    networks = [f"--{name}={weights / name}" for name in ("model", "guide", "evaluator")]
    return [
        "study", "horizon", *networks, "--part", "images", "--problems", "sr4", "label", "--budgets", "25",
        "--images", "2", "--trial-images", "2", "--label-samples", "2", "--trial-samples", "2", "--chunk", "2",
        "--label-chunk", "2", "--yes",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(tiny_study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "run"
    for only in (["sr4", "DPS", "DFlow"], ["label", "conditional"]):
        assert main([*tiny_study, "--out", str(out), "--only", *only]) == 0
    return out


def test_the_plan_keeps_every_row_near_its_budget_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "none"
    assert main(["study", "horizon", "--dry-run", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Nothing was computed" in said and "minutes at" in said and not out.exists()
    for row in images_study(out, ("box", "label"), (80, 320), SizeOptions(), Networks("", "", "")).rows:
        if len(row.choices) > 1:
            budget = row.labels["budget"]
            assert len(row.choices) == 4 and 0.8 * budget <= row.evaluations <= budget, row.name


def test_hours_of_work_are_asked_for(tmp_path, capsys):
    out = tmp_path / "none"
    assert main(["study", "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert "116 rows to compute, about 158 minutes; pass --yes to start" in shown.err and not out.exists()
    header = next(line for line in shown.out.splitlines() if line.startswith("problem"))
    assert "all evaluations" in header and "minutes" in header and "Nothing was computed" in shown.out
    assert main(["study", "--out", str(out), "--part", "images", "--only", "DPS", "sr4", "80"]) == 2
    assert "1 row to compute" in capsys.readouterr().err


def test_a_run_leaves_tuned_rows_and_a_page(done):
    rows = json.loads((done / "images/rows.json").read_text())
    result = rows["sr4/25/DFlow"]
    assert len(result["trials"]) == 4 and result["kept"] in range(4) and result["seconds"] > 0
    assert result["report"]["evaluations"] == 25 and result["report"]["samples"] == 2
    label = rows["label/25/conditional"]
    assert 0 <= label["report"]["accuracy"][0] <= 1 and "frechet_distance" in label["report"]
    page = (done / "page.md").read_text()
    for said in ("### sr4", "### label", "Budget 25", "PSNR (dB)", "gain over DPS", "page_cost.png"):
        assert said in page, said
    assert (done / "page_cost.png").stat().st_size and (done / "page_quality.png").stat().st_size


def test_a_page_of_a_single_image_has_no_intervals(done, tmp_path):
    """JSON has null for their infinite ends, and for what failed."""
    result = json.loads((done / "images/rows.json").read_text())["sr4/25/DPS"]
    alone = {"samples": 1, "psnr": [23.23, None, None], "ssim": [None, None, None], "values": [23.23]}
    result["report"] = result["report"] | alone
    page = write_page(tmp_path / "page.md", {}, [result]).read_text()
    row = next(line for line in page.splitlines() if line.startswith("| DPS"))
    assert "23.23 (n = 1, no interval)" in row and "nan" not in row and "inf" not in row


def test_a_finished_row_is_not_computed_again(done, tiny_study, monkeypatch, capsys):
    monkeypatch.setattr(runs, "run_chunked", None)  # calling it would fail
    command = [*tiny_study, "--out", str(done), "--only", "sr4", "DPS"]
    assert main([word for word in command if word != "--yes"]) == 0  # nothing is left to ask for
    file = done / "images/rows.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({name: each for name, each in before.items() if name != "sr4/25/DPS"}))
    # It is scored again from its samples.
    capsys.readouterr()
    assert main(command) == 0 and json.loads(file.read_text()) == before
    assert "all rows: 100%" in (said := capsys.readouterr().err) and "1 of 1 row" in said


def test_an_interrupted_study_resumes_at_its_trial(done, tiny_study, tmp_path, monkeypatch, capsys):
    out, write, command = tmp_path / "run", SampleFolder.write, [*tiny_study, "--only", "DPS", "sr4"]

    def interrupted(self, indices, arrays):
        write(self, indices, arrays)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write", interrupted)
        assert main([*command, "--out", str(out)]) == 75
    assert "interrupted after sr4 25 DPS, trial-strength" in capsys.readouterr().err
    assert len(list(out.glob("images/sr4/25/DPS/trial-*"))) == 1
    assert main([*command, "--out", str(out)]) == 0 and (out / "page.md").exists()
    first, second = (json.loads((home / "images/rows.json").read_text())["sr4/25/DPS"] for home in (done, out))
    assert first["report"]["score"] == second["report"]["score"] and first["kept"] == second["kept"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "pictures"], "pictures"),
        (["--only", "DSP"], "only='DSP' is no problem, budget or row"),
        (["--problems", "rain"], "problems='rain' is unknown"),
        (["--budgets", "10"], "budgets holds one that is too small"),
        (["--images", "0"], "images=0"),
        (["--part", "mixtures", "--only", "box"], "only='box' has no effect with part='mixtures'"),
        (["--part", "images", "--quick"], "quick has no effect with part"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, said, capsys):
    assert main(["study", "horizon", "--dry-run", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_mixtures_in_a_moment(tmp_path, capsys):
    command = ["study", "horizon", "--part", "mixtures", "--quick", "--yes", "--out", str(tmp_path)]
    assert main(command) == 0
    page = (tmp_path / "page.md").read_text()
    for said in ("Gradients on a mixture", "Adjoints", "scan, remat step", "exactly known", "Not run yet"):
        assert said in page, said
    assert "gradients:" in capsys.readouterr().out
    assert main(command) == 0 and "gradients:" not in capsys.readouterr().out
