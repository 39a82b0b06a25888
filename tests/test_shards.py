"""Sample folders of both formats survive kills, damage and mistakes; what is recomputed has the same bytes."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from tfg_jax.result import Cost, Samples, Status
from tfg_jax.runs import record
from tfg_jax.runs.store import MANIFEST, config_hash, open_folder, read_folder, sample_arrays, samples_from, versions

CONFIG = {"seed": 3, "guidance": {"rho": 1.0, "mu": None}, "steps": [2, 3]}
TOTAL, SIZE = 10, 4
FORMAT = "zarr"


@pytest.fixture(params=["zarr", "npz"], autouse=True)
def format(request, monkeypatch):
    """What new folders are; every test holds for both."""
    monkeypatch.setattr(sys.modules[__name__], "FORMAT", request.param)
    return request.param


def samples(indices, seed=3):
    """A stand-in for sampling: sample i is a function of the seed and i alone."""
    x = np.stack([np.random.default_rng([seed, i]).normal(size=(2, 3)) for i in indices]).astype(np.float32)
    return {"x": x, "status_code": np.zeros(len(indices), np.int32)}


def run(path, config=CONFIG, **options):
    """Open, compute what is missing, close; returns the ranges that were computed."""
    with open_folder(path, config, TOTAL, SIZE, **{"format": FORMAT, **options}) as folder:
        todo = folder.missing()
        for indices in todo:
            folder.write(indices, samples(indices))
    return todo


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def chunk(path, number):
    """The file of the samples of a shard."""
    return path / (f"shard-{number:05d}.npz" if FORMAT == "npz" else f"x/c.{number}.0.0")


def sidecar(path, number):
    return path / f"shard-{number:05d}.sha256"


def name(number):
    """Of a shard, as messages have it."""
    return f"shard-{number:05d}" + (".npz" if FORMAT == "npz" else "")


def test_a_finished_folder_reads_back_and_is_not_computed_again(tmp_path):
    assert run(tmp_path / "a") == [range(0, 4), range(4, 8), range(8, 10)]
    assert run(tmp_path / "a") == []
    arrays = read_folder(tmp_path / "a").read_all()
    expected = samples(range(TOTAL))
    assert set(arrays) == {"index", "x", "status_code"}
    np.testing.assert_array_equal(arrays["index"], np.arange(TOTAL))
    np.testing.assert_array_equal(arrays["x"], expected["x"])
    assert arrays["x"].dtype == np.float32 and arrays["status_code"].dtype == np.int32
    files = [f"shard-0000{k}.{kind}" for k in range(3) for kind in ("npz", "sha256")]
    if FORMAT == "zarr":
        arrays = {"index": "", "status_code": "", "x": ".0.0"}
        chunks = [f"{each}/c.{k}{rest}" for each, rest in arrays.items() for k in range(3)]
        files = [*files[1::2], *chunks, "zarr.json", *(f"{each}/zarr.json" for each in arrays)]
    assert set(contents(tmp_path / "a")) == {MANIFEST, *files}


def test_the_manifest_says_what_was_run(tmp_path):
    run(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["config"] == CONFIG and manifest["config_hash"] == config_hash(CONFIG)
    assert (manifest["num_samples"], manifest["shard_size"]) == (TOTAL, SIZE)
    assert {"python", "tfg_jax", "jax", "jaxlib", "numpy"} <= set(manifest["versions"])


def test_the_manifest_comes_first(tmp_path):
    open_folder(tmp_path / "a", CONFIG, TOTAL, SIZE, format=FORMAT).close()
    assert list(contents(tmp_path / "a")) == [MANIFEST]
    assert read_folder(tmp_path / "a").missing() == [range(0, 4), range(4, 8), range(8, 10)]


def test_sidecars_are_what_sha256sum_reads(tmp_path):
    run(tmp_path)
    for k in range(3):
        lines = sidecar(tmp_path, k).read_text().splitlines()
        assert len(lines) == (1 if FORMAT == "npz" else 3)
        for digest, file in (line.split("  ") for line in lines):
            assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == digest


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_shards import *
from tfg_jax.runs import values
with open_folder({path!r}, CONFIG, TOTAL, SIZE, format={format!r}) as folder:
    first, second, _ = folder.ranges()
    folder.write(first, samples(first))
    if {half}:  # die in the middle of writing the second shard: of the file, or after some chunks and within the record
        half = lambda out, **arrays: (out.write(b"half a shard"), out.flush(), os.kill(os.getpid(), signal.SIGKILL))
        np.savez = half
        values.write_atomically = lambda file, write, **_: half(file.with_name(file.name + ".0123abcd.tmp").open("wb"))
        folder.write(second, samples(second))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("half", [False, True], ids=["between shards", "inside a shard"])
def test_a_killed_run_is_taken_up_and_ends_in_the_same_bytes(tmp_path, half):
    run(tmp_path / "whole")
    broken = tmp_path / "broken"
    code = KILLED.format(tests=os.path.dirname(__file__), path=str(broken), half=half, format=FORMAT)
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (broken / "lock").exists() and bool([*broken.glob("shard-00001.*.tmp")]) == half
    assert run(broken) == [range(4, 8), range(8, 10)]
    assert contents(broken) == contents(tmp_path / "whole")


def test_results_go_to_a_folder_and_come_back(tmp_path):
    count = jax.numpy.arange(TOTAL)
    x, cost = jax.numpy.asarray(samples(range(TOTAL))["x"]), Cost(count, count + 1, count + 2)
    out = Samples(x, Status(count % 2, count - 1), cost, {"loss": count})
    with open_folder(tmp_path, CONFIG, TOTAL, SIZE, format=FORMAT) as folder:
        for indices in folder.missing():
            part = slice(indices.start, indices.stop)
            folder.write(indices, sample_arrays(jax.tree.map(lambda leaf, part=part: leaf[part], out)))
        arrays = folder.read_all()
    back = samples_from(arrays)
    jax.tree.map(np.testing.assert_array_equal, (back.x, back.status, back.cost), (out.x, out.status, out.cost))
    del arrays["cost_pullbacks"]
    with pytest.raises(ValueError, match="arrays has no 'cost_pullbacks'"):
        samples_from(arrays)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


DAMAGE = {
    "one bit": (lambda path: flip(chunk(path, 1)), "damaged"),
    "truncated": (lambda path: chunk(path, 1).write_bytes(chunk(path, 1).read_bytes()[:-7]), "damaged"),
    "longer": (lambda path: chunk(path, 1).write_bytes(chunk(path, 1).read_bytes() + b"0"), "damaged"),
    "emptied": (lambda path: chunk(path, 1).write_bytes(b""), "damaged"),
    "deleted": (lambda path: chunk(path, 1).unlink(), "missing|damaged"),
    "no sidecar": (lambda path: sidecar(path, 1).unlink(), "missing|damaged"),
    "torn sidecar": (lambda path: sidecar(path, 1).write_bytes(b"\xff12"), "damaged"),
    "swapped": (lambda path: os.replace(chunk(path, 0), chunk(path, 1)), "damaged"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_found_and_only_that_is_computed_again(tmp_path, how):
    run(tmp_path)
    whole = contents(tmp_path)
    damage, state = DAMAGE[how]
    damage(tmp_path)
    folder = read_folder(tmp_path)
    assert folder.verify()[name(1)] in state.split("|") and folder.verify()[name(2)] == "ok"
    with pytest.raises(ValueError, match=f"{name(1)} .* is ({state})|{name(0)} .* is (missing|damaged)"):
        folder.read_all()
    assert run(tmp_path) == ([range(0, 4)] if how == "swapped" else []) + [range(4, 8)]
    assert contents(tmp_path) == whole


def test_a_folder_goes_on_to_more_samples_in_its_own_format(tmp_path):
    """A last short shard is made again, also after a kill anywhere in between."""
    more = {**CONFIG, "targets": 2}
    for path, format in ((tmp_path / "fresh", FORMAT), (tmp_path / "other", "zarr" if FORMAT == "npz" else "npz")):
        with open_folder(path, more, 11, SIZE, format=format) as folder:
            for indices in folder.missing():
                folder.write(indices, samples(indices))
    run(tmp_path / "grown")
    old = contents(tmp_path / "grown")
    for attempt in range(2):
        with open_folder(
            tmp_path / "grown", more, 11, SIZE, shorter=(CONFIG, TOTAL) if not attempt else None
        ) as folder:
            assert folder.missing() == [range(8, 11)]
        for file in (tmp_path / "grown").rglob("zarr.json"):  # killed before these were written
            file.write_bytes(old[file.relative_to(tmp_path / "grown").as_posix()])
    with open_folder(tmp_path / "grown", more, 11, SIZE) as folder:
        folder.write(range(8, 11), samples(range(8, 11)))
    assert contents(tmp_path / "grown") == contents(tmp_path / "fresh")
    arrays = (read_folder(tmp_path / each).read_all() for each in ("fresh", "other"))
    jax.tree.map(np.testing.assert_array_equal, *arrays)


def test_another_configuration_is_refused_and_the_keys_are_named(tmp_path):
    run(tmp_path)
    whole = contents(tmp_path)
    other = {"seed": 4, "guidance": {"rho": 1.0, "mu": 0.5}, "steps": [2, 3], "chunk": 8}
    with pytest.raises(ValueError, match="chunk: None -> 8; guidance.mu: null -> 0.5; seed: 3 -> 4.*overwrite"):
        run(tmp_path, other)
    with pytest.raises(ValueError, match="num_samples: 10 -> 11"):
        open_folder(tmp_path, CONFIG, 11, SIZE)
    assert contents(tmp_path) == whole, "a refusal changes nothing, and leaves no lock"


def test_keys_that_are_called_otherwise_today_are_the_same_configuration(tmp_path):
    """As version 0.1 wrote them; other values are another configuration still."""
    old = {"guidance": {"type": "DPS", "normalise": "residual"}, "linearise": "mean"}
    new = {"guidance": {"type": "DPS", "normalize": "residual"}, "linearize": "mean"}
    run(tmp_path, old)
    assert run(tmp_path, new) == []
    with pytest.raises(ValueError, match=r"linearize: \"mean\" -> \"sample\""):
        run(tmp_path, {**new, "linearize": "sample"})


def test_a_folder_is_not_resumed_under_another_type_of_keys(tmp_path):
    """The draws of a seed depend on it. Folders that do not say were made with the default."""
    open_folder(tmp_path / "new", CONFIG, TOTAL, SIZE).close()
    run(tmp_path / "old", format="npz")
    manifest = json.loads((tmp_path / "old" / MANIFEST).read_text())
    assert manifest.pop("key_type") == "threefry2x32" and manifest.pop("hash")
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest | {"schema": "tfg_jax.samples/1"}))
    open_folder(tmp_path / "old", CONFIG, TOTAL, SIZE).close()
    for setting, said in (
        (jax.default_prng_impl("rbg"), "rbg"), (jax.threefry_partitionable(False), "threefry2x32, not partitionable"),
    ):  # fmt: skip
        with setting:
            for name in ("new", "old"):
                with pytest.raises(ValueError, match=f'key_type: "threefry2x32" -> "{said}"'):
                    open_folder(tmp_path / name, CONFIG, TOTAL, SIZE)


def test_overwrite_begins_again_and_deletes_only_its_own_files(tmp_path):
    run(tmp_path)
    (tmp_path / "grid.png").write_bytes(b"a picture put there by the user")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "zarr.json").write_bytes(b"an array of the user's, among other things")
    (tmp_path / "mine" / "thesis.tex").write_bytes(b"...")
    (tmp_path / "shard-00007.npz").write_bytes(b"of an earlier, longer run")
    assert len(run(tmp_path, {"seed": 9}, overwrite=True)) == 3
    assert len([*(tmp_path / "mine").iterdir()]) == 2
    assert (tmp_path / "grid.png").exists() and not (tmp_path / "shard-00007.npz").exists()
    assert read_folder(tmp_path).manifest["config"] == {"seed": 9}


def test_two_writers_do_not_meet(tmp_path):
    with open_folder(tmp_path, CONFIG, TOTAL, SIZE):
        with pytest.raises(ValueError, match="written by another process"):
            open_folder(tmp_path, CONFIG, TOTAL, SIZE)
        with pytest.raises(ValueError, match="written by another process"):
            open_folder(tmp_path, CONFIG, TOTAL, SIZE, overwrite=True)
    assert len(run(tmp_path)) == 3


@pytest.mark.parametrize("text", ["", '{"schema": "tfg_jax.sam', "[]", '{"schema": "other"}'])
def test_a_damaged_manifest_is_refused_until_overwritten(tmp_path, text):
    run(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    for opened in (lambda: run(tmp_path), lambda: read_folder(tmp_path)):
        with pytest.raises(ValueError, match="manifest.json .* is damaged.*overwrite=True"):
            opened()
    assert len(run(tmp_path, overwrite=True)) == 3


def edit(path, **values):
    file = path / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "values",
    [
        {"config": CONFIG | {"seed": 4}},
        {"num_samples": 8},  # the last shard left out
        {"num_samples": 9},
        {"shard_size": 5},
        {"versions": {"jax": "0.0"}},
        {"config": CONFIG | {"seed": 4}, "config_hash": config_hash(CONFIG | {"seed": 4})},
    ],
)
def test_an_edited_manifest_is_noticed(tmp_path, values):
    run(tmp_path)
    edit(tmp_path, **values)
    for opened in (lambda: read_folder(tmp_path), lambda: run(tmp_path, values.get("config", CONFIG))):
        with pytest.raises(ValueError, match="damaged"):
            opened()


def made_by_the_first_version(path):
    """A finished folder as versions before the hash of the whole manifest wrote it."""
    run(path, format="npz")
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["hash"]
    (path / MANIFEST).write_text(json.dumps(manifest | {"schema": "tfg_jax.samples/1"}))


def test_a_folder_of_the_first_version_is_read_and_resumed(tmp_path):
    made_by_the_first_version(tmp_path)
    assert len(read_folder(tmp_path).read_all()["x"]) == TOTAL
    (tmp_path / "shard-00001.npz").unlink()
    assert run(tmp_path) == [range(4, 8)] and run(tmp_path) == []


@pytest.mark.parametrize("values", [{"num_samples": 8}, {"num_samples": 4}, {"config": CONFIG | {"seed": 4}}])
def test_a_shortened_manifest_of_the_first_version_is_noticed(tmp_path, values):
    made_by_the_first_version(tmp_path)
    edit(tmp_path, **values)
    with pytest.raises(ValueError, match="damaged"):
        read_folder(tmp_path)


def test_other_versions_are_told_on_resumption(tmp_path, monkeypatch, recwarn):
    assert run(tmp_path) and not run(tmp_path) and not recwarn
    monkeypatch.setattr(record, "versions", lambda: versions() | {"jax": "99.0"})
    with pytest.warns(UserWarning, match=rf"begun with other versions \(jax {versions()['jax']} -> 99.0\)"):
        assert run(tmp_path) == []


def test_shards_without_a_manifest_are_not_trusted(tmp_path):
    run(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ValueError, match="shards but no manifest"):
        run(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no manifest.json"):
        read_folder(tmp_path)
    assert len(run(tmp_path, overwrite=True)) == 3


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
            run(tmp_path, overwrite=overwrite)
    assert list(contents(tmp_path)) == ["thesis.tex"]


@pytest.mark.parametrize("under", ["", "below"])
def test_a_path_that_cannot_be_a_folder(tmp_path, under):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="path=.*file.* is no writable folder .*; choose another"):
        run(tmp_path / "file" / under)


@pytest.mark.parametrize(
    ("indices", "arrays", "message"),
    [
        (range(0, 3), {"x": np.zeros(3)}, "indices=.* is no shard"),
        (range(0, 4), {}, "arrays holds 0 entries"),
        (range(0, 4), {"x": np.zeros(3)}, r"arrays\['x'\] has shape \(3,\); its leading axis must be 4 long"),
        (range(0, 4), {"x": np.zeros(())}, "leading axis"),
        (range(0, 4), {"x": np.array([{}] * 4)}, "dtype object; cast it"),
        (range(0, 4), {"x": np.array(list("abcd"))}, "dtype <U1; cast it"),
        (range(0, 4), {"../x": np.zeros(4)}, "use an identifier"),
        (range(0, 4), {"index": np.zeros(4)}, "other than 'index'"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused(tmp_path, indices, arrays, message):
    with open_folder(tmp_path, CONFIG, TOTAL, SIZE) as folder:
        with pytest.raises(ValueError, match=message):
            folder.write(indices, arrays)
    assert list(contents(tmp_path)) == [MANIFEST]


def test_half_precision_of_the_network_is_refused_with_the_fix(tmp_path):
    with open_folder(tmp_path, CONFIG, TOTAL, SIZE) as folder:
        with pytest.raises(ValueError, match="dtype bfloat16; cast it"):
            folder.write(range(0, 4), {"x": jax.numpy.zeros(4, jax.numpy.bfloat16)})
        folder.write(range(0, 4), {"x": jax.numpy.zeros(4)})


def test_a_folder_opened_to_read_is_not_written(tmp_path):
    run(tmp_path)
    with read_folder(tmp_path) as folder, pytest.raises(ValueError, match="open to read only"):
        folder.write(range(0, 4), samples(range(4)))


@pytest.mark.parametrize("counts", [(0, 1), (-1, 1), (1, 0), (2.5, 1), (True, 1)])
def test_counts_are_checked(tmp_path, counts):
    with pytest.raises((ValueError, TypeError), match="num_samples|shard_size"):
        open_folder(tmp_path, CONFIG, *counts)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, np.float32(1)])
def test_a_configuration_that_is_not_json_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="config=.* is not JSON"):
        run(tmp_path / "a", {"rho": value})
    assert not (tmp_path / "a").exists()


def forge(path, archive):
    """Replace shard 0 by `archive`, with a sidecar that vouches for it."""
    run(path, format="npz")
    file = path / "shard-00000.npz"
    file.write_bytes(archive)
    file.with_suffix(".sha256").write_text(f"{hashlib.sha256(archive).hexdigest()}  {file.name}\n")


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        npz(index=np.arange(4), x=np.zeros((4, 100_000))),  # unpacks to far more than it is
        npz(**{f"a{k}": np.zeros(1) for k in range(80)}),
        npz(index=np.arange(4, 8)),
        b"no archive at all",
    ],
    ids=["bomb", "many members", "other samples", "no archive"],
)
def test_forged_shards_are_refused(tmp_path, archive):
    forge(tmp_path, archive)
    with pytest.raises(ValueError, match="shard-00000.npz .*(no shard of tfg_jax|other samples)"):
        read_folder(tmp_path).read_all()


def test_pickled_objects_are_never_loaded(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([{"a": 1}] * 4))
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("index.npy", buffer.getvalue())
    forge(tmp_path, stored.getvalue())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_folder(tmp_path).read_all()


def test_the_old_name_of_the_store_gives_the_same_and_says_so():
    import tfg_jax.shards as old

    with pytest.warns(DeprecationWarning, match="tfg_jax.runs.store.open_folder"):
        assert old.open_folder is open_folder
