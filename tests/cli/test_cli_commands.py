"""The other commands: compare, evaluate, inspect, cite, and the front door."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax
from tfg_jax.cli import main as front
from tfg_jax.cli import methods
from tfg_jax.cli.main import main
from tfg_jax.config import library_classes
from tfg_jax.declare import bibtex, bibtex_of_text, with_flags
from tfg_jax.endtoend.run import memory_of
from tfg_jax.runs import run as runs
from tfg_jax.runs.store import SampleFolder, open_folder
from tfg_jax.tasks.fashion_mnist.presets import INVERSE_PRESETS, LABEL_PRESETS
from tfg_jax.weights.manifest import load_manifest


def test_front_door(capsys):
    assert main(["--help"]) == 0 and "sample" in capsys.readouterr().out
    assert main(["--version"]) == 0 and "tfg-jax 0." in capsys.readouterr().out
    module = [sys.executable, "-m", "tfg_jax.cli.main", "--version"]
    assert "tfg-jax 0." in subprocess.run(module, capture_output=True, text=True, check=True).stdout
    assert main([]) == 2 and "which command" in capsys.readouterr().err
    assert main(["smaple"]) == 2 and "'smaple' is no command" in capsys.readouterr().err


@pytest.mark.parametrize("command", front.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--dry-run" in capsys.readouterr().out
    assert main([command, "--no-such-flag"]) == 2


@pytest.mark.parametrize("command", ["sample", "solve"])
def test_help_shows_what_every_method_is_tuned_to(command, capsys):
    """Its settings alone, with the values that its preset has."""
    for name, preset in (LABEL_PRESETS if command == "sample" else INVERSE_PRESETS).items():
        assert main([command, "--guidance", name, "--help"]) == 0
        said = " ".join(re.sub("[^\\x20-\\x7e]", " ", capsys.readouterr().out).split())
        group = said.partition("method options")[2].partition(" options ")[0]
        shown = dict(re.findall(r"--([a-z][a-z-]*) .*?\(default: (.*?)\)", group))
        fields = {f.name: getattr(preset, f.name) for f in dataclasses.fields(preset)}  # type: ignore[arg-type]
        wanted = {key: value for key, value in fields.items() if isinstance(value, bool | int | float | str | None)}
        wanted = {key.replace("_", "-"): str(value) for key, value in wanted.items() if key in flag_names(preset)}
        assert wanted and {key: shown[key] for key in wanted} == wanted, name


def flag_names(preset) -> set[str]:
    return {field.name for field in dataclasses.fields(methods.settings(preset, ("solve", "steps", "solver")).cls)}


def test_help_begins_with_the_request_and_goes_by_groups(capsys):
    for command, first in (("sample", "--task"), ("solve", "--problem"), ("compare", "--methods"),
                           ("optimize", "--reward"), ("study", "--part")):  # fmt: skip
        assert main([command, "--help"]) == 0
        said = capsys.readouterr().out
        titles = re.findall(r"([\w-]+) options", said)
        assert len(titles) >= 2 and said.index(first) < said.index("--output") < said.index(f"{titles[1]} options")
        assert "as tuned for this task" in said or command in ("compare", "optimize", "study")


def test_help_imports_no_jax():
    """But of the commands whose options are read off the declaration of a method."""
    names = [name for name in front.COMMANDS if name not in ("sample", "search", "solve")]
    code = (
        "import sys; from tfg_jax.cli.main import main\n"
        f"for name in {names}: main([name, '--help'])\n"
        "sys.exit('jax' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr


def test_a_term_of_strength_zero_is_absent():
    given = lambda **values: methods.without_zero_terms(values)  # noqa: E731
    tfg = LABEL_PRESETS["tfg"]
    guidance: Any = with_flags(tfg, given(rho=0.0, mu=0.5, n_iter=2))
    assert guidance.rho is None and guidance.n_iter == 2
    guidance = with_flags(tfg, given(mu=0.0))
    assert guidance.mu is None and guidance.n_iter is None and guidance.rho


@pytest.fixture(scope="module")
def compared(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "run"
    assert main(["compare", *tiny, "--methods", "none", "mpgd", "--out", str(out)]) == 0
    return out


def test_compare_writes_table_numbers_picture_and_page(compared):
    numbers = json.loads((compared / "compare.json").read_text())
    assert list(numbers) == ["mpgd", "none"]  # JSON keys are sorted
    for found in numbers.values():
        assert found["compared_samples"] == found["samples"] == 5
        assert found["frechet_distance_low"] <= found["frechet_distance"] <= found["frechet_distance_high"]
    assert numbers["none"]["objective_gradients_per_sample"] == 0 < numbers["mpgd"]["objective_gradients_per_sample"]
    table = (compared / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["method", table[1].split("|")[1].strip(), "none", "mpgd"]
    assert (compared / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert "Accuracy against distance" in (compared / "report.html").read_text()
    assert set(json.loads((compared / "config.json").read_text())["resolved"]) == {"none", "mpgd"}


def test_a_dry_run_of_compare_compiles_one_program(tiny, tmp_path, monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(runs.Run, "memory", lambda run: compiled.append(run.method) or 12.5)
    assert main(["compare", *tiny, "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert len(compiled) == 1 and type(compiled[0]).__name__ in ("LGD", "TFG")  # four draws, a pullback
    assert said.count("12.5") == 1 and "the costliest" in said and not (tmp_path / "run").exists()
    for sampler, code in ((["ddpm"], 0), (["heun"], 0), (["heun", "--eta", "0"], 2)):  # with settings of its own alone
        assert main(["compare", *tiny, "--sampler", *sampler, "--out", str(tmp_path / "run"), "--dry-run"]) == code


def test_the_memory_of_a_program_is_told_without_optimizing_it():
    program, x = (lambda x: jnp.linalg.norm(jnp.tanh(x @ x) @ x)), jnp.ones((64, 64))
    wanted = memory_of(jax.jit(program).lower(x).compile())
    assert wanted is not None and runs.compiled_memory(program, x) == pytest.approx(wanted / 1e6)


def test_compare_resumes_and_takes_more_methods(compared, tiny, monkeypatch):
    written, write = [], SampleFolder.write
    monkeypatch.setattr(
        SampleFolder, "write", lambda self, i, a: (written.append(self.path.name), write(self, i, a))[1]
    )
    assert main(["compare", *tiny, "--methods", "none", "mpgd", "conditional", "--out", str(compared)]) == 0
    assert written == ["conditional"] * 3
    assert main(["compare", *tiny, "--methods", "none", "--seed", "5", "--out", str(compared)]) == 2
    assert main(["compare", *tiny, "--methods", "none", "none"]) == 2


def test_compare_keeps_to_its_options_and_folders(compared, tiny, tmp_path, capsys):
    before = (compared / "config.json").read_bytes()
    assert main(["compare", *tiny, "--methods", "dps", "--seed", "5", "--out", str(compared)]) == 2
    assert "holds other results" in capsys.readouterr().err
    assert (compared / "config.json").read_bytes() == before and not (compared / "dps").exists()
    (tmp_path / "report.html").write_text("of something else")
    assert main(["compare", *tiny, "--methods", "none", "--out", str(tmp_path)]) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_compare_stops_between_methods(tiny, tmp_path, monkeypatch, capsys):
    out, write = tmp_path / "run", SampleFolder.write

    def interrupted(self, indices, arrays):
        write(self, indices, arrays)
        if not self.missing():
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write", interrupted)
        assert main(["compare", *tiny, "--methods", "none", "mpgd", "--out", str(out)]) == 75
    assert "interrupted after none" in capsys.readouterr().err and not (out / "mpgd").exists()
    assert main(["compare", *tiny, "--methods", "none", "mpgd", "--out", str(out)]) == 0


def test_methods_share_their_seeds(compared, finished):
    """Unguided and guided samples of one index start from the same noise: mpgd without strength would be none."""
    from tfg_jax.runs.store import read_folder

    none, mpgd = (read_folder(compared / name).read_all() for name in ("none", "mpgd"))
    assert not np.array_equal(none["x"], mpgd["x"])
    apart = np.abs(none["x"] - mpgd["x"]).mean()
    shuffled = np.abs(none["x"] - np.roll(mpgd["x"], 1, axis=0)).mean()
    assert apart < shuffled


def test_evaluate_agrees_with_the_run_that_made_the_samples(finished, weights, tmp_path, capsys):
    networks = ["--evaluator", str(weights / "evaluator"), "--guide", str(weights / "guide")]
    out = tmp_path / "out"
    assert main(["evaluate", str(finished), *networks, "--out", str(out), "--dry-run"]) == 0 and not out.exists()
    assert main(["evaluate", str(finished), *networks, "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text()) == json.loads((finished / "metrics.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(finished), "--evaluator", str(weights / "evaluator"), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_evaluate_reads_images(weights, tmp_path, capsys):
    rng = np.random.default_rng(0)
    target = np.arange(6) % 10
    x = rng.integers(0, 256, (6, 28, 28, 1)).astype(np.uint8)
    args = ["--evaluator", str(weights / "evaluator")]
    np.savez(tmp_path / "bytes.npz", x=x, target=target)
    np.savez(tmp_path / "floats.npz", x=x / 127.5 - 1, target=target)
    for name in ("bytes", "floats"):
        assert main(["evaluate", str(tmp_path / f"{name}.npz"), *args, "--out", str(tmp_path / name)]) == 0
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("bytes", "floats")]
    assert found[0]["evaluator_accuracy"] == found[1]["evaluator_accuracy"]
    assert found[0]["frechet_distance"] == pytest.approx(found[1]["frechet_distance"], rel=1e-4)
    bad = {
        "unscaled": ({"x": x.astype(float), "target": target}, "[-1, 1]"),
        "nameless": ({"images": x, "target": target}, "name the images x"),
        "classes": ({"x": x, "target": target + 9}, "outside 0..9"),
        "few": ({"x": x, "target": target[:2]}, "(6,) integer classes"),
    }
    capsys.readouterr()
    for name, (arrays, said) in bad.items():
        np.savez(tmp_path / "bad.npz", **arrays)
        assert main(["evaluate", str(tmp_path / "bad.npz"), *args, "--out", str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / name).exists()
    (tmp_path / "text.npz").write_text("no archive")
    assert main(["evaluate", str(tmp_path / "text.npz"), *args]) == 2
    assert main(["evaluate", str(tmp_path / "nothing"), *args]) == 2


def damage(file: Path) -> None:
    """One byte of the images changed: the archive's checksum tells."""
    np.savez(file, x=np.zeros((1, 28, 28, 1), np.float32), target=np.zeros(1, int))
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)


