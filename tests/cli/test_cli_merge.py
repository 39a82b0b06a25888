"""`tfg-jax merge`: parts of a run, of either format, are its whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.cli.main import main
from tfg_jax.runs.run import read_seconds
from tfg_jax.runs.store import open_folder, read_folder


def shards(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("shard-*"), *folder.glob("*/c.*"), *folder.rglob("zarr.json"), folder / "manifest.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


@pytest.mark.parametrize("formats", [("zarr", "zarr"), ("npz", "zarr")])
def test_merged_parts_are_the_whole(formats, tmp_path, capsys):
    def part(path, format, numbers, seed=0):
        with open_folder(path, {"seed": seed}, 5, 2, format=format) as folder:
            for number in numbers:
                indices = folder.ranges()[number]
                folder.write(indices, {"x": np.asarray(indices, np.float32), "target": np.asarray(indices)})
            folder.values.write("seconds.json", json.dumps({str(numbers[0]): 1.0}).encode())
        return str(path)

    paths = [part(tmp_path / f"part{k}", each, ((0, 2), (1, 2))[k]) for k, each in enumerate(formats)]
    whole, other = part(tmp_path / "whole", "zarr", (0, 1, 2)), part(tmp_path / "other", "zarr", (0,), seed=1)
    merge = ["merge", *paths, "--output", str(tmp_path / "merged")]
    assert main([*merge, "--dry-run"]) == 0 and not (tmp_path / "merged").exists()
    assert main(["merge", paths[0], "--output", str(tmp_path / "merged")]) == 1
    assert "3 of 5 samples; 2 samples in no folder" in capsys.readouterr().out
    assert main(merge) == 0 and shards(tmp_path / "merged") == shards(Path(whole))
    assert main(merge) == 0 and main(["verify", str(tmp_path / "merged")]) == 0
    for arguments, said in (([paths[0], other], "seed: 1 -> 0"), ([str(tmp_path)], "no manifest.json")):
        assert main(["merge", *arguments, "--output", str(tmp_path / "new")]) == 2 and said in capsys.readouterr().err
    assert len(read_folder(tmp_path / "merged").read_all()["x"]) == 5
    assert read_seconds(tmp_path / "merged") == {"0": 1.0, "1": 1.0}
