"""`tfg-jax sample`: the folder it writes, resumption to the same bytes, refusals, exit codes."""

import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.cli.main import main
from tfg_jax.runs import run as runs
from tfg_jax.runs.run import read_seconds
from tfg_jax.runs.store import SampleFolder, read_folder
from tfg_jax.tasks.fashion_mnist.presets import LABEL_PRESETS
from tfg_jax.tasks.label import LabelTask


def shards(folder: Path) -> dict[str, bytes]:
    """Chunks, hashes and metadata: all that is not about how they were made."""
    files = [*folder.glob("shard-*"), *folder.glob("*/c.*"), *folder.rglob("zarr.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_leaves_samples_numbers_picture_and_page(finished):
    names = {file.name for file in finished.iterdir()}
    assert {"manifest.json", "config.json", "metrics.json", "grid.png", "report.html"} <= names
    assert not {"lock"} & names and not list(finished.glob("*.tmp"))
    folder = read_folder(finished)
    assert set(folder.verify().values()) == {"ok"} and len(folder.ranges()) == 3
    arrays = folder.read_all()
    assert arrays["x"].shape == (5, 28, 28, 1) and np.isfinite(arrays["x"]).all()
    assert arrays["target"].tolist() == [0, 3, 1, 7, 9]
    assert arrays["objective"].shape == (5, 2) and (arrays["objective"] <= 0).all()
    assert (arrays["cost_forwards"] == 2).all() and (arrays["cost_pullbacks"] == 2).all()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["samples"] == 5 and metrics["failed_samples"] == 0 and metrics["network_forwards_per_sample"] == 2
    assert 0 <= metrics["evaluator_accuracy_low"] <= metrics["evaluator_accuracy"] <= metrics["evaluator_accuracy_high"]
    assert metrics["frechet_distance"] > 0 and metrics["frechet_reference_n"] == 100
    assert metrics["high_frequency_ratio"] > 0 and metrics["seconds"] > 0
    config = json.loads((finished / "config.json").read_text())
    assert config["options"]["steps"] == 2 and config["resolved"]["guidance"]["type"] == "TFG"
    assert set(config["versions"]) >= {"tfg_jax", "jax"}
    page = (finished / "report.html").read_text()
    assert "Objective against sampling step" in page and "trouser" in page
    assert 'src="http' not in page and "href=" not in page


def test_a_finished_run_computes_nothing_again(run, tiny, monkeypatch):
    monkeypatch.setattr(runs, "run_chunked", None)  # calling it would fail
    before = contents(run)
    assert main(["sample", *tiny, "--out", str(run)]) == 0
    after = contents(run)
    assert {name for name in after if after[name] != before[name]} == {"config.json"}  # it names the folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_ends_in_the_same_bytes(number, finished, tiny, tmp_path, monkeypatch, capsys):
    out, sample, calls = tmp_path / "run", LabelTask.sample, []

    def interrupted(self, *arguments, **options):  # while the second of three chunks is computed
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return sample(self, *arguments, **options)

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(LabelTask, "sample", interrupted)
        assert main(["sample", *tiny, "--out", str(out)]) == 75
    assert "4 of 5 samples are kept" in (said := capsys.readouterr().err) and "resumes" in said
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert read_folder(out).missing() == [range(4, 5)] and not (out / "lock").exists()
    assert main(["sample", *tiny, "--out", str(out)]) == 0
    assert shards(out) == shards(finished)
    assert (out / "manifest.json").read_bytes() == (finished / "manifest.json").read_bytes()
    numbers = [json.loads((folder / "metrics.json").read_text()) for folder in (out, finished)]
    timed = {"seconds", "images_per_second"}
    assert {k: v for k, v in numbers[0].items() if k not in timed} == {
        k: v for k, v in numbers[1].items() if k not in timed
    }


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "delete the hash"])
def test_only_the_damaged_shard_is_computed_again(damage, run, finished, tiny, monkeypatch):
    file = run / "x" / "c.1.0.0.0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flip":
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:100])
    elif damage == "delete":
        file.unlink()
    else:
        (run / "shard-00001.sha256").unlink()
    written, write = [], SampleFolder.write
    monkeypatch.setattr(SampleFolder, "write", lambda self, i, a: (written.append(i), write(self, i, a)) and None)
    assert main(["sample", *tiny, "--out", str(run)]) == 0
    assert written == [range(2, 4)] and shards(run) == shards(finished)