def put_text(file: Path) -> None:
    """Members that are no arrays."""
    with zipfile.ZipFile(file, "w") as archive:
        for member in ("x.npy", "target.npy"):
            archive.writestr(member, "no array")


def put_huge(file: Path) -> None:
    """An array whose header claims far more than there is."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000000000000,)}"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        archive.writestr("target.npy", "")


def put_images(shape=(28, 28, 1), value: object = 0.0) -> Callable[[Path], None]:
    x = np.full((2, *shape), value)
    return lambda file: np.savez(file, x=x, target=np.zeros(2, int))


def put_requests(path: Path) -> None:
    """Samples of a task that asks for other things than classes."""
    with open_folder(path, {}, 2, 2) as folder:
        status = {"status_code": np.zeros(2, np.int32), "status_step": np.zeros(2, np.int32)}
        folder.write(range(2), {"x": np.zeros((2, 28, 28, 1)), "target": np.zeros((2, 2)), **status})


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (put_requests, "has no classes as targets; the command that made it scores it"),
        (put_images((32, 32, 1)), "holds images of 32 x 32 x 1, evaluator="),
        (put_images((28, 28, 3)), "needs 28 x 28 x 1; resize or crop them"),
        (put_images(value=np.nan), "holds NaN or infinity in x; clean it first"),
        (put_images(value=1e300), "holds NaN or infinity in x; clean it first"),
        (put_images(value=None), "holds Python objects; save arrays of numbers with numpy.savez"),
        (damage, "is damaged (BadZipFile); copy it again"),
        (put_text, "holds x as a file that is no array"),
        (put_huge, "is damaged ("),
        (lambda file: file.mkdir(), "holds no manifest.json; give a folder of `tfg-jax sample` or an .npz file"),
        (lambda file: None, "does not exist"),
        (lambda file: (file.mkdir(), (file / "manifest.json").touch()), "has a damaged manifest.json; run the command"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_evaluate_refuses_what_it_cannot_score(write, said, dry, weights, tmp_path, capsys):
    file, out = tmp_path / "bad.npz", tmp_path / "out"
    write(file)
    assert main(["evaluate", str(file), "--evaluator", str(weights / "evaluator"), "--out", str(out), *dry]) == 2
    heard = capsys.readouterr().err
    assert said in heard and f"source={file}" in heard and len(heard.strip().splitlines()) == 1
    assert not out.exists()


def test_evaluate_refuses_networks_of_another_shape(finished, weights, tmp_path, capsys):
    """In both roles, for sample folders too."""
    from tfg_jax.weights import store

    config, arrays = store.read_weights(weights / "guide")
    config |= {
        "shape": [27, 27, 1],
        "network": config["network"] | {"side": 27},
    }
    store.save_weights(tmp_path / "other", config, arrays)
    for role, rest in (("evaluator", []), ("guide", ["--evaluator", str(weights / "evaluator")])):
        args = [f"--{role}", str(tmp_path / "other"), *rest, "--out", str(tmp_path / "out")]
        assert main(["evaluate", str(finished), *args]) == 2
        assert f"{role}={tmp_path / 'other'} needs 27 x 27 x 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_inspect_shows_weights_and_folders(weights, finished, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main(["inspect", str(weights / "model"), "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    assert found["config"]["schedule"]["type"] == "VPCosine" and found["parameters"] > 0
    assert len(found["sha256"]["model.safetensors"]) == 64
    assert main(["inspect", str(finished), "--out", str(tmp_path / "no.json"), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == {"ok": 3, "missing": 0, "damaged": 0}
    assert not (tmp_path / "no.json").exists()
    assert main(["inspect", "--out", str(out)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["name", "architecture", "parameters"] and len(table) == 2 + len(load_manifest()) + 2
    row = next(line for line in table if line.startswith("fashion-mnist-evaluator "))
    assert "331178" in row and "test accuracy 0.9219" in row and "evaluator half" in row
    assert set(json.loads(out.read_text())["weights"]) >= {"fashion-mnist-guide"}
    assert main(["inspect", "no-such-thing"]) == 2 and "no-such-thing" in capsys.readouterr().err


def test_cite_finds_what_a_configuration_uses(finished, compared, tmp_path, capsys):
    assert main(["cite"]) == 0
    default = capsys.readouterr().out
    assert main(["cite", str(finished), "--out", str(tmp_path / "refs.bib")]) == 0
    found = capsys.readouterr().out
    assert found == default == (tmp_path / "refs.bib").read_text()
    assert all(key in found for key in ("tfg_jax", "ye2024tfg", "song2021ddim", "nichol2021improved"))
    assert "chung2023dps" not in found
    assert main(["cite", str(compared)]) == 0
    found = capsys.readouterr().out
    assert "he2024mpgd" in found and "ye2024tfg" not in found
    assert main(["cite", "--all"]) == 0
    every = capsys.readouterr().out
    assert all(entry in every for cls in library_classes() for entry in bibtex(cls).values())
    assert main(["cite", str(finished), "--all"]) == 2 and main(["cite", "--all", "--allow", "mine.py"]) == 2
    assert main(["cite", str(tmp_path / "nothing")]) == 2


def test_every_configuration_class_is_credited_or_plain():
    plain = {"Unguided", "Clip", "Tweedie", "Discrete", "Explicit", "FlowMap", "Leading", "Linspace", "Uniform",
             "UniformLogSNR", "PerSample"}  # fmt: skip
    entries = {cls.__name__: bibtex(cls) for cls in library_classes()}
    assert {name for name, found in entries.items() if not found} == plain
    for found in (*entries.values(), bibtex_of_text(tfg_jax.__doc__), bibtex_of_text(tfg_jax.Denoiser.__doc__)):
        for key, entry in found.items():
            assert entry.startswith("@") and f"{{{key}," in entry and entry.count("{") == entry.count("}")
            assert len(found) < 3 and entry.endswith("\n}")


def test_a_full_disk_is_for_the_scheduler_to_try_again(monkeypatch, capsys):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tfg_jax.runs.store.read_folder", full)
    assert main(["verify", "run"]) == 75 and "the disk is full; make room" in capsys.readouterr().err
