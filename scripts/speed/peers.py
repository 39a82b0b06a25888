"""Our time a step against PyTorch code that does the same: the TFG benchmark's update, azula and deepinv.

Both sides run one network with the same weights on one thread of one core, in turn, and what is compared is the
processor time of their processes, so that other work on the machine weighs on both alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from timing import interleaved, seconds_of

import tfg_jax as tfg
from tfg_jax.denoiser import index_time
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig, load_diffusers_state
from tfg_jax.report import text_table
from tfg_jax.schedules import from_alphas_cumprod

REQUIREMENTS = ("torch==2.13.0", "diffusers==0.42.1", "azula==0.11.1", "deepinv==0.5.0")
ENVIRONMENT = Path(".venv-peers")
STEPS = 4
SMALL: dict[str, Any] = {
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 8,
    "block_out_channels": [32, 64], "attention_head_dim": 8,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
WIDE = SMALL | {
    "block_out_channels": [64, 128, 128],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
PLAIN = SMALL | {
    "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "add_attention": False
}  # fmt: skip
CASES = (
    ("small, 16x16", SMALL | {"sample_size": 16}, 16),
    ("small, 32x32", SMALL, 4),
    ("small, 32x32", SMALL, 16),
    ("wide (64, 128, 128), 32x32", WIDE, 8),
    ("small without attention, 32x32", PLAIN, 16),
)
# column: our method, their program
COLUMNS = {
    "TFG / benchmark": ("tfg", "benchmark-tfg"),
    "DPS / benchmark (3 forwards)": ("dps", "benchmark-dps"),
    "DPS / azula": ("dps", "azula-dps"),
    "DPS / deepinv": ("dps", "deepinv-dps"),
}


def interpreter(given: Path | None) -> Path:
    """The Python of an environment with the peers; made in .venv-peers if none is given."""
    if given is not None:
        return given
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        (ENVIRONMENT / "installed").touch()
    return python


@contextmanager
def peer(python: Path, config: dict[str, Any]) -> Iterator[tuple[Callable[..., float], dict[str, np.ndarray]]]:
    """The process of the peers: a function that asks for the seconds of a run, and the weights of its network."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps(config))
        command = [python, Path(__file__).with_name("torch_peers.py"), folder, settings]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if process.stdin is None or process.stdout is None or process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{python} cannot run the peers; it needs {', '.join(REQUIREMENTS)}")

            def ask(*words: Any) -> float:
                print(*words, file=process.stdin, flush=True)
                return float(process.stdout.readline().split()[0])  # type: ignore[union-attr]

            with np.load(Path(folder) / "state.npz", allow_pickle=False) as state:
                yield ask, dict(state)
            process.stdin.close()


def our_model(config: dict[str, Any], state: dict[str, np.ndarray]) -> Any:
    """The same network with the same weights as a denoiser."""
    unet = nnx.eval_shape(lambda: UNet2D(UNet2DConfig.from_dict(config), rngs=nnx.Rngs(0)))
    load_diffusers_state(unet, state)
    schedule = from_alphas_cumprod(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)))
    shape = (config["sample_size"], config["sample_size"], config["in_channels"])
    return tfg.from_nnx(unet, schedule, prediction="eps", shape=shape, network_time=index_time)


def squares(x0: Array, target: dict[str, Array]) -> Array:
    """Minus the squared residual of a masked image."""
    return -jnp.sum((target["mask"] * x0 - target["y"]) ** 2)


def ours(model: Any, batch: int) -> dict[str, Callable[[], Any]]:
    """Our runs of both methods, each the public call."""
    key, sampler = jax.random.key(0), tfg.DDIM(steps=STEPS)
    mask = (jax.random.uniform(key, (batch, *model.shape)) > 0.5).astype(jnp.float32)
    target = {"mask": mask, "y": 0.0 * mask}
    dps = {"objective": tfg.objectives.residual_norm(tfg.operators.inpainting(mask[0])), "target": target["y"]}
    options: dict[str, Any] = {"num_samples": batch, "sampler": sampler}
    return {
        "tfg": lambda: (
            tfg.sample(key, model, objective=squares, target=target, guidance=tfg.TFG(rho=0.01, mu=0.01), **options).x
        ),
        "dps": lambda: tfg.sample(key, model, guidance=tfg.DPS(0.01), **dps, **options).x,
    }


def measure(python: Path, runs: int, only: str | None = None) -> list[dict[str, Any]]:
    """The table: ratios of medians over interleaved runs, ours over theirs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before the first computation, also for the peers
    rows = []
    for name, config, batch in CASES:
        if only is not None and only not in f"{name}, batch {batch}":
            continue
        with peer(python, config) as (ask, state):
            mine = {name: partial(seconds_of, run) for name, run in ours(our_model(config, state), batch).items()}
            theirs = {program: partial(ask, program, batch, STEPS) for _, program in COLUMNS.values()}
            seconds = interleaved(mine | theirs, runs, lambda run: run())
        median = {program: statistics.median(values) for program, values in seconds.items()}
        rows.append(
            {"network": f"{name}, batch {batch}"}
            | {column: f"{median[a] / median[b]:.2f}" for column, (a, b) in COLUMNS.items()}
            | {"TFG (ms)": round(1e3 * median["tfg"] / STEPS, 1), "DPS (ms)": round(1e3 * median["dps"] / STEPS, 1)}
        )
        print(text_table(rows[-1:]), flush=True)
    return rows
