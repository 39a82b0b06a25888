"""One resumable training loop for any pure loss.

The whole run is a function of (state, step): batches come from the step number, randomness from
`fold_in(state.key, step)`. A run killed at any moment and started again ends in the same bits as one left alone.
"""

import json
import math
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from tfg_jax import struct
from tfg_jax.checks import check_count, check_number, check_seed
from tfg_jax.files import write_atomically
from tfg_jax.kinds import public
from tfg_jax.signals import RESUMABLE, stop_on_signals
from tfg_jax.training import checkpoint

LossFn = Callable[[PyTree, PyTree, PRNGKeyArray], tuple[Float[Array, ""], dict[str, Array]]]


@struct.dataclass
class TrainState:
    """Everything a run needs to continue: `step` updates done, parameters, their average, optimizer state, root key."""

    step: Int[Array, ""]
    params: PyTree
    ema: PyTree
    opt_state: PyTree
    key: PRNGKeyArray


class Interrupted(SystemExit):
    """Training stopped on a signal after saving; holds `state` and, uncaught, exits with code 75 (resumable)."""

    def __init__(self, state: TrainState):
        super().__init__(RESUMABLE)
        self.state = state


@public
def fit(
    loss_fn: LossFn,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    batches: Callable[[int], PyTree],
    *,
    steps: int,
    folder: str | Path,
    key: PRNGKeyArray,
    config: dict[str, Any] | None = None,
    ema_decay: float = 0.999,
    parts: int = 1,
    save_every: int | None = None,
    save_seconds: float | None = 120.0,
    max_seconds: float | None = None,
    log_every: int = 100,
    sample_every: int | None = None,
    on_sample: Callable[[int, PyTree, Path], None] | None = None,
    resume: bool = True,
    overwrite: bool = False,
) -> TrainState:
    """Minimize `loss_fn(params, batch, key) -> (loss, metrics)` and keep an exponential moving average.

        ema <- d ema + (1 - d) params,   d = min(ema_decay, (1 + step) / (10 + step))

    Args:
        params: initial parameters, a pytree of arrays (not modified).
        batches: pure function of the step number; every leaf has the batch on its first axis.
        steps: total number of updates, counted from the first start of the run.
        folder: of checkpoints (newest two), `config.json` and `log.jsonl`.
        config: JSON description of the run; a folder that holds another one is refused.
        ema_decay: in [0, 1).
        parts: equal parts of each batch whose gradients are computed one after the other and averaged: less memory, and
            faster where a part fits a cache.
        save_every, save_seconds: save after so many updates and/or seconds; the end is always saved.
        max_seconds: wall-clock budget of this call; the run can be continued later.
        log_every: updates between log lines, which are also the only host synchronisations.
        on_sample: called as `on_sample(step, ema, folder)` every `sample_every` updates and at the end.
        resume: continue from the newest checkpoint; False refuses a folder that has one.
        overwrite: forget what the folder holds.

    Returns: the final state.

    Raises:
        ValueError: on bad arguments or a folder of another configuration.
        FloatingPointError: on a non-finite loss or gradient, naming the step; the last good checkpoint stays.
        Interrupted: on SIGTERM, SIGINT or SIGHUP, after finishing the step and saving.
    """
    if steps < 1 or log_every < 1:
        raise ValueError(f"steps and log_every must be at least 1, got steps={steps}, log_every={log_every}")
    if save_every is not None:
        check_count("save_every", save_every)
    check_number("save_seconds", save_seconds, low=0.0)
    check_number("max_seconds", max_seconds, low=0.0)
    check_count("parts", parts)
    if not 0.0 <= ema_decay < 1.0:
        raise ValueError(f"ema_decay={ema_decay} must lie in [0, 1)")
    if (sample_every is None) != (on_sample is None):
        raise ValueError("sample_every and on_sample have an effect only together: give both or neither")
    folder = Path(folder)
    with checkpoint.claim(folder, config or {}, overwrite=overwrite) as lock, stop_on_signals("this step") as stop:
        if not resume and checkpoint.saved_steps(folder):
            raise ValueError(f"resume=False but folder {str(folder)!r} holds training state: use overwrite=True")
        # Copies, because the state is donated to each step and the caller keeps its parameters.
        state = TrainState(
            step=jnp.zeros((), jnp.int32), params=jax.tree.map(jnp.array, params), ema=jax.tree.map(jnp.array, params),
            opt_state=optimizer.init(params), key=jnp.copy(key),
        )  # fmt: skip
        state = checkpoint.restore(folder, like=state) or state
        update = jax.jit(_update_fn(loss_fn, optimizer, ema_decay, parts), donate_argnums=0)

        step = sampled = saved = int(state.step)
        log = _Log(folder / "log.jsonl", step, steps, max_seconds)
        saved_at = time.monotonic()
        while step < steps and not stop.is_set() and not log.out_of_time():
            batch = batches(step)
            state, metrics = update(state, batch)
            step += 1
            log.add(metrics, images=len(jax.tree.leaves(batch)[0]))
            saving = save_every is not None and step % save_every == 0
            saving |= save_seconds is not None and time.monotonic() - saved_at >= save_seconds
            sampling = sample_every is not None and step % sample_every == 0
            if saving or sampling or step % log_every == 0:
                log.flush(step)  # before saving: raises on a non-finite step
            if saving:
                lock.check()
                checkpoint.save(folder, step, state)
                saved_at, saved = time.monotonic(), step
            if sampling and on_sample is not None:
                on_sample(step, state.ema, folder)
                sampled = step
        log.flush(step)
        if step > saved:
            lock.check()
            checkpoint.save(folder, step, state)
        if stop.is_set():
            raise Interrupted(state)
        if on_sample is not None and step > sampled:
            on_sample(step, state.ema, folder)
    return state


