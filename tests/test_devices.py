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

def optimised(target, chunk=None):
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
for run, chunk in ((sampled, 8),) if sys.argv[1] == "Auto" else ((sampled, None), (optimised, 8), (inverted, None)):
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


@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_split_samples_stay_on_their_devices(axes):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, axes], capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": flags},
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["error"] < 1e-5 and found["codes"], (name, found)
        assert found["rows"] == [8, 8] and found["traces"] == 0, (name, found)
        # Optimisation goes on until every sample is done: one bit an iteration.
        assert found["sent"] == (["all-reduce"] if "optimised" in name else []), (name, found)
