"""Damages files of every format that the library reads, and counts what reading them does.

    python scripts/fuzz.py --mutations 10000

A reader may return, or raise ValueError or FileNotFoundError; it may not take more than a second or 256 MB of new
memory. Each mutation is made by its number alone, so that a failure is found again with ``--first N --mutations 1``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS, BYTES = 1.0, 256 * 2**20
HOSTILE = [
    None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 5000, [], {}, [[]], {"type": []}, {"type": "TFG"},
    [1, "a"], 10**12, "../../etc/passwd", "<script>",
]  # fmt: skip

ENTRY = {"name": "mine", "architecture": "classifiers.GuideNet", "files": {"config.json": {"sha256": "0", "bytes": 1}}}
MANIFEST = {"format": 1, "weights": [ENTRY]}
CONFIGURATION = {"type": "Controls", "steps": 3, "grid": {"type": "Explicit", "times": [1.0, 0.5, 0.0]}}


SUITE = {
    "about": "a suite", "seeds": [0, 1], "headline": "tfg", "baselines": ["dps"],
    "need": [{"name": "cat", "gives": "model", "source": "somewhere", "optional": True}],
    "task": [{
        "name": "sr4", "kind": "restoration", "data": "fashion-mnist", "apart": True, "methods": ["none", "presets"],
        "targets": ["sr4", {"request": ["box"], "tfg": {"rho": 2.0}, "trust": "code"}], "samples": 3, "metric": "psnr",
        "settings": {"dps": {"strength": 1.0}, "mpgd": {"type": "MPGD", "strength": 1}}, "rate": 10, "also": ["ssim"],
    }],
}  # fmt: skip
TOML = """
about = "mine"
[[task]]
name = "labels"
kind = "labels"
data = "fashion-mnist"
targets = ["all", {request = "bag", tfg = {rho = 2.0}}]
methods = ["none", "tfg"]
samples = 4
metric = "evaluator_accuracy"
"""


class Format(NamedTuple):
    """A kind of file: writes a good one into a folder, says which file to damage, and reads it again."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    mend: Callable[[Path], None] = lambda file: None
    """Called after the damage, to put hashes right that would keep it from being read at all."""


class Failure(NamedTuple):
    number: int
    format: str
    what: str


def formats() -> dict[str, Format]:
    """Every format by name."""
    from tfg_jax import citations
    from tfg_jax.benchmark.read import checked, read_suite
    from tfg_jax.cli.options import Typed, _flags
    from tfg_jax.cli.options import _read as _read_options
    from tfg_jax.config import from_json, library_classes
    from tfg_jax.data import inputs
    from tfg_jax.readers import load_json
    from tfg_jax.runs.read import stored_samples
    from tfg_jax.runs.run import read_seconds
    from tfg_jax.runs.store import read_folder
    from tfg_jax.runs.study import Study
    from tfg_jax.training import checkpoint
    from tfg_jax.weights import store
    from tfg_jax.weights.manifest import load_manifest

    def hashed(file: Path) -> None:
        line = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        file.with_suffix(".sha256").write_text(line)

    def rehashed(file: Path) -> None:
        record = file.parents[1] / "shard-00000.sha256"
        key, lines = file.relative_to(file.parents[1]).as_posix(), record.read_text().splitlines()
        new = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {key}"
        record.write_text("".join(f"{new if line.endswith(key) else line}\n" for line in lines))

    def folder(file: Path) -> Any:
        opened = read_folder(file.parents[1] if file.parent.name == "x" else file.parent)
        return opened.verify(), opened.missing(), opened.read_all()

    def claimed(file: Path) -> None:
        with checkpoint.claim(file.parent, {"steps": 3, "lr": 0.1}):
            pass

    checked(SUITE, Path("s.toml"))
    library_classes()  # what is imported on first use is not the time of a file
    options = lambda file: _flags(_read_options(file, Typed([]))[1])  # noqa: E731
    configured = lambda file: from_json(file.read_text("utf-8"))  # noqa: E731
    known = lambda file: Study(file.parent, ()).known()  # noqa: E731
    images = lambda file: inputs.read_images([file], (6, 6, 1))  # noqa: E731

    def cited(file: Path) -> list[str]:
        return list(citations.names(citations.configuration_of(str(file))))

    return {
        "npz shard": Format(partial(_samples, "shard-00000.npz", "npz"), folder, hashed),
        "npz shard hash": Format(partial(_samples, "shard-00000.sha256", "npz"), folder),
        "chunk": Format(partial(_samples, "x/c.0.0.0.0", "zarr"), folder, rehashed),
        "chunk hashes": Format(partial(_samples, "shard-00000.sha256", "zarr"), folder),
        "group": Format(partial(_samples, "zarr.json", "zarr"), folder),
        "array": Format(partial(_samples, "x/zarr.json", "zarr"), folder),
        "sample manifest": Format(partial(_samples, "manifest.json", "zarr"), folder),
        "evaluated folder": Format(partial(_samples, "manifest.json", "npz"), lambda file: stored_samples(file.parent)),
        "images npz": Format(partial(_npz, np.savez), images),
        "compressed npz": Format(partial(_npz, np.savez_compressed), images),
        "picture": Format(_picture, images),
        "weights": Format(partial(_weights, "model.safetensors"), lambda file: store.load_arrays(file)),
        "weights config": Format(partial(_weights, "config.json"), lambda file: store.read_weights(file.parent)),
        "weights manifest": Format(partial(_text, "manifest.json", MANIFEST), lambda file: load_manifest(file.parent)),
        "configuration": Format(partial(_text, "c.json", CONFIGURATION), configured),
        "options": Format(partial(_text, "o.json", {"steps": 5, "classes": ["1"]}), options),
        "cited": Format(partial(_text, "config.json", {"type": "TFG"}), cited),
        "suite": Format(_toml, read_suite),
        "suite values": Format(partial(_text, "s.json", SUITE), lambda file: checked(load_json("suite", file), file)),
        "training state": Format(partial(_text, "config.json", {"steps": 3, "lr": 0.1}), claimed),
        "seconds": Format(partial(_text, "seconds.json", {"0": 1.5}), lambda file: read_seconds(file.parent)),
        "results": Format(partial(_text, "rows.json", {"a": {"config": 1}}), known),
    }  # fmt: skip