@public
def shuffled(size: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """Function step -> (batch_size,) indices below `size`: a new permutation each epoch, its remainder dropped.

    Raises ValueError if `batch_size` is not in [1, size].
    """
    check_seed("seed", seed)
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size={batch_size} must lie in [1, {size}], the size of the data")
    per_epoch = size // batch_size

    @lru_cache(maxsize=1)
    def permutation(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(size)

    def indices(step: int) -> np.ndarray:
        epoch, batch = divmod(step, per_epoch)
        return permutation(epoch)[batch * batch_size : (batch + 1) * batch_size]

    return indices


def _update_fn(loss_fn: LossFn, optimizer: optax.GradientTransformation, ema_decay: float, parts: int):
    gradient = _in_parts(jax.value_and_grad(loss_fn, has_aux=True), parts)

    def update(state: TrainState, batch: PyTree) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, metrics), grads = gradient(state.params, batch, key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(lambda e, p: (e + (1.0 - decay) * (p - e)).astype(e.dtype), state.ema, params)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **metrics}
        return TrainState(state.step + 1, params, ema, opt_state, state.key), metrics

    return update


def _in_parts(gradient: Callable[..., Any], parts: int) -> Callable[..., Any]:
    """Values and gradients of a batch as means over its parts, each with a key of its own."""
    if parts == 1:
        return gradient

    def mean(params: PyTree, batch: PyTree, key: PRNGKeyArray) -> Any:
        sizes = {len(leaf) for leaf in jax.tree.leaves(batch)}
        if any(size % parts for size in sizes):
            raise ValueError(f"parts={parts} does not divide a batch of {min(sizes)}; give a divisor")
        cut = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(parts, -1, *leaf.shape[1:]), batch)
        first = jax.eval_shape(gradient, params, jax.tree.map(lambda leaf: leaf[0], cut), key)

        def add(total: PyTree, one: tuple[PyTree, PRNGKeyArray]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, gradient(params, *one)), None

        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
        total, _ = jax.lax.scan(add, zero, (cut, jax.random.split(key, parts)))
        return jax.tree.map(lambda leaf: leaf / parts, total)

    return mean


class _Log:
    """Means over the steps since the last line, to the console and a JSONL file."""

    def __init__(self, path: Path, step: int, steps: int, max_seconds: float | None):
        self.path, self.steps, self.max_seconds = path, steps, max_seconds
        self.flushed, self.pending, self.images = step, [], 0
        self.start = self.tick = time.monotonic()
        if path.exists():  # a killed run may have logged past its last checkpoint, or half a line
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            text = "".join(line + "\n" for line in kept)
            write_atomically(path, lambda file: file.write(text.encode()))

    def out_of_time(self) -> bool:
        return self.max_seconds is not None and time.monotonic() - self.start >= self.max_seconds

    def add(self, metrics: dict[str, Array], images: int) -> None:
        self.pending.append(metrics)
        self.images += images

    def flush(self, step: int) -> None:
        if not self.pending:
            return
        values = {name: np.asarray([m[name] for m in self.pending], np.float64) for name in self.pending[0]}
        bad = np.flatnonzero(~(np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])))
        if bad.size:
            raise FloatingPointError(
                f"loss or gradient is not finite at step {self.flushed + int(bad[0])}: the last good checkpoint "
                "is kept; lower the learning rate or check the data"
            )
        now = time.monotonic()
        seconds = (now - self.tick) / len(self.pending)
        eta = (self.steps - step) * seconds
        if self.max_seconds is not None:
            eta = min(eta, max(0.0, self.max_seconds - (now - self.start)))
        rate = self.images / max(now - self.tick, 1e-9)
        line = {"step": step, **{name: float(value.mean()) for name, value in values.items()}}
        line |= {"images_per_second": rate, "eta_seconds": eta, "seconds": now - self.start, "time": time.time()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        means = "  ".join(f"{name} {float(value.mean()):.4g}" for name, value in values.items())
        clock = f"{math.floor(eta / 3600)}h{math.floor(eta / 60) % 60:02d}m{math.floor(eta) % 60:02d}s"
        print(f"step {step}/{self.steps}  {means}  {rate:.0f} images/s  ETA {clock}", flush=True)
        self.flushed, self.pending, self.images, self.tick = step, [], 0, now
