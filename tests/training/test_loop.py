"""The loop's promise: killed at any moment and started again, a run ends in the same bits as one left alone."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tfg_jax.training import checkpoint
from tfg_jax.training.loop import Interrupted, fit, shuffled

DATA = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
INDICES = shuffled(50, 8, seed=0)


def loss_fn(params, batch, key):
    noisy = batch + 0.1 * jax.random.normal(key, batch.shape)
    return jnp.mean((noisy @ params["w"] - params["b"]) ** 2), {"bias": params["b"].mean()}


def batches(step):
    return DATA[INDICES(step)]


def params():
    return {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}


def run(folder, steps=30, *, loss_fn=loss_fn, batches=batches, **options):
    options = {"save_every": 12, "log_every": 5, "save_seconds": None} | options
    return fit(
        loss_fn, params(), optax.adam(1e-2), batches, steps=steps, folder=folder, key=jax.random.key(3), **options
    )


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return run(tmp_path_factory.mktemp("straight"))


def test_loss_falls_and_log_is_complete(tmp_path):
    run(tmp_path, steps=200, log_every=20, save_every=None)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["step"] % 20 == 0] == list(range(20, 201, 20))
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]
    assert {"loss", "grad_norm", "bias", "images_per_second", "eta_seconds", "time"} <= set(lines[0])
    assert checkpoint.saved_steps(tmp_path) == [200]


def test_ema_against_a_hand_written_loop(tmp_path):
    state = run(tmp_path, steps=25, ema_decay=0.6, save_every=None)
    optimizer, p = optax.adam(1e-2), params()
    opt_state, ema = optimizer.init(p), p
    for step in range(25):
        key = jax.random.fold_in(jax.random.key(3), step)
        grads = jax.grad(lambda p, key=key, step=step: loss_fn(p, batches(step), key)[0])(p)
        updates, opt_state = optimizer.update(grads, opt_state)
        p = optax.apply_updates(p, updates)
        d = min(0.6, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda e, x, d=d: d * e + (1 - d) * x, ema, p)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), (state.params, state.ema), (p, ema)
    )


def test_resume_after_a_shorter_run_is_bitwise(tmp_path, straight):
    run(tmp_path, steps=13)
    assert_same_bits(run(tmp_path), straight)


def test_resume_after_an_exception_is_bitwise(tmp_path, straight):
    def failing(step):
        if step == 18:
            raise RuntimeError("disk on fire")
        return batches(step)

    with pytest.raises(RuntimeError, match="disk on fire"):
        run(tmp_path, batches=failing, save_every=5)
    assert checkpoint.saved_steps(tmp_path) == [10, 15]
    assert_same_bits(run(tmp_path), straight)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_resume_after_kill_9_is_bitwise(tmp_path, straight):
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = [{os.path.dirname(__file__)!r}, {os.path.dirname(os.path.dirname(os.path.dirname(__file__)))!r}]
        import test_loop
        def slow(step):
            time.sleep(0.02)
            return test_loop.batches(step)
        test_loop.run({str(tmp_path / "run")!r}, batches=slow, save_every=1)
        """)
    )
    job = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while job.poll() is None and not checkpoint.saved_steps(tmp_path / "run"):
        time.sleep(0.005)
    time.sleep(0.05)  # most of the time goes into saving, so this usually lands inside a save
    job.kill()
    assert job.wait() == -signal.SIGKILL
    assert 0 < checkpoint.saved_steps(tmp_path / "run")[-1] < 30
    assert_same_bits(run(tmp_path / "run"), straight)
    assert not list((tmp_path / "run").glob("*tmp*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_exits_75(tmp_path, straight, number):
    def stopping(step):
        if step == 9:
            os.kill(os.getpid(), number)
        return batches(step)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stop:
        run(tmp_path, batches=stopping, save_every=100)
    assert stop.value.code == 75 and int(stop.value.state.step) == 10
    assert checkpoint.saved_steps(tmp_path) == [10]
    assert signal.getsignal(number) is before
    assert_same_bits(run(tmp_path), straight)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_non_finite_step_is_named_and_never_saved(tmp_path, where):
    def poisoned(params, batch, key):
        loss, metrics = loss_fn(params, batch["x"], key)
        bad = batch["bad"][0]
        if where == "loss":
            return jnp.where(bad, jnp.nan, loss), metrics
        return loss + jnp.sqrt(jnp.where(bad, 0.0, 1.0) * params["b"][0] ** 2 + ~bad), metrics

    def with_flag(step):
        return {"x": batches(step), "bad": np.full(8, step == 10)}

    with pytest.raises(FloatingPointError, match="step 10"):
        run(tmp_path, loss_fn=poisoned, batches=with_flag, save_every=4)
    assert checkpoint.saved_steps(tmp_path) == [4, 8]


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, straight):
    run(tmp_path, steps=13)
    newest = tmp_path / "step_000000013"
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    assert_same_bits(run(tmp_path), straight)


def test_another_configuration_is_refused_unless_overwritten(tmp_path):
    run(tmp_path, steps=6, config={"channels": [4, 8], "lr": 0.1})
    with pytest.raises(ValueError, match=r"lr: 0\.1 -> 0\.2.*--overwrite"):
        run(tmp_path, steps=6, config={"channels": (4, 8), "lr": 0.2})
    with pytest.raises(ValueError, match="resume=False"):
        run(tmp_path, steps=6, config={"channels": (4, 8), "lr": 0.1}, resume=False)
    state = run(tmp_path, steps=3, config={"lr": 0.2}, overwrite=True)
    assert int(state.step) == 3 and checkpoint.saved_steps(tmp_path) == [3]


def test_one_process_at_a_time(tmp_path):
    def intruding(step):
        run(tmp_path)

    with pytest.raises(ValueError, match="another process"):
        run(tmp_path, batches=intruding)


def test_other_parameters_do_not_fit_the_checkpoint(tmp_path):
    run(tmp_path, steps=3)
    bigger = {"w": jnp.ones((3, 5)), "b": jnp.zeros(5)}
    with pytest.raises(ValueError, match="--overwrite"):
        fit(loss_fn, bigger, optax.adam(1e-2), batches, steps=5, folder=tmp_path, key=jax.random.key(3))


def test_samples_come_from_the_average_and_do_not_move_the_run(tmp_path, straight):
    seen = {}
    state = run(tmp_path, sample_every=10, on_sample=lambda step, ema, folder: seen.update({step: np.array(ema["w"])}))
    assert sorted(seen) == [10, 20, 30]
    np.testing.assert_array_equal(seen[30], state.ema["w"])
    assert_same_bits(state, straight)


def test_caller_keeps_its_parameters(tmp_path):
    mine = params()
    fit(loss_fn, mine, optax.sgd(0.1), batches, steps=2, folder=tmp_path, key=jax.random.key(0))
    np.testing.assert_array_equal(mine["w"], np.ones((3, 2)))


def test_parts_of_a_batch_average_their_gradients(tmp_path):
    """Each part has a key of its own; a batch that cannot be cut is refused."""
    state = run(tmp_path / "cut", steps=2, parts=4)
    optimizer, p = optax.adam(1e-2), params()
    opt_state = optimizer.init(p)
    for step in range(2):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), step), 4)
        cut = batches(step).reshape(4, 2, 3)
        each = [jax.grad(lambda p, i=i: loss_fn(p, cut[i], keys[i])[0])(p) for i in range(4)]  # noqa: B023
        updates, opt_state = optimizer.update(jax.tree.map(lambda *g: sum(g) / 4, *each), opt_state)
        p = optax.apply_updates(p, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.params, p)
    with pytest.raises(ValueError, match="parts=3 does not divide a batch of 8; give a divisor"):
        run(tmp_path / "odd", parts=3)
    with pytest.raises(ValueError, match="parts=0"):
        run(tmp_path / "none", parts=0)


def test_budget_of_zero_seconds_stops_at_once(tmp_path):
    assert int(run(tmp_path, max_seconds=0.0).step) == 0


@pytest.mark.parametrize(
    "options, message",
    [({"steps": 0}, "steps"), ({"ema_decay": 1.0}, "ema_decay=1.0"), ({"sample_every": 5}, "on_sample")],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)


def test_shuffled_visits_everything_once_an_epoch_in_a_new_order():
    order = shuffled(10, 3, seed=1)
    epochs = [np.concatenate([order(3 * e + i) for i in range(3)]) for e in range(20)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    assert set(np.concatenate(epochs)) == set(range(10))
    np.testing.assert_array_equal(order(4), shuffled(10, 3, seed=1)(4))
    with pytest.raises(ValueError, match="batch_size=11"):
        shuffled(10, 11, seed=0)
