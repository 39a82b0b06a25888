"""Public functions as the first call of a process, under every transform: state that one call leaves helps no other.

Each process runs the whole table under one transform, every entry after what the process keeps is forgotten: a first
call under a trace is what tests in one warm process never are.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
import tfg_jax as tfg
from tfg_jax import arguments

SHAPE, KEY = (4, 4, 1), jax.random.key(0)
CLASSES = np.array([0, 1])

def network(params, x, t, cond):
    return params * jnp.tanh(x) * (1.0 if cond is None else 1.0 + cond)

def near(x0, target):
    return -jnp.sum((x0 - target) ** 2)

def model_on(schedule, **options):
    return tfg.from_fn(network, np.float32(0.5), schedule, prediction="v", shape=SHAPE, **options)

table = tfg.from_alphas_cumprod(tfg.cosine_table(10))
mixture = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [np.eye(2)] * 2)
model, labelled = model_on(tfg.VPCosine()), model_on(tfg.VPLinear(), num_classes=5, null_cond=4)
box = tfg.operators.box_inpainting(SHAPE, 2)
images = jnp.zeros((2, *SHAPE))
measured = {"objective": tfg.objectives.gaussian_log_likelihood(box, 0.1), "target": jax.vmap(box)(images)}
two, guided = tfg.DDIM(2), {"objective": near, "target": images}

def sampled(k, m, **options):
    return tfg.sample(k, m, num_samples=2, sampler=options.pop("sampler", two), **options).x

def on(schedule):
    return lambda k, m: sampled(k, m.replace(schedule=schedule) if hasattr(m, "replace") else m)

def solved(k, m, **options):
    return tfg.end_to_end(k, m, tfg.DFlow(tfg.TruncatedSolve(1.0, 1), iterations=1), num_samples=2, **options).x

CALLS = {
    "sample": sampled,
    **{type(s).__name__: on(s) for s in (
        tfg.VPLinear(), tfg.VPTruncatedCosine(), tfg.VE(), tfg.EDM(), tfg.RectifiedFlow(), table)},
    "chunks": lambda k, m: sampled(k, m, chunk=1),
    "measured": lambda k, m: sampled(k, m, guidance=tfg.DPS(1.0), **measured),
    "reach": lambda k, m: sampled(
        k, m, guidance=tfg.TFG(1.0, jnp.asarray(0.1)), lookahead=tfg.TruncatedSolve(tfg.Reach(0.9), 1),
        clip=tfg.Clip(jnp.asarray(-1.0), 1.0), window=(jnp.asarray(-3.0), 3.0), **guided),
    "classes": lambda k, m: sampled(k, tfg.CFG(labelled, jnp.asarray(1.0)), cond=CLASSES),
    "component": lambda k, m: sampled(
        k, mixture.denoiser(tfg.VPCosine()), guidance=tfg.ClassifierGuidance(),
        objective=tfg.analytic.component_objective(mixture), target=CLASSES),
    "start": lambda k, m: sampled(k, m, start=(images, jnp.asarray(0.5))),
    "invert": lambda k, m: tfg.invert(m, images, steps=2).x,
    "best_of_n": lambda k, m: tfg.best_of_n(
        k, m, n=2, num_samples=2, score=measured["objective"], target=measured["target"], sampler=two).x,
    "end_to_end": lambda k, m: solved(k, m, **measured),
    "diagnose_horizon": lambda k, m: tfg.diagnose_horizon(
        m, images, 0.5, *measured.values(), lookahead=tfg.TruncatedSolve(steps=1)).x0,
    "sampling_times": lambda k, m: tfg.sampling_times(m, two, 0.5),
    "schedule": lambda k, m: tfg.from_alphas_cumprod(tfg.cosine_table(10)).alpha(0.5),
    "operators": lambda k, m: [
        make(images[0]) for make in (
            tfg.operators.gaussian_blur(SHAPE, 1.0), tfg.operators.motion_blur(SHAPE, 3.0),
            tfg.operators.super_resolution(SHAPE, 2), tfg.operators.random_inpainting(KEY, SHAPE, 0.5))],
    "measure": lambda k, m: tfg.operators.measure_poisson(lambda x: x, images[0], 10.0, k),
}
REFUSED = {  # what reads values says so
    "alphas_cumprod is traced": lambda k, m: tfg.from_alphas_cumprod(jnp.linspace(0.9, 0.1, 5)),
    "kernel is traced": lambda k, m: tfg.operators.convolution(SHAPE, jnp.ones((3, 3)) / 9.0),
    "key is traced": lambda k, m: tfg.operators.random_inpainting(k, SHAPE, 0.5),
    "cov is traced": lambda k, m: tfg.analytic.gaussian([0.0], jnp.eye(1) * jnp.sum(images + 1.0)),
    "decrease from at most 1": lambda k, m: sampled(
        k, m, sampler=tfg.DDIM(2, grid=tfg.Explicit(np.array([0.5, 0.9, 0.0], np.float32)))),
    "rounds are run by the host": lambda k, m: tfg.optimize.iterate(k, m, near, rounds=1, batch=2, delta=0.1),
}
KEYS = jax.random.split(KEY, 2)
TRANSFORMS = {
    "jit": lambda f: jax.jit(lambda k: f(k, model))(KEY),
    "passed": lambda f: jax.jit(f)(KEY, model),
    "eval_shape": lambda f: jax.eval_shape(lambda k: f(k, model), KEY),
    "vmap": lambda f: jax.vmap(lambda k: f(k, model))(KEYS),
    "map": lambda f: jax.lax.map(lambda k: f(k, model), KEYS),
}
wrong = {}
first, names = sys.argv[1].split(","), sys.argv[2].split(",")
chosen = {name: CALLS[name] for name in first} | (CALLS | REFUSED if names == ["eval_shape"] else {})
for name, call in chosen.items():
    for transform in names:
        said = ""
        try:
            TRANSFORMS[transform](call)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if (name not in said or "ValueError" not in said) if name in REFUSED else said:
            wrong[f"{name} {transform}"] = said[:300]
        arguments._falls.cache_clear()
        jax.clear_caches()
print(json.dumps(wrong))
"""


@pytest.mark.parametrize(
    ("first", "transforms"),
    [("measured", "eval_shape"), ("sample,chunks", "map,vmap,jit,passed")],
)
def test_first_calls(first, transforms):
    """Tracing alone finds what is read too early: the whole table runs under it, a few entries under all."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, first, transforms], capture_output=True, text=True, env=dict(os.environ),
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
