"""Samples split over devices: the same samples, computed where their targets are, with nothing sent between devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import tfg_jax as tfg

schedule, traces = tfg.VPLinear(), []

def network(std, x, t, cond):
    traces.append(1)
    level = schedule.level(t)
    return level.sigma * x / (level.alpha**2 * std**2 + level.sigma**2)

model = tfg.from_fn(network, 0.5, schedule, prediction="eps", shape=(4, 4, 1))
method = tfg.DFlow(tfg.TruncatedSolve(1.0, 2), iterations=2, optimizer=optax.sgd(0.1))
nearness = lambda x0, target: -50.0 * (x0.mean() - target) ** 2

def sampled(target, chunk=None):
    return tfg.sample(
        jax.random.key(0), model, objective=nearness, target=target, chunk=chunk, sampler=tfg.DDIM(2),
        guidance=tfg.TFG(rho=1.0, mu=0.05, smoothing=1.0, n_recur=2),
    )

def optimized(target, chunk=None):
    return tfg.end_to_end(
        jax.random.key(0), model, method, objective=nearness, target=target, num_samples=len(target), chunk=chunk
    )

def inverted(target, chunk=None):
    x = target[:, None, None, None] * jnp.ones((4, 4, 1))
    return tfg.invert(model, x, steps=2, chunk=chunk)

SENT = ("all-gather", "all-reduce", "collective-permute", "all-to-all")
mesh = jax.make_mesh((2,), ("data",), axis_types=(getattr(AxisType, sys.argv[1]),))
targets = jnp.linspace(-0.4, 0.4, 16)
split = jax.device_put(targets, NamedSharding(mesh, PartitionSpec("data")))
found = {}
for run, chunk in ((sampled, 8),) if sys.argv[1] == "Auto" else ((sampled, None), (optimized, 8), (inverted, None)):
    plain = jax.tree.map(np.asarray, run(targets, chunk))
    out = run(split, chunk)
    before = len(traces)
    run(split + 0.1, chunk)
    again = len(traces) - before
    with jax.set_mesh(mesh):
        compiled = jax.jit(lambda y: run(y, chunk)).lower(split).compile().as_text()
    found[f"{run.__name__} {chunk}"] = {
        "error": float(np.abs(np.asarray(out.x) - plain.x).max()),
        "codes": bool((np.asarray(out.status.code) == plain.status.code).all()),
        "rows": sorted(shard.data.shape[0] for shard in out.x.addressable_shards),
        "sent": [word for word in SENT if word in compiled],
        "traces": again,
    }
print(json.dumps(found))
"""

MANUAL = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import tfg_jax as tfg

SHAPE, KEY = (2, 2, 1), jax.random.key(0)

def network(params, x, t, cond):
    return jnp.tanh(x.reshape(-1) @ params["in"] @ params["out"]).reshape(SHAPE)

def near(x0, target):
    return -jnp.sum((x0 - target) ** 2)

half = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32) / 4.0
weights = {"in": jnp.asarray(half[0]), "out": jnp.asarray(half[1])}

def model_of(params):
    return tfg.from_fn(network, params, tfg.VPCosine(), prediction="v", shape=SHAPE)

