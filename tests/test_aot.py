"""Samplers written ahead of time give the samples of their source, from a file that says what it is."""

import dataclasses
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.aot.file import MAGIC, START, read_program
from tfg_jax.aot.program import _checked

KEY = jax.random.key(3)
W = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4)) / 2, jnp.float32)
SCHEDULE = tfg.VPCosine()


def network(params, x, t, cond):
    return jnp.tanh(params @ x) * t


def classes(params, x, t, cond):
    h = jnp.tanh(params @ jnp.concatenate([x["a"].ravel(), x["b"]])) * (t + cond)
    return {"a": h[:2].reshape(2, 1), "b": h[2:]}


def near(x0, target):
    return -jnp.sum((x0 - target) ** 2)


def near_tree(x0, target):
    return -jnp.sum((x0["a"] - target["a"]) ** 2) - jnp.sum((x0["b"] - target["pair"][0]) ** 2)


def mean(ctx):
    return ctx.denoised.x0.mean()


ARRAY: Any = tfg.from_fn(network, W, SCHEDULE, prediction="eps", shape=(4,))
TREE: Any = tfg.from_fn(
    classes, W, SCHEDULE, prediction="eps", shape={"a": (2, 1), "b": (2,)}, num_classes=3, null_cond=2
)
GUIDED: dict[str, Any] = {
    "objective": near, "guidance": tfg.TFG(rho=0.3, mu=0.1, n_recur=2), "sampler": tfg.DDIM(steps=3),
    "lookahead": tfg.TruncatedSolve(horizon=0.5, steps=2), "clip": tfg.Clip(-2.0, 2.0), "window": (-4.0, 4.0),
    "record": tfg.Record(steps=(1,), summary=mean),
}  # fmt: skip
CFG: dict[str, Any] = {
    "objective": near_tree, "guidance": tfg.DPS(strength=0.2), "sampler": tfg.DDIM(steps=2), "clip": None,
}  # fmt: skip


def rows(n: int, *shape: int) -> jax.Array:
    return jnp.linspace(-1.0, 1.0, n * int(np.prod(shape))).reshape(n, *shape)


def tree_rows(n: int) -> dict[str, Any]:
    return {"target": {"a": rows(n, 2, 1), "pair": (rows(n, 2),)}, "cond": jnp.arange(n) % 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("programs")
    tfg.aot.save(root / "array", ARRAY, target=rows(2, 4), **GUIDED)
    tfg.aot.save(root / "tree", tfg.CFG(TREE, 1.5), **tree_rows(2), **CFG, platforms=("cpu",))
    return root


def same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, want)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_any_number_of_samples_are_those_of_the_source(folder, n):
    program = tfg.aot.load(folder / "array")
    got = program(KEY, target=rows(n, 4), index_offset=5)
    same(got, tfg.sample(KEY, ARRAY, target=rows(n, 4), index_offset=5, **GUIDED))
    assert program.platforms == ("cpu", "cuda", "tpu") and program.sample.shape == (4,)
    np.testing.assert_array_equal(program.examples[0], rows(2, 4))


def test_pytrees_and_conditions_go_in_and_come_out(folder):
    program = tfg.aot.load(folder / "tree")
    same(program(KEY, **tree_rows(3)), tfg.sample(KEY, tfg.CFG(TREE, 1.5), **tree_rows(3), **CFG))
    assert "Program(" in repr(program) and program.target["pair"][0].shape == (2,)


