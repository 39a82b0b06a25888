"""Files of any origin: bounded memory and time, one kind of error, whatever has been done to them."""

import json
import os
import zipfile

import numpy as np
import pytest

from scripts import fuzz
from tfg_jax import DDIM, from_json
from tfg_jax.cli.main import main
from tfg_jax.readers import MAX_RATIO, load_json, load_npz
from tfg_jax.runs.store import open_folder, read_folder


def test_mutated_files_are_read_or_refused():
    assert fuzz.run(500) == []


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path):
    file = tmp_path / "x.npz"
    np.savez_compressed(file, x=np.zeros(2**27, np.uint8))
    assert file.stat().st_size * MAX_RATIO < 2**27
    with pytest.raises(ValueError, match=r"images=.* would unpack to 1 arrays and 134217856 bytes; split it"):
        load_npz("images", file)
    np.savez_compressed(file, x=np.zeros(2**20, np.uint8))  # small enough to be harmless
    assert load_npz("images", file)["x"].sum() == 0


def test_a_header_that_claims_more_than_there_is(tmp_path):
    file, header = tmp_path / "x.npz", b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,)}"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="x is not as large as its header says"):
        load_npz("images", file)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_json_nested_without_end(text, tmp_path):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match="not JSON"):
        load_json("config", tmp_path / "c.json")
    with pytest.raises(ValueError, match="configuration is not JSON|nested too deeply"):
        from_json(text)


@pytest.mark.parametrize(
    "text", ['{"type": []}', '{"type": {"type": "TFG"}}', '{"type": null}', '[["a", {"type": 3}]]']
)
def test_a_type_that_is_no_name(text):
    with pytest.raises(ValueError, match="type=.* is unknown; choose one of"):
        from_json(text)


def test_a_manifest_of_more_files_than_a_folder_holds(tmp_path):
    with open_folder(tmp_path, {}, 2, 2):
        pass
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"num_samples": 10**12}))
    with pytest.raises(ValueError, match="manifest.json"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="num_samples=1000000000000 in shards of 20 are more than"):
        open_folder(tmp_path / "new", {}, 10**12, 20)


def test_steps_without_bound(capsys):
    with pytest.raises(ValueError, match="steps=3000000000 must be at most 1000000"):
        DDIM(steps=3_000_000_000)
    assert main(["sample", "--steps", "3000000000", "--dry-run"]) == 2
    assert "steps=3000000000 must be at most 1000000" in capsys.readouterr().err


def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "x.npz")
    for command in (["solve", "--images"], ["evaluate"]):
        assert main([*command, str(tmp_path / "x.npz"), "--out", str(tmp_path / "out")]) == 2
        assert "no regular file" in capsys.readouterr().err


def test_a_configuration_without_a_field_it_needs():
    with pytest.raises(ValueError, match="Explicit lacks a field, .times.; it has times"):
        from_json('{"type": "Explicit"}')
