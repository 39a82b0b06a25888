"""`tfg-jax solve`: the folder it writes, resumption, images of one's own, refusals, exit codes."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tfg_jax.cli.groups import ProblemName
from tfg_jax.cli.main import main
from tfg_jax.result import Samples, Status
from tfg_jax.runs import run as runs
from tfg_jax.runs.store import read_folder
from tfg_jax.tasks import PROBLEMS, base, restore
from tfg_jax.tasks.fashion_mnist.presets import INVERSE_PRESETS
from tfg_jax.tasks.inverse import InverseTask


def shards(folder: Path) -> dict[str, bytes]:
    """Chunks, hashes and metadata: all that is not about how they were made."""
    files = [*folder.glob("shard-*"), *folder.glob("*/c.*"), *folder.rglob("zarr.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


@pytest.fixture(scope="module")
def small(weights) -> list[str]:
    """Three images with two draws each, in three shards of two."""
    return [
        "--model", str(weights / "model"), "--evaluator", str(weights / "evaluator"), "--steps", "2",
        "--num-images", "3", "--draws", "2", "--chunk", "2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def restored(small, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("restored") / "run"
    assert main(["solve", *small, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(restored, tmp_path) -> Path:
    return Path(shutil.copytree(restored, tmp_path / "run"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with two grey pictures and one .npz file of one image; every one another."""
    folder, rng = tmp_path / "mine", np.random.default_rng(0)
    folder.mkdir()
    pixels = rng.integers(0, 256, size=(3, 28, 28), dtype=np.uint8)
    for name, each in (("b", pixels[1]), ("a", pixels[0])):
        Image.fromarray(each).save(folder / f"{name}.png")
    np.savez(folder / "c.npz", x=pixels[2:, :, :, None].astype(np.float32) / 127.5 - 1.0)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_run_leaves_samples_numbers_picture_and_page(restored):
    names = {file.name for file in restored.iterdir()}
    assert {"manifest.json", "config.json", "metrics.json", "grid.png", "report.html"} <= names and "lock" not in names
    arrays = read_folder(restored).read_all()
    assert arrays["x"].shape == (6, 28, 28, 1) and arrays["target"].shape == (6, 14, 14, 1)
    np.testing.assert_array_equal(arrays["target"][0], arrays["target"][1])
    assert (arrays["target"][1] != arrays["target"][2]).any() and (arrays["x"][0] != arrays["x"][1]).any()
    assert arrays["objective"].shape == (6, 2) and (arrays["cost_forwards"] == 2).all()
    found = json.loads((restored / "metrics.json").read_text())
    assert found["images"] == 3 and found["samples"] == 6 and found["failed_samples"] == 0
    for name in ("psnr", "ssim", "residual", "feature_distance", "psnr_of_mean", "posterior_spread"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"], name
    assert found["residual_per_noise_std"] == pytest.approx(found["residual"] / 0.05)
    page = (restored / "report.html").read_text()
    assert "trouser" in page and "Residual against sampling step" in page and 'src="http' not in page
    config = json.loads((restored / "config.json").read_text())
    assert config["command"] == "solve" and config["resolved"]["problem"] == "sr2"
    assert config["resolved"]["guidance"]["type"] == "DPS" and config["resolved"]["noise"] == {"gaussian": 0.05}
    with Image.open(restored / "grid.png") as picture:
        assert picture.width > 6 * 84 and picture.height > 3 * 84


def test_a_finished_run_computes_nothing_again_and_another_one_is_refused(run, small, monkeypatch, capsys):
    before = shards(run)
    monkeypatch.setattr(runs, "run_chunked", None)  # calling it would fail
    assert main(["solve", *small, "--out", str(run)]) == 0
    capsys.readouterr()
    for other, said in (
        (["--problem", "box"], 'problem: "sr2" -> "box"'),
        (["--noise-std", "0.1"], "noise.gaussian: 0.05 -> 0.1"),
        (["--strength", "2"], "guidance.strength"),
        (["--seed", "1"], "seed: 0 -> 1"),
        (["--draws", "1"], "num_samples: 6 -> 3"),
    ):
        assert main(["solve", *small, *other, "--out", str(run)]) == 2
        heard = capsys.readouterr().err
        assert said in heard and "--overwrite" in heard and len(heard.strip().splitlines()) == 1
    assert shards(run) == before


def test_interrupted_and_resumed_ends_in_the_same_bytes(restored, small, tmp_path, monkeypatch, capsys):
    out, sample, calls = tmp_path / "run", InverseTask.sample, []

    def interrupted(self, *arguments, **options):  # while the second of three chunks is computed
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return sample(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(InverseTask, "sample", interrupted)
        assert main(["solve", *small, "--out", str(out)]) == 75
    assert "4 of 6 samples are kept" in capsys.readouterr().err
    assert main(["solve", *small, "--out", str(out)]) == 0
    assert shards(out) == shards(restored)


def test_images_of_ones_own(pictures, small, tmp_path, capsys):
    """A folder, by name; the same images one by one are the same run; a colour picture is made grey."""
    out = tmp_path / "run"
    assert main(["solve", *small, "--images", str(pictures), "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "#0 a" in page and "#2 b" in page and "#4 c 0" in page
    capsys.readouterr()
    single = [str(pictures / name) for name in ("a.png", "b.png", "c.npz")]
    assert main(["solve", *small, "--images", *single, "--out", str(out)]) == 0
    assert "6 of 6 samples are on disk already" in capsys.readouterr().err
    with Image.open(pictures / "a.png") as grey:
        grey.convert("RGB").save(pictures / "a.png")
    assert main(["solve", *small, "--images", *single, "--out", str(out)]) == 0


def test_measurements_of_ones_own_have_no_truth(weights, tmp_path, capsys):
    """Files of the measurement's size; residuals and spread are reported, what needs a truth is left out."""
    y = np.random.default_rng(0).uniform(-1, 1, size=(2, 14, 14, 1)).astype(np.float32)
    np.savez(tmp_path / "seen.npz", x=y)
    out, file = tmp_path / "run", str(tmp_path / "seen.npz")
    given = ["--model", str(weights / "model"), "--steps", "2", "--draws", "2", "--chunk", "4", "--measured"]
    args = [*given, "--noise", "poisson", "--method", "none", "--images", file]
    assert main(["solve", *args, "--out", str(out)]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == 2 and found["residual"] > 0 and "psnr" not in found and "feature_distance" not in found
    np.testing.assert_array_equal(read_folder(out).read_all()["target"][::2], y)
    capsys.readouterr()
    for extra, said in (
        ([], "--measured needs measurements; pass --images"),
        (["--images", file, "--evaluator", str(weights / "evaluator")], "has no effect on --measured"),
        (["--images", file, "--problem", "box"], "is 14 x 14 x 1, problem box needs 28 x 28 x 1"),
        (["--images", file, "--problem", "phase"], "problem phase needs 56 x 56 x 1"),
    ):
        assert main(["solve", *given, *extra]) == 2
        assert said in capsys.readouterr().err


def test_a_model_of_other_images_is_restored_without_feature_distances(weights, tmp_path, capsys):
    """8 x 8 in colour, by the default evaluator of 28 x 28 in grey: said beforehand; one asked for is refused."""
    np.savez(tmp_path / "mine.npz", x=np.random.default_rng(0).uniform(-1, 1, size=(1, 8, 8, 3)).astype(np.float32))
    given = ["--model", str(weights / "colour"), "--images", str(tmp_path / "mine.npz"), "--steps", "2", "--draws", "2"]
    said = "reads images of 28 x 28 x 1, but the model samples 8 x 8 x 3; give another evaluator"
    assert main(["solve", *given, "--out", str(tmp_path / "run"), "--evaluator", str(weights / "evaluator")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert main(["solve", *given, "--dry-run"]) == 0
    heard = capsys.readouterr().err
    assert "note: feature distances are left out: evaluator='fashion-mnist-evaluator'" in heard and said in heard
    assert main(["solve", *given, "--out", str(tmp_path / "run"), "--method", "mpgd"]) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["psnr"] > 0 and found["residual"] > 0 and "feature_distance" not in found
    assert "feature distances are left out" in (tmp_path / "run" / "report.html").read_text()


def test_complex_measurements_from_end_to_end(weights, small, tmp_path, capsys):
    """Some columns of the Fourier transform, degraded here and measured elsewhere; real numbers are refused."""
    out = tmp_path / "run"
    assert main(["solve", *small, "--problem", "fourier", "--out", str(out)]) == 0
    y = read_folder(out).read_all()["target"]
    assert y.dtype == np.complex64 and y.shape == (6, 28, 28, 1) and (y != 0).all(axis=1).sum() == 6 * 7
    assert json.loads((out / "metrics.json").read_text())["residual"] > 0
    given = ["--model", str(weights / "model"), "--steps", "2", "--draws", "2", "--chunk", "2", "--problem", "fourier"]
    np.savez(tmp_path / "seen.npz", x=y[::2])
    np.savez(tmp_path / "real.npz", x=np.real(y[::2]))
    measured = ["--measured", "--dry-run", "--images", str(tmp_path / "seen.npz")]
    assert main(["solve", *given, *measured]) == 0
    capsys.readouterr()
    assert main(["solve", *given, *measured[:-1], str(tmp_path / "real.npz")]) == 2
    assert "these measurements are (n, H, W, C) complex numbers" in capsys.readouterr().err
    assert main(["solve", *given, "--noise", "poisson"]) == 2
    assert "use Gaussian noise" in capsys.readouterr().err


def solved(key, model, method, *, objective, num_samples, target, cond, index_offset):
    """Samples as `end_to_end` gives them, of a network that takes too long to compile for what this tells."""
    assert type(objective).__name__ == "GaussianLogLikelihood" and target.shape == (2, 14, 14, 1)
    assert cond is None
    status = Status(jnp.zeros(num_samples, jnp.int32), jnp.full(num_samples, -1))
    cost = jax.tree.map(lambda leaf: jnp.full(num_samples, leaf), method.closure.as_arrays())
    return Samples(jnp.full((num_samples, *model.shape), 0.1), status, cost, {})


def test_a_run_end_to_end(weights, tmp_path, monkeypatch):
    """What is asked for arrives at the method, and its samples and calls at the report."""
    monkeypatch.setattr(base, "end_to_end", solved)
    out = tmp_path / "run"
    args = ["--model", str(weights / "model"), "--evaluator", "None", "--num-images", "2", "--draws", "1",
            "--chunk", "2", "--method", "dflow", "--lookahead-steps", "2", "--solver", "euler", "--iterations", "2",
            "--line-search", "2"]  # fmt: skip
    assert main(["solve", *args, "--out", str(out)]) == 0
    found, arrays = json.loads((out / "metrics.json").read_text()), read_folder(out).read_all()
    assert found["failed_samples"] == 0 and arrays["objective"].shape == (2, 1)
    np.testing.assert_array_equal(arrays["cost_forwards"], 3 + 2)
    config = json.loads((out / "config.json").read_text())["resolved"]
    assert config["guidance"]["solve"]["steps"] == 2 and "sampler" not in config
    assert config["guidance"]["rate"] is None and config["guidance"]["line_search"] == 2
    assert "Residual against sampling step" not in (out / "report.html").read_text()


def test_failed_draws_are_shown_and_exit_3(small, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["solve", *small, "--no-clip", "--strength", "3e38", "--evaluator", "None", "--out", str(out)]) == 3
    found = json.loads((out / "metrics.json").read_text())
    assert found["failed_samples"] > 0 and "feature_distance" not in found
    assert "samples failed" in capsys.readouterr().err and "diverged" in (out / "report.html").read_text()


def test_failing_metrics_lose_no_sample(run, small, monkeypatch, capsys):
    from tfg_jax import metrics

    def broken(*_):
        raise RuntimeError("no metrics today")

    before = shards(run)
    monkeypatch.setattr(metrics, "measurement_residual", broken)
    assert main(["solve", *small, "--out", str(run)]) == 1
    assert "no metrics today" in capsys.readouterr().err and shards(run) == before


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--noise-std", "0"], "noise_std=0. must be a finite number > 0"),
        (["--noise-std", "-0.1"], "noise_std=-0.1"),
        (["--noise-std", "nan"], "noise_std=nan"),
        (["--noise", "poisson", "--peak", "0"], "peak=0."),
        (["--peak", "30"], "--peak has no effect on --noise gaussian"),
        (["--noise", "poisson", "--noise-std", "0.1"], "--noise-std has no effect on --noise poisson"),
        (["--noise", "poisson", "--problem", "phase"], "use Gaussian noise"),
        (["--steps", "0"], "steps=0"),
        (["--eta", "2"], "eta=2"),
        (["--draws", "0"], "draws=0"),
        (["--chunk", "0"], "chunk=0"),
        (["--seed", "-1"], "seed=-1"),
        (["--num-images", "0"], "num_images=0"),
        (["--num-images", "101"], "num_images=101 is more than the 100 images there are"),
        (["--strength", "-1"], "strength=-1"),
        (["--method", "tfg", "--strength", "1"], "--strength has no effect on --method tfg"),
        (["--data-std", "1"], "--data-std has no effect on --method dps, which takes --strength"),
        (["--method", "pigdm", "--data-std", "0"], "data_std=0"),
        (["--horizon", "2"], "horizon=2"),
        (["--solver", "heun"], "--solver has no effect without --horizon"),
        (["--lookahead-steps", "3"], "--lookahead-steps has no effect without --horizon"),
        (["--method", "none", "--horizon", "1"], "--horizon has no effect on --method none"),
        (["--iterations", "3"], "--iterations has no effect on --method dps"),
        (["--method", "dflow"], "--steps has no effect on --method dflow; drop it (--horizon, --lookahead-steps and"),
        (["--method", "controls", "--eta", "0.5"], "--eta has no effect on --method controls"),
        (["--method", "controls", "--window", "-9", "2"], "--window has no effect on --method controls"),
        (["--method", "none", "--window", "-9", "2"], "--window has no effect on --method none"),
        (["--method", "controls", "--no-clip"], "--no-clip has no effect on --method controls"),
        (["--method", "controls", "--horizon", "1"], "--horizon has no effect on --method controls; drop it (--steps"),
        (["--method", "controls", "--iterations", "0"], "iterations=0 must be"),
        (["--method", "controls", "--rate", "0.1", "--line-search", "3"], "line_search=3 is of L-BFGS, which rate"),
        (["--images", "no-such-folder"], "images=no-such-folder does not exist"),
        (["--model", "no-such-model"], "'no-such-model' is neither a released name"),
        (["--evaluator", "no-such-model"], "'no-such-model' is neither a released name"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(extra, said, small, refused):
    refused(["solve", *small, *extra], said)


def write_bytes(file: Path) -> None:
    file.write_bytes(b"GIF89a or so")


def write_cut(file: Path) -> None:
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(file)
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("text.png", write_bytes, "is no readable picture (UnidentifiedImageError); give PNG, JPEG, BMP, GIF, TIFF"),
        ("cut.png", write_cut, "is no readable picture"),
        ("text.npz", write_bytes, "is no .npz file; write one with numpy.savez(file, x=images)"),
        ("big.png", lambda f: Image.new("L", (32, 28)).save(f), "is 28 x 32 x 1, the model needs 28 x 28 x 1; resize"),
        ("wide.png", lambda f: Image.new("RGB", (32, 28)).save(f), "is 28 x 32 x 3, the model needs 28 x 28 x 1"),
        ("deep.tif", lambda f: Image.fromarray(np.zeros((28, 28), np.float32)).save(f), "more than 8 bits"),
        ("y.npz", lambda f: np.savez(f, y=np.zeros(3)), "holds ['y']; name the images x"),
        ("flat.npz", lambda f: np.savez(f, x=np.zeros((28, 28))), "holds x of shape (28, 28)"),
        ("whole.npz", lambda f: np.savez(f, x=np.zeros((1, 28, 28, 1), int)), "floats or bytes"),
        ("loud.npz", lambda f: np.savez(f, x=np.full((1, 28, 28, 1), 9.0)), "values up to 9; scale images to [-1, 1]"),
        ("nan.npz", lambda f: np.savez(f, x=np.full((1, 28, 28, 1), np.nan)), "holds NaN or infinity"),
        ("empty", lambda f: f.mkdir(), "is a folder without pictures"),
    ],
)  # fmt: skip
def test_unreadable_images_are_named(name, write, said, small, tmp_path, capsys):
    write(tmp_path / name)
    assert main(["solve", *small, "--images", str(tmp_path / name), "--dry-run"]) == 2
    heard = capsys.readouterr().err
    assert said in heard and name in heard and "Traceback" not in heard and len(heard.strip().splitlines()) == 1


def without_measuring(operator, images, key, **noise):
    y = jax.eval_shape(operator, jax.ShapeDtypeStruct(images.shape[1:], np.float32))
    return np.zeros((len(images), *y.shape), np.float32), 0.05


def test_every_problem_and_method_is_understood(small, monkeypatch, capsys):
    assert get_args(ProblemName) == tuple(PROBLEMS)
    # Compiling each takes longer than it tells; operators and measurements have tests of their own.
    monkeypatch.setattr(runs.Run, "memory", lambda run: None)
    monkeypatch.setattr(restore, "measure_images", without_measuring)
    for problem in get_args(ProblemName):
        assert main(["solve", *small, "--problem", problem, "--dry-run"]) == 0
    for method in ("none", *INVERSE_PRESETS):
        at = small.index("--steps")
        args = small if method != "dflow" else small[:at] + small[at + 2 :]
        assert main(["solve", *args, "--method", method, "--dry-run"]) == 0
        assert method in capsys.readouterr().out
    assert main(["solve", *small, "--horizon", "1", "--lookahead-steps", "3", "--dry-run"]) == 0
    assert "84" in capsys.readouterr().out  # 6 samples, 2 steps, 7 forwards


def test_a_dry_run_tells_the_cost_and_writes_nothing(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["solve", *small, "--dry-run"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    cells = dict(
        zip(header.replace("objective gradients", "objective").split(), row.replace(" x ", "x").split(), strict=False)
    )
    assert cells["samples"] == "6" and cells["forwards"] == cells["pullbacks"] == "12"
    assert not list(tmp_path.iterdir())