def run(mutations: int, first: int = 0) -> list[Failure]:
    """The failures of the mutations numbered ``first`` and following."""
    table, failures = list(formats().items()), []
    for number in range(first, first + mutations):
        name, format = table[number % len(table)]
        with tempfile.TemporaryDirectory() as folder:
            file = format.write(Path(folder))
            _damage(file, random.Random(number))
            format.mend(file)
            what = _read(format, file)
        if what:
            failures.append(Failure(number, name, what))
    return failures


def _read(format: Format, file: Path) -> str | None:
    """What reading did that it may not do."""
    tracemalloc.start()
    began = time.process_time()
    try:
        format.read(file)
    except (ValueError, FileNotFoundError) as error:
        if len(str(error)) > 2000:
            return f"a message of {len(str(error))} characters"
    except BaseException as error:  # a fuzzer reports whatever comes
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if time.process_time() - began > SECONDS:
        return f"took {time.process_time() - began:.1f} s"
    return f"took {peak} bytes" if peak > BYTES else None


def _damage(file: Path, rng: random.Random) -> None:
    """One to four mutations of a file's bytes, or of a value inside if it is JSON."""
    data = bytearray(file.read_bytes())
    if file.suffix == ".json" and rng.random() < 0.7:
        file.write_text(json.dumps(_hostile(json.loads(data), rng)), "utf-8")
        return
    if file.suffix == ".json" and rng.random() < 0.1:
        file.write_text("[" * 200_000)
        return
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + rng.randint(1, 16)]
            case 3:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 16)))
            case 4:  # numbers of four and eight bytes: sizes, offsets, counts
                data[at : at + rng.choice((4, 8))] = b"\xff" * rng.choice((4, 8))
            case 5:
                data[at:at] = data[at : at + 64]
    file.write_bytes(bytes(data))


def _hostile(value: Any, rng: random.Random) -> Any:
    """The value with one part of it exchanged, dropped or added."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.1:
            return value | {rng.choice(["type", "x", "\x00"]): rng.choice(HOSTILE)}
        return value | {key: _hostile(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], _hostile(value[at], rng), *value[at + 1 :]]
    return rng.choice(HOSTILE)


def _samples(damaged: str, format: Any, folder: Path) -> Path:
    from tfg_jax.runs.store import open_folder

    with open_folder(folder, {"seed": 0}, 3, 2, format=format) as opened:
        for indices in opened.ranges():
            n = len(indices)
            x, target = np.zeros((n, 6, 6, 1), np.float32), np.zeros(n, np.int64)
            opened.write(indices, {"x": x, "target": target, "status_code": np.zeros(n, np.int32)})
    return folder / damaged


def _npz(save: Callable, folder: Path) -> Path:
    save(folder / "x.npz", x=np.zeros((2, 6, 6, 1), np.float32))
    return folder / "x.npz"


def _picture(folder: Path) -> Path:
    from PIL import Image

    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(folder / "x.png")
    return folder / "x.png"


def _weights(damaged: str, folder: Path) -> Path:
    from tfg_jax.weights.store import save_weights

    save_weights(folder, {"architecture": "classifiers.GuideNet"}, {"a": np.zeros((2, 3), np.float32), "b": np.ones(4)})
    return folder / damaged


def _text(name: str, value: Any, folder: Path) -> Path:
    (folder / name).write_text(json.dumps(value), "utf-8")
    return folder / name


def _toml(folder: Path) -> Path:
    (folder / "s.toml").write_text(TOML, "utf-8")
    return folder / "s.toml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    given = parser.parse_args()
    with warnings.catch_warnings(action="ignore"):
        failures = run(given.mutations, given.first)
    for failure in failures:
        print(f"{failure.number}  {failure.format}: {failure.what}")
    print(f"{given.mutations} mutations of {len(formats())} formats, {len(failures)} read wrongly")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