def test_workers_fill_one_folder_and_the_command_without_scores_it(finished, tiny, tmp_path, monkeypatch, capsys):
    out, written, write = tmp_path / "run", [], SampleFolder.write
    monkeypatch.setattr(SampleFolder, "write", lambda self, i, a: (written.append(i.start), write(self, i, a))[1])
    command = ["sample", *tiny, "--out", str(out)]
    assert main([*command, "--worker", "1/2"]) == 0 and written == [2]
    assert "shards of worker 1/2 are complete" in capsys.readouterr().out and not (out / "metrics.json").exists()
    assert main(["verify", str(out)]) == 1
    assert main([*command, "--worker", "0/2"]) == 0 and written == [2, 0, 4]
    assert set(read_seconds(out)) == {"0", "2", "4"}
    assert main(command) == 0 and written == [2, 0, 4] and shards(out) == shards(finished)
    assert json.loads((out / "metrics.json").read_text())["seconds"] == pytest.approx(sum(read_seconds(out).values()))
    assert "worker" not in json.loads((out / "config.json").read_text())["options"]
    capsys.readouterr()
    for wrong, said in ((["2/2"], "worker='2/2' must be i/n"), (["0/2", "--overwrite"], "overwrite")):
        assert main([*command, "--worker", *wrong]) == 2 and said in capsys.readouterr().err


def test_a_url_holds_what_a_folder_holds(finished, tiny, tmp_path, capsys):
    url = f"file://{tmp_path}/run"
    assert main(["sample", *tiny, "--output", url]) == 0
    assert f"{url}/report.html" in capsys.readouterr().out and shards(tmp_path / "run") == shards(finished)
    names = {file.name for file in finished.iterdir()}
    assert {file.name for file in (tmp_path / "run").iterdir()} == names | {"molecules.sdf"} & names
    assert main(["sample", *tiny, "--output", url]) == 0 and "5 of 5 samples" in capsys.readouterr().err
    for command in (["verify", url], ["inspect", url], ["export", url, "--output", str(tmp_path / "pictures")]):
        assert main(command) == 0
    assert len([*(tmp_path / "pictures").glob("*.png")]) == 5
    for command in (["optimize"], ["compare", *tiny], ["export", str(finished)]):
        assert main([*command, "--output", url]) == 2 and "is a URL" in capsys.readouterr().err
    assert not Path("file:").exists()


def test_verify_lists_what_is_to_be_made_again(finished, tmp_path, capsys):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    assert main(["verify", str(run)]) == 0 and "3 of 3 shards ok" in capsys.readouterr().out
    (run / "shard-00002.sha256").unlink()
    (run / "x" / "zarr.json").write_text("")
    (run / "x" / "c.1.0.0.0").write_bytes(b"")
    assert main(["verify", str(run)]) == 1
    said = capsys.readouterr().out
    assert "missing  shard-00002" in said and "damaged  shard-00001" in said and "damaged  x/zarr.json" in said
    assert "1 of 3 shards ok; 3 samples of 5 to be computed" in said
    assert main(["verify", str(run), "--repair-list"]) == 1 and capsys.readouterr().out == "1 2 4\n2 4 5\n"


def test_another_configuration_is_refused_and_overwritten_on_demand(run, finished, tiny, capsys):
    before = contents(run)
    other = ["sample", *tiny, "--seed", "1", "--out", str(run)]
    assert main(other) == 2
    said = capsys.readouterr().err
    assert "seed: 0 -> 1" in said and "--overwrite" in said and "Traceback" not in said
    assert contents(run) == before
    assert main([*other, "--overwrite"]) == 0
    assert shards(run).keys() == shards(finished).keys() and shards(run) != shards(finished)


def test_the_evaluator_and_the_report_do_not_decide_the_samples(run, tiny, weights, capsys):
    assert main(["sample", *tiny, "--evaluator", str(weights / "guide"), "--out", str(run)]) == 0
    assert "evaluator is the network that guides" in capsys.readouterr().err
    assert "evaluator is the network that guides" in (run / "report.html").read_text()


def test_config_json_repeats_a_run_and_typed_options_win(finished, tmp_path):
    out = tmp_path / "again"
    config = ["--config", str(finished / "config.json")]
    assert main(["sample", *config, "--out", str(out)]) == 0
    assert shards(out) == shards(finished)
    assert main(["sample", *config, "--out", str(out), "--eta", "0.5"]) == 2


