"""In double precision a float32 run stays float32, whatever numbers of NumPy its configuration is made of."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg

HALF, TWO = np.float64(0.5), np.float64(2.0)
METHODS = [
    None, tfg.TFG(rho=HALF, mu=HALF, smoothing=HALF, n_iter=2, n_recur=2), tfg.DPS(HALF), tfg.LGD(HALF),
    tfg.FreeDoM(HALF), tfg.MPGD(HALF), tfg.UGD(HALF), tfg.PiGDM(HALF), tfg.Unguided(),
]  # fmt: skip
SAMPLERS = [
    tfg.DDIM(2, eta=HALF), tfg.DDPM(2, v=HALF), tfg.Euler(2, churn=tfg.Churn(TWO)), tfg.Heun(2), tfg.DPMSolverPP2M(2),
]  # fmt: skip


def eps(params, x, t, cond):
    return x * t.astype(x.dtype)


def itself(x):
    return x


def test_every_method_with_every_sampler(x64):
    model = tfg.from_fn(eps, None, tfg.VPCosine(), prediction="eps", shape=(2,))
    seen = tfg.objectives.gaussian_log_likelihood(itself, TWO)
    for method, sampler in itertools.product(METHODS, SAMPLERS):
        guided = {} if method is None or isinstance(method, tfg.Unguided) else {"objective": seen}
        gradient: Any
        for gradient in ("inside", "outside"):

            def run(target, method=method, sampler=sampler, guided=guided, gradient=gradient):
                options = {**guided, "target": target, "window": (-TWO, TWO)} if guided else {}
                return tfg.sample(
                    jax.random.key(0), model, num_samples=1, guidance=method, clip=tfg.Clip(-TWO, TWO, gradient),
                    sampler=sampler.replace(grid=tfg.Uniform()), start=(jnp.zeros((1, 2), jnp.float32), 0.9), **options,
                )  # fmt: skip

            out = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 2), jnp.float32))
            assert out.x.dtype == jnp.float32, (method, sampler, gradient)
