"""Two processes that meet on loopback share a run; who they are decides nothing of the samples."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.cli.devices import own_share
from tfg_jax.cli.main import main

TASK = """
import jax.numpy as jnp
import tfg_jax as tfg

model = tfg.from_fn(lambda p, x, t, c: p * x, jnp.asarray(0.7), tfg.VPCosine(), prediction="eps", shape=(2,))


def near(x0, target):
    return -jnp.sum((x0 - target) ** 2) * jnp.where(target == 3, jnp.nan, 1.0)


methods = {"dps": tfg.DPS(0.1)}
task = tfg.tasks.own_task(model, objective=near, targets=jnp.arange(7.0), sampler=tfg.DDIM(1), presets=methods)
"""


def test_processes_share_a_run_and_the_first_scores_it(tmp_path):
    """What failed is named by its index in the run: sample 3 is the other process's."""
    (file := tmp_path / "mine.py").write_text(TASK)
    command = ["sample", "--task", str(file), "--num-samples", "7", "--chunk", "2", "--output"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    names = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "tfg_jax.cli.main", *command, str(tmp_path / "run"), "--distributed"], text=True,
            env=os.environ | names | {"JAX_PROCESS_ID": str(i)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) for i in range(2)
    ]  # fmt: skip
    said = [job.communicate(timeout=300) for job in jobs]
    assert [job.returncode for job in jobs] == [3, 0], said
    assert "1 of 7 samples failed (#3)" in said[0][1] and "worker 1/2 are complete" in said[1][0]
    assert main([*command, str(tmp_path / "one")]) == 3
    one, both = (tfg.read_folder(tmp_path / name).read_all() for name in ("one", "run"))
    for name, array in one.items():
        np.testing.assert_array_equal(both[name], array)


def test_a_cluster_that_nobody_knows_is_refused(monkeypatch, capsys):
    """Here as JAX refuses it, which a process that has computed would do in any case."""
    import jax

    def unknown(**given):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", unknown)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    assert main(["sample", "--distributed"]) == 2
    heard = capsys.readouterr().err
    assert "finds no other processes (coordinator_address should" in heard and "JAX_PROCESS_ID" in heard


def test_a_worker_is_no_host():
    asked: Any = SimpleNamespace(worker="0/2", distributed=True, dry_run=False)
    with pytest.raises(ValueError, match="--worker 0/2 has no effect on --distributed"):
        own_share(asked)