def test_guidance_by_a_classifier_of_noisy_images(tiny, weights, tmp_path):
    out, noisy = tmp_path / "run", str(weights / "noisy")
    assert main(["sample", *tiny, "--method", "classifier", "--noisy-guide", noisy, "--out", str(out)]) == 0
    assert (read_folder(out).read_all()["cost_pullbacks"] == 0).all()


def test_a_weaker_model_to_guide_away_from_is_part_of_a_run(tiny, weights, finished, tmp_path, capsys):
    out, away = tmp_path / "run", ["--weak", str(weights / "model"), "--w", "0.5"]
    assert main(["sample", *tiny, *away, "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())["resolved"]
    assert config["w"] == 0.5 and set(config["weights_sha256"]) == {"model", "weak", "guide"}
    arrays, plain = read_folder(out).read_all(), read_folder(finished).read_all()
    np.testing.assert_allclose(arrays["x"], plain["x"], atol=1e-3)  # away from itself
    np.testing.assert_array_equal(arrays["cost_forwards"], 2 * plain["cost_forwards"])
    assert main(["sample", *tiny, *away[:2], "--out", str(out)]) == 2
    assert "w" in capsys.readouterr().err


def test_a_window_and_the_noise_of_the_sampler_are_part_of_a_run(tiny, finished, tmp_path):
    out = tmp_path / "run"
    assert main(["sample", *tiny, "--window", "-30", "-2", "--v", "0.5", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["resolved"]["window"] == [-30, -2] and config["resolved"]["sampler"]["v"] == 0.5
    assert (read_folder(out).read_all()["cost_pullbacks"] == 1).all()  # one of two steps is that noisy
    assert "window" not in json.loads((finished / "config.json").read_text())["resolved"]
    again = ["--config", str(out / "config.json"), "--out", str(tmp_path / "again")]
    assert main(["sample", *again]) == 0
    assert shards(tmp_path / "again") == shards(out)


def test_a_dry_run_tells_the_cost_and_writes_nothing(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *tiny, "--n-recur", "3", "--dry-run"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    cells = dict(
        zip(header.replace("objective gradients", "objective").split(), row.replace(" x ", "x").split(), strict=False)
    )
    assert cells["shape"] == "28x28x1" and cells["forwards"] == cells["pullbacks"] == str(5 * 2 * 3)
    assert not list(tmp_path.iterdir())


def test_a_horizon_is_part_of_cost_and_configuration(tiny, finished, monkeypatch, capsys):
    monkeypatch.setattr(runs.Run, "memory", lambda run: None)
    evaluation = ["--horizon", "0.5", "--lookahead-steps", "2", "--solver", "heun"]
    assert main(["sample", *tiny, *evaluation, "--dry-run"]) == 0
    assert " 50 " in capsys.readouterr().out  # 5 samples, 2 steps, 5 forwards
    assert main(["sample", *tiny, *evaluation, "--out", str(finished)]) == 2
    assert "lookahead" in capsys.readouterr().err


def test_failed_samples_are_stored_shown_and_exit_3(tiny, weights, tmp_path, capsys):
    """Variance guidance of absurd strength overflows: the samples fail, the run does not."""
    args = ["--no-clip", "--rho", "1e38", "--mu", "1e38", "--smoothing", "0"]
    assert main(["sample", *tiny, *args, "--out", str(tmp_path / "run")]) == 3
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["failed_samples"] > 0 and metrics["samples"] == 5
    assert "failed" in capsys.readouterr().err and "diverged" in (tmp_path / "run" / "report.html").read_text()


def test_failing_metrics_lose_no_sample(tiny, finished, tmp_path, monkeypatch, capsys):
    from tfg_jax.tasks.scoring import Evaluator

    def broken(self, x):
        raise RuntimeError("no metrics today")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "score", broken)
        assert main(["sample", *tiny, "--out", str(out)]) == 1
    assert "no metrics today" in (said := capsys.readouterr().err) and "tfg-jax evaluate" in said
    assert shards(out) == shards(finished) and not (out / "lock").exists()


def test_a_full_disk_is_resumable(tiny, tmp_path, monkeypatch, capsys):
    def full(self, indices, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SampleFolder, "write", full)
    assert main(["sample", *tiny, "--out", str(tmp_path / "run")]) == 75
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--rho", "-1"], "rho=-1"),
        (["--rho", "nan"], "rho=nan"),
        (["--n-iter", "0"], "n_iter=0"),
        (["--steps", "0"], "steps=0"),
        (["--eta", "1.5"], "eta=1.5"),
        (["--per-class", "0"], "per_class=0"),
        (["--chunk", "-2"], "chunk=-2"),
        (["--seed", "-1"], "seed=-1"),
        (["--classes", "10"], "'10' is no class"),
        (["--classes", "sock"], "'sock' is no class"),
        (["--classes", "1", "trouser"], "names a class twice"),
        (["--classes", "1", "--classes", "2"], "--classes is given twice; give it once, with all its values"),
        (["--method", "dps", "--rho", "1"], "--rho has no effect on --method dps, which takes --strength"),
        (["--method", "none", "--n-mc", "1"], "--n-mc has no effect"),
        (["--method", "classifier", "--horizon", "1"], "--horizon has no effect on --method classifier"),
        (["--solver", "heun"], "--solver has no effect without --horizon"),
        (["--method", "conditional", "--window", "-30", "2"], "--window has no effect on --method conditional"),
        (["--window", "2", "-30"], "must be (low, high) with low < high"),
        (["--v", "1.5"], "v=1.5"),
        (["--w", "1"], "w=1.0 has no effect without weak"),
        (["--weak", "fashion-mnist-guide"], "'fashion-mnist-guide' holds a Classifier, a Denoiser is needed"),
        (["--noisy-guide", "fashion-mnist-noisy"], "--noisy-guide has no effect without the method classifier"),
        (["--v", "0.5", "--eta", "0"], "eta=0.0 has no effect with v=0.5"),
        (["--mu", "0", "--n-iter", "3"], "n_iter=3 has no effect"),
        (["--model", "no-such-model"], "'no-such-model' is neither a released name"),
        (["--config", "no-such-file.json"], "no-such-file.json"),
        (["--data", "no-such-folder"], "no-such-folder"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(extra, said, tiny, refused):
    words = tiny[: tiny.index("--classes")] if extra[0] == "--classes" else tiny
    refused(["sample", *words, *extra], said)


@pytest.mark.parametrize(
    ("command", "option", "network", "said"),
    [
        ("sample", "--model", "colour", "guide='guide' reads images of 28 x 28 x 1, but the model samples 8 x 8 x 3"),
        (
            "compare",
            "--evaluator",
            "other",
            "evaluator='other' reads images of 8 x 8 x 1, but the model samples 28 x 28",
        ),
        ("optimize", "--model", "colour", "guide='guide' reads images of 28 x 28 x 1, but the model samples 8 x 8 x 3"),
        ("compare", "--model", "plain", "has no classes of its own, the classifiers have 10; the method conditional"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_networks_that_do_not_fit_are_noticed_before_anything_runs(
    command, option, network, said, dry, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = {"--model": "model", "--guide": "guide", "--evaluator": "evaluator", option: network}
    given = {key: given[key] for key in given if (command, key) != ("optimize", "--evaluator")}
    args = [word for key, name in given.items() for word in (key, str(weights / name))]
    args += ["--reward", "class"] if command == "optimize" else []
    assert main([command, *args, *dry]) == 2
    heard = capsys.readouterr().err
    assert said in heard and len(heard.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("extra", [["--rhoo", "1"], ["--rho", "much"], ["--method", "magic"]])
def test_unknown_flags_and_values_exit_2(extra, tiny, capsys):
    assert main(["sample", *tiny, *extra]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_weights_of_the_wrong_kind_or_damaged_are_named(tiny, weights, tmp_path, capsys):
    assert main(["sample", *tiny, "--model", str(weights / "guide"), "--dry-run"]) == 2
    assert "holds a Classifier, a Denoiser is needed" in capsys.readouterr().err
    broken = Path(shutil.copytree(weights / "model", tmp_path / "model"))
    data = bytearray((broken / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (broken / "model.safetensors").write_bytes(data)
    assert main(["sample", *tiny, "--model", str(broken), "--dry-run"]) == 2
    assert "sha256" in (said := capsys.readouterr().err) and "Traceback" not in said


def test_folders_that_cannot_be_written_are_refused(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    for out, said in (("file", "no writable folder"), ("file/below", "no writable folder"), ("mine", "thesis.txt")):
        assert main(["sample", *tiny, "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists() and len(list((tmp_path / "mine").iterdir())) == 1


@pytest.mark.parametrize("method", ("none", "conditional", *LABEL_PRESETS))
def test_every_method_is_understood(method, tiny, monkeypatch, capsys):
    monkeypatch.setattr(runs.Run, "memory", lambda run: None)  # compiling each takes longer than it tells
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["sample", *tiny, "--method", method, "--dry-run"]) == 0
    assert method in capsys.readouterr().out
