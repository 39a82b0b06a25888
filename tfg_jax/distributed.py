"""Several processes on JAX's own runtime, started by the same command: each learns which of them it is.

Nothing else is asked of that runtime: samples need nothing of each other.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import jax

SETTINGS = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}


def join() -> None:
    """Meet the other processes, before any computation.

    Who they are is found by JAX on Cloud TPU, SLURM, Open MPI and Kubernetes; elsewhere ``JAX_COORDINATOR_ADDRESS``
    (host:port of process 0), ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` say it.

    Raises:
        ValueError: no cluster is known here, or it cannot be met.
    """
    # One that is killed and started again is let in, and the others go on; SIGTERM is answered by the command itself.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)
    given = {name: os.environ.get(variable) for name, variable in SETTINGS.items()}
    try:
        known = {name: int(value) for name, value in given.items() if value is not None}
        jax.distributed.initialize(**known)  # type: ignore[arg-type]
    except (ValueError, RuntimeError) as error:
        variables = ", ".join(["JAX_COORDINATOR_ADDRESS", *SETTINGS.values()])
        raise ValueError(
            f"distributed=True finds no other processes ({str(error).splitlines()[0]:.150}); run it where JAX knows "
            f"the cluster, or set {variables}"
        ) from None


def process() -> tuple[int, int]:
    """Which process this is, from 0, and of how many."""
    return jax.process_index(), jax.process_count()


def leave(said: str, code: int) -> NoReturn:
    """End with a last word, and no farewell to the other processes: JAX answers that with an abort if they end, too."""
    print(said, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
