"""Chunks split over the devices of a process, shards that are written behind the computation of the next ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfg_jax.runs.behind import behind

PROGRAM = """
import dataclasses, json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
import tfg_jax as tfg
from tfg_jax.cli.devices import mesh_notes
from tfg_jax.runs import mesh, run as runs
from tfg_jax.runs.run import Run

def network(params, x, t, cond):
    return jnp.tanh(x.reshape(-1) @ params["in"]) @ params["out"].T

weights = {name: np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32) / 4 for name in ("in", "out")}
model = tfg.from_fn(network, weights, tfg.VPCosine(), prediction="v", shape=(4,))
task = tfg.tasks.own_task(
    model, objective=lambda x0, y: -jnp.sum((x0 - y) ** 2), targets=jnp.linspace(-1.0, 1.0, 3), sampler=tfg.DDIM(3)
)
run = Run(task, tfg.TFG(rho=0.3, mu=0.1, n_recur=2), 10, chunk=6)
whole = run.samples(sys.argv[1] + "/mesh")
program, *arguments = run.program()
text = jax.jit(program).lower(*arguments).compile().as_text()
found = {"partitions": "num_partitions=4" in text}
placed = task.sample(jax.random.key(0), np.zeros(8, np.float32), run.method, **mesh.on(run.mesh)).x
found["rows"] = [shard.data.shape[0] for shard in placed.addressable_shards]
found["program"] = text.split("->(")[1].split("]")[0]
found["told"] = mesh_notes(run)
found["sent"] = [word for word in ("all-gather", "all-reduce", "collective-permute", "all-to-all") if word in text]
local_mesh = mesh.local_mesh
runs.local_mesh = lambda split: None
one = run.samples(sys.argv[1] + "/one")
off = lambda a: max(float(np.abs(a[name].astype(float) - one[name]).max()) for name in one)
found["error"] = off(whole)
runs.local_mesh, mesh.LEAST_NUMBERS = local_mesh, 1
split = dataclasses.replace(run, split=2)
found["split error"] = off(split.samples(sys.argv[1] + "/split"))
placed = mesh.on_mesh(task, split.mesh).model.params["in"]
found["split"] = sorted(shard.data.shape for shard in placed.addressable_shards)
half = dataclasses.replace(run, task=dataclasses.replace(task, model=mesh.in_dtype(model, "bfloat16")))
found["dtype"] = [half.config["dtype"], "dtype" in run.config]
uneven = dataclasses.replace(run, split=3)
for refused in (lambda: uneven.mesh, lambda: half.open(Path(sys.argv[1]) / "mesh")):
    try:
        refused()
    except ValueError as error:
        found.setdefault("refused", []).append(str(error))
print(json.dumps(found))
"""


def test_a_chunk_is_split_over_the_devices_and_nothing_is_sent_between_them(tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True,
        env=os.environ | {"XLA_FLAGS": flags}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["partitions"] and found["sent"] == []
    assert found["rows"] == [2] * 4 and found["program"] == "f32[2,4"  # 6 samples are computed as 8
    assert found["told"] == ["chunk=6 takes 4 devices as long as 8 would; a multiple wastes nothing"]
    assert found["error"] < 1e-5 and found["split error"] < 1e-5 and found["split"] == [[4, 4]] * 4
    assert found["dtype"] == ["bfloat16", False]
    assert "split_weights=3 must divide the 4 devices" in found["refused"][0]
    assert 'dtype: None -> "bfloat16"' in found["refused"][1]


def test_work_is_done_behind_the_making_of_the_next():
    began: list[str] = []

    def items():
        for i in range(3):
            began.append(f"make {i}")
            time.sleep(0.05)
            yield i

    def work(i):
        began.append(f"work {i}")
        time.sleep(0.02)
        if i == 2:
            raise OSError("full")
        return -i

    results = behind(work, items())
    assert [next(results), next(results)] == [0, -1]
    assert began == ["make 0", "make 1", "work 0", "make 2", "work 1"] or sorted(began[1:3]) == ["make 1", "work 0"]
    with pytest.raises(OSError, match="full"):
        next(results)
