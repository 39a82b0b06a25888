"""Samples are scored and shown with few of them in memory, to the numbers of all of them at once."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax import metrics, rows
from tfg_jax.metrics import frechet
from tfg_jax.objectives import Classifier
from tfg_jax.report.inverse import restoration_report
from tfg_jax.report.label import label_report
from tfg_jax.rows import Rows, blocks, chosen, cycled, repeated
from tfg_jax.tasks import Evaluator, InverseTask, LabelTask, problem_operator, scoring

SHAPE, N = (8, 8, 1), 12
MODEL = tfg.from_fn(lambda p, x, t, c: p * x, jnp.asarray(0.7), tfg.VPCosine(), prediction="eps", shape=SHAPE)
IMAGES = np.random.default_rng(1).uniform(-1, 1, (N, *SHAPE)).astype(np.float32)


def features(params, x):
    return x[0, :3, 0] * params


def logits(params, x):
    return jnp.append(features(params, x), x.sum())


NETWORK = Classifier(jnp.asarray(0.5), logits, 4, features_of=features)
MOMENTS = metrics.moments(np.random.default_rng(2).normal(size=(9, 3)))


def evaluated_by_label():
    task = LabelTask(MODEL, NETWORK, Evaluator(NETWORK, MOMENTS, IMAGES, NETWORK), class_names=("a", "b", "c", "d"))
    return task, np.arange(N) % 4, label_report


def evaluated_by_restoration():
    operator = problem_operator("sr2", SHAPE, jax.random.key(0))
    y = np.asarray(jax.vmap(operator)(IMAGES[:3]))
    task = InverseTask(MODEL, operator, 0.1, measurements=y, truth=IMAGES[:3], names=tuple("abc"), evaluator=NETWORK)
    return task, np.asarray(task.targets(N)), restoration_report


def evaluated_by_its_user():
    score = lambda x, y: {"mean": x["a"].mean(1), "off": x["b"] - y}  # noqa: E731
    model = tfg.from_fn(lambda p, x, t, c: x, 0.0, tfg.VPCosine(), prediction="eps", shape={"a": (3,), "b": ()})
    task = tfg.tasks.own_task(
        model, objective=lambda x0, y: -((x0["b"] - y) ** 2), targets=jnp.arange(2.0), evaluate=score
    )
    return task, np.asarray(task.targets(N)), None


def samples_of(targets, pytree):
    x = IMAGES.copy()
    x[4, 0, 0] = np.nan
    pixels = {"x__a": x[:, 0, :3, 0], "x__b": x[:, 1, 1, 0]} if pytree else {"x": x}
    counts = {f"cost_{name}": np.arange(N, dtype=np.int32) for name in ("forwards", "pullbacks", "objective")}
    status = {"status_code": np.eye(1, N, 7, np.int32)[0], "status_step": np.full(N, -1, np.int32)}
    return {**pixels, "target": targets, "objective": IMAGES[:, 0, :, 0], **counts, **status}


def read_by(step, arrays):
    return {name: Rows(a.shape, a.dtype, step, lambda r, a=a: a[r.start : r.stop]) for name, a in arrays.items()}


@pytest.mark.parametrize("kind", [evaluated_by_label, evaluated_by_restoration, evaluated_by_its_user])
def test_numbers_and_pages_are_those_of_all_samples_at_once(kind, monkeypatch):
    task, targets, page = kind()
    arrays = samples_of(targets, page is None)
    whole = task.evaluate(arrays, seconds=2.0)
    monkeypatch.setattr(rows, "MOST_BYTES", 1)  # a block is a shard
    monkeypatch.setattr(scoring, "MOST_KEPT", 2)  # features are computed when they are needed
    read = read_by(5, arrays)
    shards = task.evaluate(read, seconds=2.0)
    assert whole.numbers["failed_samples"] == 2 and len(blocks(next(iter(read.values())))) == 3
    one, other = (json.loads(json.dumps(each.numbers)) for each in (whole, shards))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: a == b or np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), one, other)
    if page is not None:
        a, b = (page(each.run, whole.numbers, "t") for each in (whole, shards))
        np.testing.assert_allclose(a.picture, b.picture, atol=1)


def test_rows_are_those_of_the_array(monkeypatch):
    array = np.arange(22.0).reshape(11, 2)
    lazy = Rows(array.shape, array.dtype, 4, lambda r: array[r.start : r.stop])
    mask = np.arange(11) % 3 == 1
    for which in (slice(2, 9), slice(None, None, -3), 5, -1, [7, 0, 3], mask, slice(3, 3)):
        np.testing.assert_array_equal(lazy[which], array[which])
    np.testing.assert_array_equal(chosen(lazy, mask), array[mask])
    np.testing.assert_array_equal(lazy.map(lambda part, where: part + array[where]), 2 * array)
    for most in (0, 10**6):  # put together when they are needed, or at once
        monkeypatch.setattr(rows, "MOST_BYTES", most)
        np.testing.assert_array_equal(repeated(array, 3)[4:9], np.repeat(array, 3, axis=0)[4:9])
        np.testing.assert_array_equal(cycled(array, 25)[9:24], array[np.arange(9, 24) % 11])
    assert [*map(tuple, lazy)] == [*map(tuple, array)] and lazy.ndim == 2


def test_many_features_are_resampled_in_groups(monkeypatch):
    """The same distance, and about the same interval as that of single samples."""
    drawn = np.random.default_rng(0).normal(size=(4000, 3))
    whole = metrics.frechet_with_ci(drawn, MOMENTS)
    monkeypatch.setattr(frechet, "MOST_KEPT", 30)
    groups = metrics.frechet_with_ci(Rows(drawn.shape, float, 64, lambda r: drawn[r.start : r.stop]), MOMENTS)
    assert groups.value == pytest.approx(whole.value, rel=1e-9) and groups.n == 4000
    assert (groups.high - groups.low) / (whole.high - whole.low) == pytest.approx(1.0, abs=0.3)


OWN = """
import resource, sys
import jax.numpy as jnp
import tfg_jax as tfg
from tfg_jax import host, rows
from tfg_jax.cli.main import main

model = tfg.from_fn(lambda p, x, t, c: x, 0.0, tfg.VPCosine(), prediction="eps", shape=(24, 24, 1))
task = tfg.tasks.own_task(
    model, objective=lambda x0, y: -(x0.mean() - y) ** 2, targets=jnp.zeros(1), sampler=tfg.DDIM(1, 0.0),
    evaluate=lambda x, y: {"mean": x.mean((1, 2, 3))},
)

if __name__ == "__main__":
    host.keep_freed_memory, rows.MOST_BYTES = lambda: None, 2**20
    for n in ("2000", "20000"):
        asked = ["--task", __file__, "--method", "none", "--num-samples", n, "--chunk", "500"]
        assert main(["sample", *asked, "--output", f"{sys.argv[1]}/{n}"]) == 0
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """41 MB more samples: they are sampled, scored and shown with a few shards of 1 MB in memory."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    returned = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # what is freed, at once
    done = subprocess.run(
        [sys.executable, str(file), str(tmp_path)], capture_output=True, text=True, env=os.environ | returned
    )
    assert done.returncode == 0, done.stderr
    few, many = (int(line) for line in done.stdout.splitlines() if line.isdigit())
    assert many - few < 25_000, (few, many)  # KB
    assert json.loads((tmp_path / "20000" / "metrics.json").read_text())["samples"] == 20_000
