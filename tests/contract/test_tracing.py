"""Numbers are traced: a sweep compiles once, is one program under vmap, and composes with jit, grad and key checks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import METHODS, D

import tfg_jax as tfg
from tfg_jax import batch
from tfg_jax.endtoend.run import memory_of

STEPS = 2
TRACED: list[int] = []


def counting(schedule, x, t, cond):
    TRACED.append(1)
    return problems.eps_network(schedule, x, t, cond)


def model_of(schedule):
    return tfg.from_fn(counting, schedule, schedule, prediction="eps", shape=(D,))


MODEL = model_of(tfg.VPLinear())


def draw(method="tfg", strength=0.5, key=0, model=MODEL, **changes):
    given = {**problems.arguments(method, strength), "sampler": tfg.DDIM(steps=STEPS), **changes}
    if "start" not in given and "index_offset" not in given:  # a recorded tape is less to compile than keys
        given.setdefault("noise", problems.tape(STEPS, given["guidance"].n_recur))
    return tfg.sample(jax.random.key(key), model, **given)


def traces(calls):
    """How often the network is traced by the calls after the first; programs of other tests, which count, forgotten."""
    jax.clear_caches()
    calls[0]()
    before = len(TRACED)
    results = [np.asarray(call().x) for call in calls[1:]]
    return len(TRACED) - before, results


def test_a_sweep_traces_once():
    """Strengths, smoothing, targets, eta, schedule numbers, times, weights, key, offset: all leaves."""
    smooth = lambda **o: tfg.TFG(**{"rho": 0.5, "mu": 0.2, "smoothing": 0.1, "n_mc": 2, "n_iter": 2, **o})  # noqa: E731
    # The grid is given, so that its times are data too.
    ddim = lambda eta=0.5, middle=0.4: tfg.DDIM(steps=2, eta=eta, grid=tfg.Explicit(jnp.array([0.9, middle, 0.0])))  # noqa: E731
    base = {"noise": None, "guidance": smooth(), "sampler": ddim(), "clip": tfg.Clip(-1.5, 1.5), "window": (-20.0, 8.0)}
    changes = [
        {}, {"guidance": smooth(rho=0.7)}, {"guidance": smooth(mu=0.9)}, {"guidance": smooth(smoothing=0.4)},
        {"target": jnp.array([1, 1])}, {"sampler": ddim(eta=0.9)}, {"sampler": ddim(middle=0.6)},
        {"clip": tfg.Clip(-0.5, 0.5)}, {"window": (-2.0, 8.0)}, {"key": 5}, {"index_offset": 9},
        {"model": model_of(tfg.VPLinear(beta_min=0.2, beta_max=15.0))},
        {"objective": problems.class_objective().replace(  # type: ignore[attr-defined]
            classifier=problems.class_objective().classifier.replace(params=jnp.ones((3, D))))},
    ]  # fmt: skip
    more, results = traces([lambda change=change: draw(**{**base, **change}) for change in changes])
    first = np.asarray(draw(**base).x)
    assert more == 0
    for change, result in zip(changes[1:], results, strict=True):
        assert np.isfinite(result).all() and np.abs(result - first).max() > 1e-5, f"{list(change)} had no effect"


FORMS = (1, 1.0, np.float64(1), np.float32(1), np.asarray(1), jnp.asarray(1), jnp.asarray(1.0), jnp.float32(1))


def numbers_everywhere(one) -> dict[str, Any]:
    """A run in which every kind of argument holds the number 1 in the form ``one``."""
    half = one / 2 if isinstance(one, int) else one
    return {
        "noise": None, "index_offset": 3, "window": (-20 * one, 8 * one), "clip": tfg.Clip(-one, one),
        "guidance": tfg.TFG(rho=one, mu=one, smoothing=one),
        "sampler": tfg.Euler(2, tfg.Karras(exponent=one), tfg.Churn(one)),
        "lookahead": tfg.TruncatedSolve(tfg.Reach(one), 1), "start": (jnp.zeros((2, D)), half),
        "objective": tfg.objectives.weighted(problems.class_objective(), one),
        "model": MODEL.replace(schedule=tfg.VPLinear(beta_min=one, beta_max=20 * one)),  # type: ignore[attr-defined]
    }  # fmt: skip


def test_one_program_for_a_number_in_any_form():
    more, results = traces([lambda one=one: draw(**numbers_everywhere(one)) for one in FORMS])
    assert more == 0
    np.testing.assert_array_equal(results, results[:1] * len(results))


def test_no_form_of_a_number_changes_the_type_of_samples(x64):
    """Double-precision scalars, read or traced, with samples in single precision."""
    single: dict[str, Any] = {"start": (jnp.zeros((2, D), jnp.float32), np.float64(0.5))}
    more, results = traces([lambda one=one: draw(**numbers_everywhere(one) | single) for one in (1.0, np.float64(1))])
    swept = jax.vmap(lambda one: draw(**numbers_everywhere(one) | single).x)(jnp.linspace(0.5, 1.0, 2))
    assert more == 0 and results[0].dtype == swept.dtype == np.float32


def test_one_program_for_any_number_of_samples_in_chunks():
    sizes = (3, 2, 1, 5, 4)
    model, near = MODEL, tfg.objectives.from_fn(lambda _, x, target: -jnp.sum((x - target) ** 2))
    x = jnp.linspace(-1.0, 1.0, 5)[:, None] * jnp.ones(D)
    runs = {
        "sample": lambda n: draw(noise=None, num_samples=n, target=jnp.zeros(n, jnp.int32), chunk=2),
        "invert": lambda n: tfg.invert(model, x[:n], steps=2, chunk=2),
        "best_of_n": lambda n: tfg.best_of_n(
            jax.random.key(0), model, n=2, num_samples=n, score=near, target=x[:n], sampler=tfg.DDIM(2), chunk=2),
        "end_to_end": lambda n: tfg.end_to_end(
            jax.random.key(0), model, tfg.Controls(2, iterations=1, rate=0.1), objective=near, target=x[:n],
            num_samples=n, chunk=2),
    }  # fmt: skip
    for name, run in runs.items():
        more, results = traces([lambda n=n, run=run: run(n) for n in sizes])
        assert more == 0, name
        for result in results:
            np.testing.assert_array_equal(result, results[2][: len(result)], err_msg=name)


@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("tfg")])
def test_every_strength_traces_once(method):
    more, results = traces([lambda s=s: draw(method, s) for s in (0.2, 0.4, 0.9)])
    assert more == 0 and np.abs(results[0] - results[1]).max() > 1e-3


def test_vmap_over_configurations_equals_a_loop():
    def run(rho, mu, smoothing, eta):
        guidance = tfg.TFG(rho=rho, mu=mu, smoothing=smoothing, n_iter=2, n_mc=2)
        return draw(guidance=guidance, sampler=tfg.DDIM(steps=STEPS, eta=eta)).x

    grid = jnp.array([[0.1, 0.2, 0.0, 1.0], [0.6, 0.1, 0.3, 0.5], [0.0, 0.5, 0.1, 0.0]])
    loop = jnp.stack([run(*row) for row in grid])
    np.testing.assert_allclose(jax.vmap(lambda row: run(*row))(grid), loop, rtol=1e-5, atol=1e-5)


def test_sample_can_be_jitted():
    jitted = jax.jit(tfg.sample, static_argnames=("num_samples", "chunk", "record"))
    given = {**problems.arguments("tfg", 0.5), "sampler": tfg.DDIM(steps=STEPS)}
    out = jitted(jax.random.key(0), MODEL, num_samples=2, chunk=2, record=tfg.Record(steps=(1,)), **given)
    eager = draw(noise=None, chunk=2, num_samples=2, record=tfg.Record(steps=(1,)))
    np.testing.assert_allclose(out.x, eager.x, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(out.info["x"][:, 0], out.x)


def test_the_program_does_not_grow_with_the_steps():
    def program(steps):
        run = lambda key, model: draw(noise=None, num_samples=2, sampler=tfg.DDIM(steps=steps), model=model).x  # noqa: E731
        return jax.jit(run).lower(jax.random.key(0), MODEL)

    few, many = program(20), program(200)
    assert len(few.as_text().splitlines()) == len(many.as_text().splitlines())
    small, large = (memory_of(lowered.compile()) for lowered in (few, many))
    if small is not None and large is not None:  # the grid itself is a few numbers a step
        assert large - small < 180 * 100


@pytest.mark.parametrize("method", METHODS)
def test_gradient_through_sample(method, x64):
    """d(samples)/d(strength) is finite and equal to central differences; `TFG` also in eta and smoothing."""
    start = (jnp.asarray(np.random.default_rng(1).standard_normal((2, D))), 0.9)

    def total(s):
        changes = {"start": start, "sampler": tfg.DDIM(steps=STEPS, eta=0.3 + 0.5 * s)}
        if method == "tfg_smoothed":
            changes["guidance"] = tfg.TFG(rho=s, mu=0.5 * s, n_iter=2, smoothing=0.2 * s, n_mc=2)
        return jnp.sum(jnp.sin(draw(method, s, **changes).x))

    both = jax.jit(jax.value_and_grad(total))
    gradient, h = both(0.4)[1], 1e-5
    expected = (both(0.4 + h)[0] - both(0.4 - h)[0]) / (2 * h)
    assert np.isfinite(gradient) and abs(expected) > 1e-4
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_no_key_is_used_twice(key_reuse):
    out = draw("tfg_smoothed", 0.4, sampler=tfg.Euler(steps=STEPS, churn=tfg.Churn()), chunk=1)
    assert bool(out.status.ok.all())


def test_programs_are_bounded_and_the_fix_is_named(monkeypatch):
    monkeypatch.setattr(batch, "MOST_PROGRAMS", 2)
    compiled = jax.jit(lambda scale, x: scale() * x)
    run = lambda: batch.in_chunks(compiled, (jax.tree_util.Partial(lambda: 2.0),), jnp.ones(2), None)  # noqa: E731
    run()
    run()
    with pytest.warns(UserWarning, match="define it once and hand its data over as target="):
        run()
    assert compiled._cache_size() == 1  # type: ignore[attr-defined]
