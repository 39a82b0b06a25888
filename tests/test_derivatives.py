"""What is finite has finite derivatives, and they are those of differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.denoiser import unit_time

AT_DATA = {
    "vp_linear": lambda v: tfg.VPLinear(v, 20.0 * v),
    "vp_cosine": tfg.VPCosine,
    "vp_truncated_cosine": lambda v: tfg.VPTruncatedCosine(-v),
    "ve": lambda v: tfg.VE(v, 100.0 * v),
    "edm": tfg.EDM,
    "table": lambda v: tfg.Discrete(jnp.stack([0.0 * v, -v, -3.0 * v])),
    "table_without_end": lambda v: tfg.Discrete(jnp.stack([0.0 * v, -v, -jnp.inf])),
}


@pytest.mark.parametrize("name", AT_DATA)
def test_the_ends_of_the_path_do_not_depend_on_its_numbers(name):
    """alpha = 1, sigma = 0 at data whatever the numbers, and alpha = 0 at the end of a table without signal there."""

    def ends(v):
        schedule = AT_DATA[name](v)
        return jnp.stack([schedule.alpha(0.0), schedule.sigma(0.0), schedule.level(0.0).s])

    for derivative in jax.jit(lambda v: (jax.jacrev(ends)(v), jax.jacfwd(ends)(v)))(0.3):
        np.testing.assert_allclose(derivative, 0.0, atol=1e-6)
    if name == "table_without_end":
        last = lambda v: jnp.stack([AT_DATA[name](v).alpha(1.0), AT_DATA[name](v).sigma(1.0)])  # noqa: E731
        np.testing.assert_array_equal(last(0.3), [0.0, 1.0])
        np.testing.assert_array_equal(jax.jacrev(last)(0.3), 0.0)


def bent(params, x, t, cond):
    return 0.5 * jnp.tanh(x) * (1.0 + t)


DIFFERENTIATED = {
    "vp_linear": (lambda v: tfg.VPLinear(*v), [0.1, 20.0], lambda grid: tfg.DDPM(3, v=0.4, grid=grid)),
    "vp_cosine": (lambda v: tfg.VPCosine(v[0]), [0.008], lambda grid: tfg.DDIM(3, eta=1.0, grid=grid)),
    "ve": (lambda v: tfg.VE(*v), [0.01, 5.0], lambda grid: tfg.Euler(3, grid, tfg.Churn(1.0, low=0.1, high=2.0))),
    "edm": (lambda v: tfg.EDM(v[0]), [8.0], lambda grid: tfg.Heun(3, grid=grid)),
    "table": (
        lambda v: tfg.Discrete(jnp.concatenate([jnp.zeros(1), -jnp.cumsum(v)])), [0.1, 0.3, 0.6, 1.0],
        lambda grid: tfg.DPMSolverPP2M(3, grid=grid),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_samples_differentiated_in_schedule_and_times(name, x64):
    """In schedule numbers, explicit times and the start time: forward, backward and differences agree, none is NaN."""
    build, numbers, sampler = DIFFERENTIATED[name]
    normal = np.random.default_rng(0).standard_normal
    draws = {stream: jnp.asarray(normal((1, 3, 1, 3))) for stream in ("step", "churn")}
    tape = tfg.NoiseTape(jnp.asarray(normal((1, 3))), **draws)
    given = jnp.asarray([*numbers, 0.9, 0.55, 0.3, 0.8])

    def end(v):
        schedule, times = build(v[: len(numbers)]), jnp.append(v[-4:-1], 0.0)
        model = tfg.from_fn(bent, None, schedule, prediction="eps", shape=(3,), network_time=unit_time)
        out = tfg.sample(
            jax.random.key(0), model, sampler=sampler(tfg.Explicit(times)), start=(tape.initial, v[-1]), noise=tape
        )
        return out.x.sum()

    @jax.jit
    def every(v):
        steps = 1e-6 * jnp.eye(len(v))
        differences = jax.vmap(lambda step: (end(v + step) - end(v - step)) / 2e-6)(steps)
        return jax.grad(end)(v), jax.jacfwd(end)(v), differences

    backward, forward, differences = every(given)
    np.testing.assert_allclose(backward, differences, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-12)
