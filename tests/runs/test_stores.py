"""Sample folders as Zarr groups that others open, behind URLs, and written by several workers."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from tfg_jax.runs import lease, workers
from tfg_jax.runs.lease import Lease, done
from tfg_jax.runs.store import MANIFEST, open_folder, read_folder
from tfg_jax.runs.values import LocalValues, RemoteValues, url_of, values_at
from tfg_jax.runs.workers import Worker, parse_worker

CONFIG, TOTAL, SIZE = {"seed": 3}, 10, 4


def samples(indices):
    """Every type, arrays without axes and without elements, and values that are those of an empty chunk."""
    i = np.arange(indices.start, indices.stop)
    x = np.stack([np.random.default_rng([3, k]).normal(size=(2, 3)) for k in indices])
    return {
        "x": np.asfortranarray(x.astype(np.float32)), "x__parts__0": np.zeros((len(i), 1), np.float16),
        "status_code": np.zeros(len(i), np.int32), "target": x[:, 0] * (1 + 2j), "objective": np.zeros((len(i), 0)),
        "ok": i % 2 == 0, "bytes": x.astype(">f8"), "nan": np.full(len(i), np.nan),
    }  # fmt: skip


def run(path, config=CONFIG, total=TOTAL, **options):
    with open_folder(path, config, total, SIZE, **options) as folder:
        todo = folder.missing()
        for indices in todo:
            folder.write(indices, samples(indices))
    return todo


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    assert len(run(path)) == 3
    return path


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def remote(path):
    """A folder by the calls of an object store; as `pathlib` leaves a URL."""
    return Path(f"file://{path}")


def test_others_open_what_is_written(whole, copy):
    """Every array by its own metadata, with checksums, and the group by its attributes."""
    expected = samples(range(TOTAL)) | {"index": np.arange(TOTAL)}
    read = read_folder(whole).read_all()
    assert set(read) == set(expected)
    group = json.loads((whole / "zarr.json").read_text())
    assert group["attributes"]["config"] == CONFIG and set(group["attributes"]["arrays"]) == set(expected)
    for name, array in expected.items():
        opened = ts.open({"driver": "zarr3", "kvstore": f"file://{whole}/{name}/"}).result()
        for found in (read[name], opened.read().result()):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype.newbyteorder("=")
        assert opened.domain.labels[0] == "sample" and len(set(opened.domain.labels)) == array.ndim
        assert json.loads((whole / name / "zarr.json").read_text()) == group["consolidated_metadata"]["metadata"][name]
    file = copy / "x" / "c.1.0.0"
    file.write_bytes(b"\x01" + file.read_bytes()[1:])
    with pytest.raises(ValueError, match="Digest mismatch"):
        ts.open({"driver": "zarr3", "kvstore": f"file://{copy}/x/"}).result().read().result()


@pytest.mark.parametrize("shard", [1, 2], ids=["whole", "last, shorter"])
@pytest.mark.parametrize("where", [Path, remote])
def test_damaged_chunks_are_computed_again(whole, copy, where, shard):
    for name, change in {
        "x": lambda data: b"\x01" + data[1:],
        "nan": lambda data: b"",
        "ok": lambda data: data * 9,
    }.items():
        file = next((copy / name).glob(f"c.{shard}*"))
        file.write_bytes(change(file.read_bytes()))
    assert run(where(copy)) == [read_folder(whole).ranges()[shard]] and contents(copy) == contents(whole)


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_metadata_is_verified_and_mended(whole, copy, damage):
    """Of an array it is written anew; with that of the group the arrays are unknown and all is made again."""
    for key, todo in (("x/zarr.json", 0), ("zarr.json", 3)):
        file = copy / key
        file.unlink() if damage is None else file.write_bytes(damage)
        states = read_folder(copy).verify()
        assert "damaged" in (states.get(key), states["shard-00000"])
        assert len(run(copy)) == todo and contents(copy) == contents(whole)


def test_a_forged_group_is_damaged(copy):
    kinds = [
        {"dtype": "object", "shape": []},
        3,
        *({"dtype": "bool", "shape": s} for s in ([2**60], [-1], [2**39] * 3)),
    ]
    for arrays in ({}, [], {"../x": {"dtype": "bool", "shape": []}}, *({"x": kind} for kind in kinds)):
        (copy / "zarr.json").write_text(json.dumps({"attributes": {"arrays": arrays}}))
        with pytest.raises(ValueError, match="shard-00000 of .* is damaged"):
            read_folder(copy).read_all()


def test_a_chunk_of_another_size_with_its_hash_is_refused(copy):
    import hashlib

    (copy / "x" / "c.0.0.0").write_bytes(b"short")
    keys = [line.split("  ")[1] for line in (copy / "shard-00000.sha256").read_text().splitlines()]
    lines = (f"{hashlib.sha256((copy / key).read_bytes()).hexdigest()}  {key}\n" for key in keys)
    (copy / "shard-00000.sha256").write_text("".join(lines))
    with pytest.raises(ValueError, match="no shard of tfg_jax"):
        read_folder(copy).read(range(0, 4))


def test_shards_hold_the_same_arrays(tmp_path):
    with open_folder(tmp_path, CONFIG, TOTAL, SIZE) as folder:
        folder.write(range(0, 4), {"x": np.zeros((4, 2), np.float32)})
        for other in ({"x": np.zeros((4, 2))}, {"x": np.zeros((4, 3), np.float32)}, {"y": np.zeros(4)}):
            with pytest.raises(ValueError, match=r"arrays\['[xy]'\] is .* it is .*overwrite=True"):
                folder.write(range(4, 8), other)


@pytest.mark.parametrize(
    ("path", "url"),
    [("gs://b/x", "gs://b/x"), (Path("gs://b/x/"), "gs://b/x"), (Path("s3://b/x/y"), "s3://b/x/y"), ("a/gs:/b", None),
     (Path("file:///a/b"), "file:///a/b"), ("/a/b", None), ("C:/a", None)],
)  # fmt: skip
def test_urls(path, url):
    assert url_of(path) == url


def test_where_a_url_is(monkeypatch):
    assert RemoteValues("gs://b/x").spec("y/") == {"driver": "gcs", "bucket": "b", "path": "x/y/"}
    assert RemoteValues("s3://b").spec("") == {"driver": "s3", "bucket": "b", "path": ""}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    assert RemoteValues("s3://b/x").spec("")["endpoint"] == "http://127.0.0.1:5000"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("tfg_jax.runs.values.FIRST_RETRIES", 0)
    with pytest.raises(ValueError, match="path=s3://b/x cannot be opened .*check the URL, the network and the creden"):
        RemoteValues("s3://b/x").read("y")  # rather than a quarter of an hour later


@pytest.mark.parametrize("kind", [LocalValues, RemoteValues])
def test_values(kind, tmp_path):
    values = kind(tmp_path) if kind is LocalValues else values_at(remote(tmp_path))
    assert values.read("a") is None and values.keys() == []
    for key in ("a", "b/c", "b/d", "bc"):
        values.write(key, b"old")
        values.write(key, key.encode())
    assert values.read("b/c") == b"b/c" and values.read("b/c", limit=2) is None and values.read("b") is None
    assert values.keys() == ["a", "b/c", "b/d", "bc"] and values.keys("b/") == ["b/c", "b/d"]
    assert values.keys("b") == ["b/c", "b/d", "bc"] and values.keys("nothing/") == []
    for key in ("b/c", "b/c", "b/d"):
        values.delete(key)
    assert values.keys() == ["a", "bc"]


def test_a_url_keeps_all_promises(whole, tmp_path):
    where = remote(tmp_path / "run")
    assert len(run(where)) == 3 and run(where) == []
    assert contents(tmp_path / "run") == contents(whole)
    (tmp_path / "run" / "x" / "c.1.0.0").unlink()
    assert read_folder(where).verify()["shard-00001"] == "damaged" and run(where) == [range(4, 8)]
    with pytest.raises(ValueError, match="path=file:///.*seed: 3 -> 4.*overwrite"):
        run(where, {"seed": 4})
    with open_folder(where, CONFIG, 11, SIZE, shorter=(CONFIG, TOTAL)) as folder:
        assert folder.missing() == [range(8, 11)]
    (tmp_path / "run" / "note.txt").write_text("of the user")
    assert len(run(where, {"seed": 4}, overwrite=True)) == 3 and (tmp_path / "run" / "note.txt").exists()
    (tmp_path / "run" / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="damaged.*overwrite"):
        read_folder(where)
    (tmp_path / "run" / MANIFEST).unlink()
    with pytest.raises(ValueError, match="holds other files"):
        run(where)
    (tmp_path / "run" / "note.txt").unlink()
    with pytest.raises(ValueError, match="shards but no manifest"):
        run(where)
    with pytest.raises(ValueError, match="format='npz'"):
        run(where, format="npz")


def test_a_lease_is_kept_lost_and_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    where = remote(tmp_path)
    with open_folder(where, CONFIG, TOTAL, SIZE) as folder:
        with pytest.raises(ValueError, match="written by another process .pid"):  # which renews it meanwhile
            open_folder(where, CONFIG, TOTAL, SIZE)
        (tmp_path / "lock").write_text("of a thief")
        with pytest.raises(ValueError, match="taken over while this process slept"):
            for _ in range(1000):
                time.sleep(0.01)
                folder.write(range(0, 4), samples(range(0, 4)))
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(Lease, "_renew", lambda self: None)
    since = time.monotonic()
    with open_folder(where, CONFIG, TOTAL, SIZE):  # that of the thief is not renewed
        assert time.monotonic() - since > 1.2
    assert not (tmp_path / "lock").exists()


class Forgetful:
    """A store whose answer to every other write is lost, and which refuses that write when it is asked again."""

    value, generation, writes = b"", 0, 0

    def read(self, key):
        stamp = SimpleNamespace(generation=b"%d" % self.generation)
        state = "value" if self.value else "missing"
        return SimpleNamespace(result=lambda: SimpleNamespace(value=self.value, state=state, stamp=stamp))

    def write(self, key, value, if_equal):
        self.writes += 1
        right = if_equal == b"%d" % self.generation
        if right:
            self.value, self.generation = value or b"", self.generation + 1
        answer = b"%d" % self.generation if right and not self.writes % 2 else b""
        return SimpleNamespace(result=lambda: SimpleNamespace(generation=answer))


def test_a_lease_knows_what_it_wrote_though_it_was_not_told():
    store = Forgetful()
    own = Lease(store, "lock", "elsewhere")
    assert own._put(own._generation) == b"4" and store.writes == 4
    store.value = b"of a thief"
    assert own._put(b"3") is None
    own.release()


def test_what_a_killed_writer_was_about_to_delete_goes_first(tmp_path):
    run(tmp_path)
    for name in ("status_code.tmp", "x.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.0.0.0").touch()
    assert len(run(tmp_path, {"seed": 4}, overwrite=True)) == 3 and not [*tmp_path.glob("*.tmp")]


def test_errors_of_a_store_are_those_of_a_disk():
    class Full:
        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']")

    with pytest.raises(OSError, match="No space left") as error:
        done(Full())
    assert error.value.errno == 28


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "1/4/2", "1 / 4"])
def test_a_worker_that_is_none(text):
    with pytest.raises(ValueError, match="worker=.*i/n with 0 <= i < n"):
        parse_worker(text)


@pytest.mark.parametrize("at", [Path, remote], ids=["local", "url"])
def test_workers_share_a_folder(at, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "BEGIN_SECONDS", 0.2)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    where, second = at(tmp_path / "run"), parse_worker("1/2")
    assert second == Worker(1, 2) and parse_worker(None) is None
    with open_folder(where, CONFIG, TOTAL, SIZE, worker=Worker(0, 2)) as one:
        with open_folder(where, CONFIG, TOTAL, SIZE, worker=second) as two:
            assert one.missing() == [range(0, 4), range(8, 10)] and two.missing() == [range(4, 8)]
            for folder in (two, one):
                folder.write(folder.missing()[0], samples(folder.missing()[0]))
            others: list[dict[str, Any]] = [{"worker": second}, {"worker": Worker(0, 3)}, {}, {"overwrite": True}]
            for other in others:
                with pytest.raises(ValueError, match="is being written by another process"):
                    open_folder(where, CONFIG, TOTAL, SIZE, **other)
            with pytest.raises(ValueError, match="written by another process"):  # which would alter the last shard
                open_folder(where, CONFIG, 11, SIZE, shorter=(CONFIG, TOTAL), worker=Worker(1, 2))
        with pytest.raises(ValueError, match="seed: 3 -> 4"):
            open_folder(where, {"seed": 4}, TOTAL, SIZE, worker=second)
    with pytest.raises(ValueError, match="overwrite=True is not for worker"):
        run(where, worker=second, overwrite=True)
    with open_folder(where, CONFIG, TOTAL, SIZE), pytest.raises(ValueError, match="written by another process"):
        open_folder(where, CONFIG, TOTAL, SIZE, worker=second)
    assert run(where, worker=Worker(1, 3)) == [] and run(where, worker=Worker(2, 3)) == [range(8, 10)]
    assert run(where) == [] and contents(tmp_path / "run") == contents(whole)


WORKER = """
import sys
sys.path.insert(0, {tests!r})
from test_stores import *
print("ready", flush=True)
sys.stdin.readline()
print(len(run(Path({path!r}), total=40, worker=parse_worker({worker!r}))))
"""


def test_workers_of_a_common_start_write_what_one_process_writes(tmp_path):
    codes = [
        WORKER.format(tests=str(Path(__file__).parent), path=str(tmp_path / "run"), worker=f"{i}/2") for i in range(2)
    ]
    jobs = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for code in codes
    ]
    for job in jobs:
        assert job.stdout is not None and job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None and job.stdin.write("\n")
        job.stdin.flush()
    assert [job.communicate()[0] for job in jobs] == ["5\n", "5\n"] and not any(job.returncode for job in jobs)
    assert run(tmp_path / "run", total=40) == [] and len(run(tmp_path / "alone", total=40)) == 10
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")
