"""`tfg-jax optimize`: what it writes, resumption to the same bytes, refusals, exit codes."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.cli.main import main
from tfg_jax.runs.store import SampleFolder, read_folder


@pytest.fixture(scope="module")
def small(weights) -> list[str]:
    return [
        "--model", str(weights / "model"), "--guide", str(weights / "guide"), "--steps", "2", "--batch", "3",
        "--rounds", "2", "--delta", "0.5", "--learning-rate", "1e-4",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def optimized(small, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("optimized") / "run"
    assert main(["optimize", *small, "--out", str(out)]) == 0
    return out


def shards(folder: Path) -> dict[str, bytes]:
    """Chunks, hashes and metadata: all that is not about how they were made."""
    files = [*folder.glob("shard-*"), *folder.glob("*/c.*"), *folder.rglob("zarr.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


def test_a_run_leaves_rounds_numbers_picture_and_page(optimized):
    names = {file.name for file in optimized.iterdir()}
    assert {"manifest.json", "config.json", "metrics.json", "grid.png", "report.html", "state"} <= names
    folder = read_folder(optimized)
    assert set(folder.verify().values()) == {"ok"} and len(folder.ranges()) == 3
    arrays = folder.read_all()
    assert arrays["x"].shape == (9, 28, 28, 1) and np.isfinite(arrays["x"]).all()
    assert (arrays["target"] == 8).all()  # bag
    found = json.loads((optimized / "metrics.json").read_text())
    assert found["rounds"] == 2 and found["stopped"] is None and found["failed_samples"] == 0
    np.testing.assert_allclose(found["history"]["reward"], arrays["reward"].reshape(3, 3).mean(1), rtol=1e-5)
    config = json.loads((optimized / "config.json").read_text())
    assert config["options"]["delta"] == 0.5 and config["resolved"]["guidance"]["type"] == "GradientGuidance"
    page = (optimized / "report.html").read_text()
    assert "log-odds of bag" in page and "Images by round" in page and "href" not in page


def test_a_finished_run_draws_nothing_again(optimized, small, tmp_path, monkeypatch, capsys):
    run = Path(shutil.copytree(optimized, tmp_path / "run"))
    monkeypatch.setattr(SampleFolder, "write", None)  # calling it would fail
    assert main(["optimize", *small, "--out", str(run)]) == 0
    assert shards(run) == shards(optimized) and "rounds 0 to 2 are on disk" in capsys.readouterr().err


def test_interrupted_and_resumed_ends_in_the_same_bytes(optimized, small, tmp_path, monkeypatch, capsys):
    out, write = tmp_path / "run", SampleFolder.write

    def interrupted(self, indices, arrays):
        write(self, indices, arrays)
        if indices.start == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write", interrupted)
        assert main(["optimize", *small, "--out", str(out)]) == 75
    assert "rounds 0 to 1 of 2 are kept" in (said := capsys.readouterr().err) and "resumes" in said
    assert len(read_folder(out).missing()) == 1
    assert main(["optimize", *small, "--out", str(out)]) == 0
    assert shards(out) == shards(optimized)


def test_a_lost_round_is_made_again(optimized, small, tmp_path):
    run = Path(shutil.copytree(optimized, tmp_path / "run"))
    (run / "shard-00001.sha256").unlink()
    assert main(["optimize", *small, "--out", str(run)]) == 0
    assert shards(run) == shards(optimized)


def test_another_configuration_is_refused(optimized, small, capsys):
    before = shards(optimized)
    assert main(["optimize", *small, "--linearize", "mean", "--out", str(optimized)]) == 2
    said = capsys.readouterr().err
    assert 'linearize: "sample" -> "mean"' in said and "--overwrite" in said
    assert shards(optimized) == before


def test_a_round_in_which_every_image_fails_exits_3(small, tmp_path, capsys):
    out = tmp_path / "run"
    strong = ["--beta-coef", "3e38", "--noise-std", "1e-9"]  # the programs of the other runs
    assert main(["optimize", *small, *strong, "--out", str(out)]) == 3
    assert "every image of round 1 failed; round 0 is the last good one" in capsys.readouterr().err
    found = json.loads((out / "metrics.json").read_text())
    assert found["stopped"] == 1 and found["rounds"] == 0
    assert "the run ended there" in (out / "report.html").read_text()


def test_a_dry_run_tells_the_cost_and_writes_nothing(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["optimize", *small, "--reward", "brightness", "--dry-run"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    cells = dict(
        zip(header.replace("reward gradients", "gradients").split(), row.replace(" x ", "x").split(), strict=False)
    )
    assert cells["shape"] == "28x28x1" and cells["forwards"] == str(3 * 3 * 2) and cells["pullbacks"] == str(2 * 3 * 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--delta", "0"], "delta=0"),
        (["--goal", "3"], "delta=0.5 has no effect with goal=3"),
        (["--rounds", "0"], "rounds=0"),
        (["--batch", "0"], "batch=0"),
        (["--noise-std", "0"], "noise_std=0"),
        (["--beta-coef", "-1"], "beta_coef=-1"),
        (["--method", "naive", "--beta", "exact"], "beta='exact' is unknown"),
        (["--beta", "constant", "--noise-std", "1"], "has no effect with beta"),
        (["--request", "sock"], "request='sock' is no class"),
        (["--reward", "brightness", "--request", "bag"], "request=bag has no effect"),
        (["--learning-rate", "0"], "learning_rate=0"),
        (["--steps", "0"], "steps=0"),
        (["--model", "no-such-model"], "'no-such-model'"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(extra, said, small, refused):
    refused(["optimize", *small, *extra], said)