def test_it_runs_where_no_model_can_be_imported(tmp_path):
    """A network of flax, in a process that has neither flax nor the library's models, guidance and samplers."""
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))

        def __call__(self, x, t):
            return self.layer(x) * t[:, None]

    model = tfg.from_nnx(Net(), SCHEDULE, prediction="eps", shape=(4,))
    tfg.aot.save(tmp_path / "net", model, sampler=tfg.DDIM(steps=2), platforms=["cpu"])
    code = f"""
import sys
for name in ("flax", "diffrax", "tfg_jax.models", "tfg_jax.sample", "tfg_jax.guidance", "tfg_jax.samplers"):
    sys.modules[name] = None
import jax, numpy as np, tfg_jax as tfg
out = tfg.aot.load({str(tmp_path / "net")!r})(jax.random.key(3), num_samples=3)
np.save({str(tmp_path / "x.npy")!r}, out.x)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    want = tfg.sample(KEY, model, num_samples=3, sampler=tfg.DDIM(steps=2))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), want.x, rtol=2e-5, atol=2e-5)


def with_header(data: bytes, **changes: Any) -> bytes:
    """A file whose header was written otherwise, as another version would."""
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 8], "little")
    header = {**json.loads(data[START : START + length]), **changes}
    text = json.dumps(header).encode()
    return MAGIC + len(text).to_bytes(8, "little") + sha256(text).digest() + text + data[START + length :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"PK" + data[2:], "no program of tfg_jax"),
        (lambda data: data[:20], "damaged or cut in its header"),
        (lambda data: data[: START + 5] + b"!" + data[START + 6 :], "damaged or cut in its header"),
        (lambda data: data[:-1], "damaged or cut"),
        (lambda data: data[:-40] + b"\1" + data[-39:], "damaged or cut"),
        (lambda data: with_header(data, schema="tfg_jax.program/9"), "update tfg_jax"),
        (lambda data: with_header(data, calling_convention=99), "update jax"),
        (lambda data: with_header(data, arrays=[]), "its header is not whole"),
        (lambda data: with_header(data, weights=None), "its header is not whole"),
        (lambda data: with_header(data, platforms=["tpu"]), "not for cpu"),
    ],
)
def test_files_that_cannot_be_run_say_why(folder, tmp_path, change, said):
    file = tmp_path / "changed"
    file.write_bytes(change((folder / "array").read_bytes()))
    with pytest.raises(ValueError, match=said):
        tfg.aot.load(file)(KEY, target=rows(1, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "target is missing"), ({"target": rows(2, 3)}, r"target has shape \(2, 3\)"),
        ({"target": rows(2, 4), "cond": jnp.zeros(2)}, "cond has no effect"),
        ({"target": rows(2, 4), "num_samples": 3}, "2 entries for 3 samples"),
        ({"target": {"a": rows(2, 4)}}, "the program takes"), ({"target": 1j * rows(2, 4)}, "dtype complex64"),
        ({"target": rows(2, 4), "index_offset": -1}, "index_offset"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(folder, given, said):
    with pytest.raises(ValueError, match=said):
        tfg.aot.load(folder / "array")(KEY, **given)


def test_whole_numbers_are_not_wrapped():
    spec = jax.ShapeDtypeStruct((), jnp.int32)
    np.testing.assert_array_equal(_checked("target", np.array([3, -4], np.int64), spec)[0], [3, -4])
    with pytest.raises(ValueError, match="target holds a number that int32, which the program takes, does not have"):
        _checked("target", np.array([2**32 + 1], np.int64), spec)


@dataclasses.dataclass(frozen=True)
class Node:
    a: Any


jax.tree_util.register_dataclass(Node)


def called_back(params, x, t, cond):
    return jax.pure_callback(lambda x: x, x, x, vmap_method="sequential")


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (ARRAY, {"platforms": ("metal",)}, "platforms='metal'"), (ARRAY, {"platforms": ()}, r"platforms=\(\)"),
        (tfg.CFG(TREE, tfg.PerSample(jnp.ones(2))), {**CFG, **tree_rows(2)}, "PerSample"),
        (ARRAY, {**GUIDED, "target": Node(rows(2, 4))}, "target holds a Node"),
        (tfg.from_fn(called_back, None, SCHEDULE, prediction="eps", shape=(4,)), {}, "call no Python"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_program_is_refused(tmp_path, model, changes, said):
    with pytest.raises(ValueError, match=said):
        tfg.aot.save(tmp_path / "file", model, **{"platforms": ("cpu",), **changes})
    assert not (tmp_path / "file").exists()


def test_an_array_that_appears_twice_is_kept_once(folder, tmp_path):
    header = read_program(folder / "tree").header
    shapes = [tuple(each["shape"]) for each in header["arrays"]]
    assert shapes.count((4, 4)) == 1