model = model_of(weights)
images = jnp.linspace(-1.0, 1.0, 4)[:, None, None, None] * jnp.ones((4, *SHAPE))
guided = {"objective": near, "guidance": tfg.TFG(0.1, 0.05, smoothing=0.1, n_recur=2), "sampler": tfg.Heun(2)}
descent = tfg.Controls(2, iterations=2, rate=0.1)
# Inside shard_map: y of one device, and its own index offset.
inside = {
    "sample": lambda y, i: tfg.sample(KEY, model, target=y, index_offset=i[0], window=(-2.0, 9.0), **guided).x,
    # The same index on all devices, so that only the targets or the strength of the objective differ.
    "targets": lambda y, i: tfg.sample(KEY, model, target=y, **guided).x,
    "weight": lambda y, i: tfg.sample(KEY, model, target=0.0 * y, **guided | {
        "objective": tfg.objectives.weighted(tfg.objectives.from_fn(lambda _, x, y: near(x, y)), 1.0 + i[0])}).x,
    "memory": lambda y, i: tfg.sample(
        KEY, model, target=y, objective=near, sampler=tfg.DPMSolverPP2M(2), chunk=1,
        guidance=tfg.InnerSteps(0.1, 2, optax.adam(0.1))).x,
    "invert": lambda y, i: tfg.invert(model, y, steps=2).x,
    "end_to_end": lambda y, i: tfg.end_to_end(KEY, model, descent, objective=near, target=y, num_samples=1).x,
}
# Relative: one of them is guided out to some hundreds.
apart = lambda a, b: float((np.abs(np.asarray(a) - b) / np.maximum(np.abs(b), 1.0)).max())
line = jax.make_mesh((4,), ("data",))
split = lambda a: jax.device_put(a, NamedSharding(line, P("data")))
numbers = jnp.arange(4)
wrong = {}
for name, call in inside.items():
    spread = jax.jit(jax.shard_map(call, mesh=line, in_specs=P("data"), out_specs=P("data")))
    alone = np.concatenate([call(images[j : j + 1], numbers[j : j + 1]) for j in range(4)])
    off = apart(spread(split(images), split(numbers)), alone)
    if not off < 1e-5:
        wrong[name] = off

mesh = jax.make_mesh((2, 2), ("data", "model"))
samples = NamedSharding(mesh, P("data"))
everywhere = jax.device_put(weights, NamedSharding(mesh, P()))
by_rows = {
    "in": jax.device_put(weights["in"], NamedSharding(mesh, P(None, "model"))),
    "out": jax.device_put(weights["out"], NamedSharding(mesh, P("model"))),
}
runs = {
    "sample": lambda m, y, **o: tfg.sample(KEY, m, target=y, chunk=2, **guided, **o),
    "best_of_n": lambda m, y, **o: tfg.best_of_n(
        KEY, m, n=2, num_samples=4, score=tfg.objectives.from_fn(lambda _, x, y: near(x, y)), target=y,
        sampler=tfg.DDIM(2), **o),
    "end_to_end": lambda m, y, **o: tfg.end_to_end(KEY, m, descent, objective=near, target=y, num_samples=4, **o),
    "nothing to split": lambda m, y, **o: tfg.sample(KEY, m, num_samples=4, sampler=tfg.DDIM(2), **o),
}
for name, run in runs.items():
    alone = np.asarray(run(model, images).x)
    ways = {"sharding": (by_rows, images, {"sharding": samples})}
    if name == "sample":
        targets = jax.device_put(images, samples)
        ways |= {"replicated": (everywhere, targets, {}), "split": (by_rows, targets, {})}
    for way, (params, y, options) in ways.items():
        out = run(model_of(params), y, **options)
        off = apart(out.x, alone)
        if not off < 1e-5 or out.x.sharding.spec[0] != "data":
            wrong[f"{name} {way}"] = [off, str(out.x.sharding)]
refused = {"is no sharding of tfg_jax": P("data"), "num_samples=3 cannot be split": samples}
for said, bad in refused.items():
    try:
        tfg.sample(KEY, model, num_samples=3, sharding=bad)
        wrong[said] = "accepted"
    except ValueError as error:
        if said not in str(error):
            wrong[said] = str(error)
print(json.dumps(wrong))
"""


def run(program: str, devices: int, *arguments: str):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True,
        env=os.environ | {"XLA_FLAGS": flags}, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_inside_shard_map_and_on_meshes_with_further_axes():
    """The samples of a plain run, with the default settings of both; weights whole or split over the other axis."""
    assert run(MANUAL, 4) == {}


@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_split_samples_stay_on_their_devices(axes):
    for name, found in run(PROGRAM, 2, axes).items():
        assert found["error"] < 1e-5 and found["codes"], (name, found)
        assert found["rows"] == [8, 8] and found["traces"] == 0, (name, found)
        # Optimization goes on until every sample is done: one bit an iteration.
        assert found["sent"] == (["all-reduce"] if "optimized" in name else []), (name, found)
