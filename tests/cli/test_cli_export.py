"""`tfg-jax export`: pictures and .npz files equal to what the folder holds, refusals; output whose reader goes away."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfg_jax as tfg
from tfg_jax.cli.main import main
from tfg_jax.runs.store import SampleFolder, open_folder


@pytest.fixture
def stored(tmp_path) -> Path:
    """Five samples in three shards, the fourth of which failed."""
    x = np.random.default_rng(0).uniform(-1.2, 1, (5, 4, 4, 1)).astype(np.float32)
    code = np.array([0, 0, 0, 1, 0], np.int32)
    with open_folder(tmp_path / "run", {"seed": 0}, 5, 2) as folder:
        for part in folder.ranges():
            rows = slice(part.start, part.stop)
            arrays = {"x": x[rows], "target": np.arange(5)[rows], "status_code": code[rows]}
            folder.write(part, arrays | {"status_step": code[rows] - 1, "objective": x[rows, :, 0, 0]})
    return tmp_path / "run"


def test_pictures_of_finished_samples_and_a_table(stored, tmp_path, capsys):
    out = tmp_path / "pictures"
    command = ["export", str(stored), "--output", str(out)]
    assert main([*command, "--dry-run"]) == 0 and not out.exists()
    assert main(command) == 0 and "4 pictures; 1 failed sample left out" in capsys.readouterr().out
    rows = list(csv.DictReader((out / "samples.csv").open()))
    assert [row["file"] for row in rows] == ["000000.png", "000001.png", "000002.png", "", "000004.png"]
    assert [row["target"] for row in rows] == list("01234") and rows[3]["status_code"] == "1"
    assert {file.name for file in out.iterdir()} == {row["file"] or "samples.csv" for row in rows}
    x = tfg.read_folder(stored).read_all()["x"]
    with Image.open(out / "000004.png") as picture:
        assert picture.mode == "L" and picture.size == (4, 4)
        np.testing.assert_array_equal(np.asarray(picture), np.rint((np.clip(x[4, ..., 0], -1, 1) + 1) * 127.5))


def test_the_table_says_class_names_images_and_draws(stored, tmp_path):
    """Names where the command that made the samples knows them; which image and draw a restoration is."""
    options = {"command": "sample", "options": {"task": "fashion-mnist"}}
    (stored / "config.json").write_text(json.dumps(options))
    assert main(["export", str(stored), "--output", str(tmp_path / "named")]) == 0
    rows = list(csv.DictReader((tmp_path / "named" / "samples.csv").open()))
    assert [row["class"] for row in rows[:2]] == ["T-shirt/top", "trouser"] and "draw" not in rows[0]
    with open_folder(tmp_path / "solved", {"draws": 2}, 4, 4) as folder:
        folder.write(range(4), {"x": np.zeros((4, 4, 4, 1), np.float32)})
    assert main(["export", str(tmp_path / "solved"), "--output", str(tmp_path / "drawn")]) == 0
    rows = list(csv.DictReader((tmp_path / "drawn" / "samples.csv").open()))
    assert [(row["image"], row["draw"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]


def test_one_file_holds_what_the_folder_holds_and_reads_a_shard_at_a_time(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(SampleFolder, "read_all", None)  # it would hold all of them
    out = tmp_path / "new" / "all.npz"
    assert main(["export", str(stored), "--output", str(out)]) == 0
    monkeypatch.undo()
    held = tfg.read_folder(stored).read_all()
    with np.load(out, allow_pickle=False) as found:
        assert set(found.files) == set(held)
        for name, array in held.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert [file.name for file in out.parent.iterdir()] == ["all.npz"]


def test_an_export_is_replaced_only_on_demand_and_an_interrupted_one_is_made_again(stored, tmp_path, capsys):
    out, file, other = tmp_path / "pictures", tmp_path / "all.npz", tmp_path / "other"
    with open_folder(other, {"seed": 1}, 2, 2) as folder:
        folder.write(range(2), {"x": np.zeros((2, 4, 4, 1), np.float32)})
    for target in (out, file):
        command = ["export", str(stored), "--output", str(target)]
        assert main(command) == 0
        before = {each: each.read_bytes() for each in (out.iterdir() if target is out else [file])}
        assert main(command) == 0  # the same again
        assert {each: each.read_bytes() for each in before} == before
        assert main(["export", str(other), "--output", str(target)]) == 2
        assert f"--output {target} holds another export" in (said := capsys.readouterr().err) and "--overwrite" in said
        assert main(["export", str(other), "--output", str(target), "--overwrite"]) == 0
        assert main([*command, "--overwrite"]) == 0
    (out / "samples.csv").unlink()
    (out / "000099.png").touch()
    assert main(["export", str(stored), "--output", str(out)]) == 0 and len(list(out.iterdir())) == 5
    (out / "holiday.png").touch()
    assert main(["export", str(stored), "--output", str(out), "--overwrite"]) == 2
    assert "holiday.png" in capsys.readouterr().err and (out / "holiday.png").exists()


def test_what_cannot_be_exported_is_refused(stored, tmp_path, capsys):
    broken = Path(shutil.copytree(stored, tmp_path / "broken"))
    (broken / "x" / "c.1.0.0.0").unlink()
    with open_folder(tmp_path / "flat", {}, 2, 2) as folder:
        folder.write(range(2), {"x": np.zeros((2, 3))})
    cases = [
        ([str(broken)], "lacks 2 samples; run the command"),
        ([str(tmp_path / "nothing")], "holds no manifest.json"),
        ([str(tmp_path / "flat")], "holds samples of shape (3,), pictures are (H, W, 1 or 3)"),
        ([str(stored), "--output", str(stored)], "holds other files"),
        ([str(stored), "--output", str(stored / "manifest.json")], "is a file; choose a folder"),
    ]
    for arguments, said in cases:
        rest = [] if "--output" in arguments else ["--output", str(tmp_path / "out")]
        assert main(["export", *arguments, *rest]) == 2
        heard = capsys.readouterr().err
        assert said in heard and len(heard.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert main(["export", str(tmp_path / "flat"), "--output", str(tmp_path / "flat.npz")]) == 0


@pytest.mark.parametrize("arguments", [["cite", "--all"], ["inspect"]])
def test_output_whose_reader_has_left_ends_quietly(arguments):
    """As `| head -1` does, here before the first line."""
    code = "import sys; from tfg_jax.cli.main import main; sys.stdin.readline(); sys.exit(main())"
    run = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdin and run.stdout and run.stderr
    run.stdout.close()
    run.stdin.write(b"\n")
    run.stdin.close()
    assert run.wait(60) == 141 and run.stderr.read() == b""
    run.stderr.close()
