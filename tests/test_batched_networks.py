"""Networks that only come batched: one call however they are mapped, and no gradient where none is needed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import tfg_jax as tfg

KEY, SHAPE, N = jax.random.key(0), (3,), 4
SCHEDULE, STEPS = tfg.VPCosine(), tfg.DDIM(steps=2)
OPTIONS = {"prediction": "eps", "shape": SHAPE}
W = jnp.asarray(np.random.default_rng(0).standard_normal((3, 3)) / 2, jnp.float32)


def one(params, x, t, cond):
    return params @ jnp.tanh(x) + t


def batched(params, x, t, cond):
    return jnp.tanh(x) @ params.T + t[:, None]


def exported(has_gradient):
    """The network as a program: traced away, with any batch; one stored with ``vjp_order=0`` has no gradient."""
    (n,) = export.symbolic_shape("n")
    like = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    program = export.export(jax.jit(lambda w, x, t: batched(w, x, t, None)))(like(3, 3), like(n, 3), like(n))
    program = program if has_gradient else dataclasses.replace(program, _get_vjp=None)
    return lambda params, x, t, cond: program.call(params, x, t)


CALLS: list[int] = []


def on_host(x, t):
    CALLS.append(len(x))
    return np.tanh(x) @ np.asarray(W).T + t[:, None]


def callback(params, x, t, cond):
    return jax.pure_callback(on_host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, t)


def far(x0, target):
    return -jnp.sum((x0 - 1.0) ** 2)


PLAIN = tfg.from_fn(one, W, SCHEDULE, **OPTIONS)
EXPORTED = tfg.from_batched(exported(True), W, SCHEDULE, **OPTIONS)
HOST = tfg.from_batched(callback, None, SCHEDULE, **OPTIONS)


def draw(model, guidance=None, **options):
    objective = None if guidance is None else far
    return tfg.sample(KEY, model, num_samples=N, sampler=STEPS, guidance=guidance, objective=objective, **options)


WITHOUT_GRADIENT = [
    None, tfg.MPGD(0.2), tfg.NaiveGradientGuidance(), tfg.TFG(rho=None, mu=0.1, n_recur=2, smoothing=0.1, n_mc=2)
]  # fmt: skip


@pytest.mark.parametrize("guidance", WITHOUT_GRADIENT, ids=lambda method: type(method).__name__)
def test_methods_without_a_network_gradient_never_differentiate_it(guidance):
    CALLS.clear()
    out = draw(HOST, guidance)
    np.testing.assert_allclose(out.x, draw(PLAIN, guidance).x, rtol=1e-5, atol=1e-5)
    assert CALLS == [N] * int(jnp.asarray(out.cost.forwards)[0])  # all samples in one call
    if guidance is None:
        assert HOST(jnp.ones(3), 0.5).eps.shape == SHAPE and CALLS[-1] == 1


def test_methods_with_one_say_that_there_is_none():
    fix = "; use guidance that needs none, such as MPGD or TFG"
    for model in (HOST, tfg.from_fn(lambda p, x, t, c: callback(p, x[None], t[None], c)[0], None, SCHEDULE, **OPTIONS),
                  tfg.from_batched(exported(False), W, SCHEDULE, **OPTIONS)):  # fmt: skip
        with pytest.raises(ValueError, match=f"guidance=DPS needs the network's gradient, but .*{fix}"):
            draw(model, tfg.DPS())
    with pytest.raises(ValueError, match="method=DFlow needs the network's gradient, but .*; use tfg.sample with guid"):
        tfg.end_to_end(KEY, HOST, tfg.DFlow(iterations=1), objective=far, num_samples=1)
    with pytest.raises(ValueError, match="and no cond: 'NoneType' .*; pass cond=, and null_cond="):
        draw(tfg.from_fn(lambda p, x, t, c: x * c["gap"], None, SCHEDULE, **OPTIONS))
    lookahead = tfg.TruncatedSolve(0.5, steps=1, solver="euler")
    assert draw(HOST, tfg.MPGD(0.2), lookahead=lookahead).status.ok.all()


def test_an_exported_program_with_a_gradient_guides_like_the_function():
    np.testing.assert_allclose(draw(EXPORTED, tfg.DPS(0.3)).x, draw(PLAIN, tfg.DPS(0.3)).x, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="a batched network gives no gradient in its weights"):
        jax.grad(lambda w: tfg.from_batched(batched, w, SCHEDULE, **OPTIONS)(jnp.ones(3), 0.5).eps.sum())(W)


def test_branches_and_samples_are_one_call():
    def host(params, x, t, cond):
        CALLS.append(-len(x))
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, t + cond)

    model = tfg.from_batched(host, None, SCHEDULE, **OPTIONS, num_classes=3, null_cond=3)
    CALLS.clear()
    out = draw(tfg.CFG(model, 1.0), cond=jnp.arange(N) % 3)
    assert [calls for calls in CALLS if calls > 0] == [2 * N] * 2 and np.all(np.asarray(out.cost.forwards) == 4)


def wide(params, x, t, cond):
    return jnp.concatenate([one(W, x, t, cond), jnp.array([-1.0, 0.3, 1.0])])


def test_a_learned_variance_is_the_ancestral_samplers_alone():
    learned = {k: tfg.from_fn(wide, None, SCHEDULE, learned_variance=k, **OPTIONS) for k in (True, None)}
    with pytest.raises(ValueError, match="pass learned_variance=True if its second half is a variance"):
        draw(tfg.from_fn(wide, None, SCHEDULE, **OPTIONS))
    with pytest.raises(ValueError, match="with learned_variance=True a sample of shape .3,. needs .6,."):
        draw(tfg.from_fn(one, W, SCHEDULE, learned_variance=True, **OPTIONS))
    for sampler in (tfg.DDIM(steps=2), tfg.Heun(steps=2), tfg.DPMSolverPP2M(steps=2)):
        out = tfg.sample(KEY, learned[True], num_samples=2, sampler=sampler)
        plain = tfg.sample(KEY, PLAIN, num_samples=2, sampler=sampler)
        np.testing.assert_allclose(out.x, plain.x, rtol=1e-6, atol=1e-6)

    # One step of Nichol & Dhariwal: log variance = v' log beta + (1 - v') log beta~, v' = (v + 1) / 2.
    grid, start, z = tfg.Explicit((0.8, 0.6)), jnp.array([[0.3, -1.0, 2.0]]), jnp.array([[1.0, -2.0, 0.5]])
    now, then = SCHEDULE.level(0.8), SCHEDULE.level(0.6)
    tape = tfg.NoiseTape(start, step=z[:, None, None])  # type: ignore[arg-type]
    beta = 1.0 - now.alpha**2 / then.alpha**2
    tilde = beta * then.sigma**2 / now.sigma**2
    denoised = PLAIN(start[0], 0.8)
    for clip in (None, tfg.Clip(-9.0, 9.0)):
        for model in learned.values():
            out = tfg.sample(KEY, model, start=(start, 0.8), noise=tape, clip=clip, sampler=tfg.DDPM(1, 0.0, grid))
            share = (jnp.array([-1.0, 0.3, 1.0]) + 1.0) / 2.0
            std = jnp.exp(0.5 * (share * jnp.log(beta) + (1.0 - share) * jnp.log(tilde)))
            along = now.alpha / then.alpha * then.sigma**2 / now.sigma
            mean = then.alpha * denoised.x0 + along * denoised.eps
            np.testing.assert_allclose(out.x[0], mean + std * z[0], rtol=1e-5)
