"""Samples and conditions of any pytree: raveled at the doors, and the same bits as one array inside."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.runs.store import open_folder, sample_arrays, samples_from

KEY, N, SCHEDULE = jax.random.key(0), 2, tfg.VPCosine()
SHAPE = {"a": (2, 1), "b": ((2,), (1,))}
W = jnp.asarray(np.random.default_rng(0).standard_normal((5, 5)) / 2, jnp.float32)
A = np.random.default_rng(1).standard_normal((2, 5))
OPTIONS: Any = {"prediction": "eps"}


def split(x):
    """(..., 5) as a sample of SHAPE."""
    lead = x.shape[:-1]
    return {"a": x[..., :2].reshape(*lead, 2, 1), "b": (x[..., 2:4], x[..., 4:])}


def joined(sample):
    lead = sample["a"].shape[:-2]
    return jnp.concatenate([sample["a"].reshape(*lead, 2), *sample["b"]], axis=-1)


def on_array(params, x, t, cond):
    return jnp.tanh(params @ x) * t


def on_tree(params, x, t, cond):
    return split(on_array(params, joined(x), t, cond))


ONE = tfg.from_fn(on_array, W, SCHEDULE, shape=(5,), **OPTIONS)
TREE: Any = tfg.from_fn(on_tree, W, SCHEDULE, shape=SHAPE, **OPTIONS)


def same(tree, array):
    np.testing.assert_array_equal(joined(tree), array)


def close(tree, array):
    np.testing.assert_allclose(joined(tree), array, rtol=1e-5, atol=1e-5)


def logits(params, x):
    return params @ jnp.tanh(x)


def noisy_logits(params, x, log_snr):
    return (params @ jnp.tanh(x)) * jax.nn.sigmoid(log_snr)


def measured(x):
    return jnp.asarray(A, x.dtype) @ x


def of_joined(params, x0, *rest):
    return params(joined(x0), *rest)


CLASSES = tfg.objectives.class_log_prob(tfg.objectives.Classifier(W[:3], logits, 3))
NOISY = tfg.objectives.noisy_class_log_prob(tfg.objectives.NoisyClassifier(W[:3], noisy_logits, 3))
RESIDUAL = tfg.objectives.residual_norm(measured)
GAUSSIAN = tfg.objectives.gaussian_log_likelihood(tfg.operators.matrix(A), 0.4)
MEASURED = tfg.objectives.gaussian_log_likelihood(jax.tree_util.Partial(measured), 0.4)
LABELS, SEEN = jnp.array([0, 2]), jnp.asarray([[0.9, 0.1], [-0.2, -0.8]], jnp.float32)


def measured_tree(x):
    return measured(joined(x))


METHODS = {
    "unguided": (None, None, None),
    "tfg": (tfg.TFG(rho=0.5, mu=0.2, n_iter=2, smoothing=0.3, n_mc=2, n_recur=2), CLASSES, LABELS),
    "dps": (tfg.DPS(), CLASSES, LABELS),
    "dps_residual": (tfg.DPS(normalize="residual"), RESIDUAL, SEEN),
    "pigdm": (tfg.PiGDM(), MEASURED, SEEN),
    "lgd": (tfg.LGD(n_mc=2), CLASSES, LABELS),
    "freedom": (tfg.FreeDoM(n_recur=2), CLASSES, LABELS),
    "mpgd": (tfg.MPGD(), CLASSES, LABELS),
    "ugd": (tfg.UGD(n_iter=2), CLASSES, LABELS),
    "inner": (tfg.InnerSteps(n_inner=2), CLASSES, LABELS),
    "classifier": (tfg.ClassifierGuidance(), NOISY, LABELS),
    "gradient": (tfg.GradientGuidance(), tfg.objectives.linear(), (jnp.ones((N, 5)), jnp.ones(N))),
}


def for_tree(objective, target):
    """The same objective of samples of SHAPE."""
    if objective in (RESIDUAL, MEASURED):
        return objective.replace(operator=jax.tree_util.Partial(measured_tree)), target
    if isinstance(objective, type(tfg.objectives.linear())):
        return objective, (split(target[0]), target[1])
    return None if objective is None else tfg.objectives.from_fn(of_joined, objective, noisy=objective.noisy), target


@pytest.mark.parametrize("name", METHODS)
def test_a_pytree_is_sampled_as_the_same_array_bit_for_bit(name):
    guidance, objective, target = METHODS[name]
    options = {"num_samples": N, "guidance": guidance, "sampler": tfg.DDIM(steps=2)}
    if name == "tfg":
        options |= {"record": tfg.Record((0,)), "clip": tfg.Clip(-2.0, 2.0), "sampler": tfg.Heun(steps=2)}
    array = tfg.sample(KEY, ONE, objective=objective, target=target, **options)
    seen, target = for_tree(objective, target)
    tree = tfg.sample(KEY, TREE, objective=seen, target=target, **options)
    same(tree.x, array.x)
    for kept in array.info:
        same(tree.info[kept], array.info[kept])
    assert array.status.ok.all() and jax.tree.structure(tree.x) == TREE.domain.spec.structure


def test_every_other_entry_takes_and_gives_pytrees():
    sampler = tfg.DDIM(steps=2)
    x = jnp.asarray(np.random.default_rng(2).standard_normal((N, 5)), jnp.float32)
    target = jnp.ones((N, 5))
    near = tfg.objectives.from_fn(lambda _, x0, y: -jnp.sum((x0 - y) ** 2))
    near_tree = tfg.objectives.from_fn(lambda _, x0, y: -jnp.sum((joined(x0) - y) ** 2))
    close(tfg.invert(TREE, split(x), steps=2).x, tfg.invert(ONE, x, steps=2).x)
    tape = {"step": jnp.ones((N, 2, 1, 5)), "mc": jnp.ones((N, 2, 1, 3, 5))}
    close(
        tfg.sample(KEY, TREE, start=(split(x), 0.8), sampler=sampler,
                   noise=tfg.NoiseTape(split(x), **{k: split(v) for k, v in tape.items()})).x,
        tfg.sample(KEY, ONE, start=(x, 0.8), sampler=sampler, noise=tfg.NoiseTape(x, **tape)).x,
    )  # fmt: skip
    best = {"n": 2, "num_samples": N, "target": target, "sampler": sampler}
    best_tree, best_one = (
        tfg.best_of_n(KEY, model, score=score, **best) for model, score in ((TREE, near_tree), (ONE, near))
    )
    np.testing.assert_allclose(joined(best_tree.x), best_one.x, rtol=1e-5)
    method = tfg.DFlow(tfg.TruncatedSolve(1.0, steps=2), iterations=2, rate=0.1, regularizer=0.1)
    tree = tfg.end_to_end(KEY, TREE, method, objective=near_tree, target=target, start=split(x))
    close(tree.x, tfg.end_to_end(KEY, ONE, method, objective=near, target=target, start=x).x)
    curve = tfg.diagnose_horizon(TREE, split(x), 0.5, near_tree, target, (0.0, 0.5))
    assert curve.x0["b"][0].shape == (N, 2, 2)

    def noted(ctx):
        return ctx.as_sample(ctx.x)

    out = tfg.sample(KEY, TREE, num_samples=N, sampler=sampler, record=tfg.Record(summary=noted))
    assert out.info["summary"]["a"].shape == (N, 2, 2, 1)
    wrong: Any = (
        (r"start x_t is of structure .* the model's samples are", {"start": (x, 0.8)}),
        (r"start x_t\['a'\] has shape \(2, 1, 2\)", {"start": ({**split(x), "a": x[:, None, :2]}, 0.8)}),
    )
    for message, options in wrong:
        with pytest.raises(ValueError, match=message):
            tfg.sample(KEY, TREE, sampler=sampler, **options)
    with pytest.raises(ValueError, match=r"the network returns .* they must agree"):
        inside = lambda params, x, t, cond: x["x"]  # noqa: E731
        tfg.sample(KEY, tfg.from_fn(inside, None, SCHEDULE, shape={"x": (5,)}, **OPTIONS), num_samples=1)


def test_shards_name_the_arrays_of_a_pytree_by_their_path(tmp_path):
    out = tfg.sample(KEY, TREE, num_samples=N, sampler=tfg.DDIM(steps=2))
    with open_folder(tmp_path / "run", {"seed": 0}, N, N) as folder:
        folder.write(range(N), sample_arrays(out))
    arrays = tfg.read_folder(tmp_path / "run").read_all()
    assert {"x__a", "x__b__0", "x__b__1"} <= set(arrays)
    same(samples_from(arrays, TREE).x, joined(out.x))


def conditional(params, x, t, cond):
    return x * t if cond is None else x * cond["gain"] + cond["atoms"] * 0.1 + t


def test_conditions_of_any_pytree_under_classifier_free_guidance():
    null = {"gain": jnp.asarray(0.25), "atoms": None}
    model = tfg.from_fn(conditional, None, SCHEDULE, shape=(2,), null_cond=null, **OPTIONS)
    cond = {"gain": jnp.array([1.0, 2.0]), "atoms": jnp.array([3, 4])}
    x, one = jnp.array([0.3, -0.4]), {"gain": jnp.asarray(2.0), "atoms": jnp.asarray(4)}
    value = lambda gain, atoms: x * gain + atoms * 0.1 + 0.5  # noqa: E731
    eps = {"towards": value(2.0, 4), "null": value(0.25, 4), "away": value(-1.0, 7)}
    away = {"gain": jnp.asarray(-1.0), "atoms": jnp.asarray(7)}
    for batched in (True, False):
        np.testing.assert_allclose(
            tfg.CFG(model, 1.5, batched=batched)(x, 0.5, one).eps, 2.5 * eps["towards"] - 1.5 * eps["null"], rtol=1e-6
        )
        np.testing.assert_allclose(
            tfg.CFG(model, 1.5, away, batched)(x, 0.5, one).eps, 2.5 * eps["towards"] - 1.5 * eps["away"], rtol=1e-6
        )
    several = jax.tree.map(lambda a, b: jnp.stack([a, b.astype(a.dtype)]), one, away)
    np.testing.assert_allclose(
        tfg.ComposedCFG(model, jnp.array([0.0, -1.0]), 2)(x, 0.5, several).eps, eps["towards"], rtol=1e-6
    )
    others = jax.tree.map(lambda leaf: leaf[None], away)
    assert tfg.PerpNeg(model, others, jnp.zeros(1), 1.5)(x, 0.5, one).eps.shape == (2,)
    out = tfg.sample(KEY, tfg.CFG(model, 1.0), cond=cond, sampler=tfg.DDIM(steps=2))
    assert out.status.ok.all() and np.all(np.asarray(out.cost.forwards) == 4)
    wrong: Any = (
        ("cond=None, but null_cond keeps a part", {"num_samples": 2}),
        ("does not fit null_cond", {"cond": {"gain": jnp.ones(2)}}),
        (r"a list of numbers is many leaves: pass jnp.asarray\(cond\)", {"cond": [1, 2], "num_samples": 2}),
    )
    for message, options in wrong:
        with pytest.raises(ValueError, match=message):
            tfg.sample(KEY, model, sampler=tfg.DDIM(steps=2), **options)
    for message, other in (
        (r"null_cond holds an array of shape \(2,\) where cond has one of \(\)", {**null, "gain": jnp.zeros(2)}),
        ("does not fit null_cond", jnp.zeros(())),
    ):
        unfit = tfg.from_fn(conditional, None, SCHEDULE, shape=(2,), null_cond=other, **OPTIONS)
        with pytest.raises(ValueError, match=message):
            tfg.sample(KEY, tfg.CFG(unfit, 1.0), cond=cond, sampler=tfg.DDIM(steps=2))
    labelled = tfg.from_fn(lambda p, x, t, c: x * t, None, SCHEDULE, shape=(2,), num_classes=3, **OPTIONS)
    with pytest.raises(ValueError, match=r"cond must be .2,. integer classes, .*; pass jnp.asarray\(cond\)"):
        tfg.sample(KEY, labelled, cond=[1, 2], num_samples=2)


def test_an_objective_may_see_the_condition():
    model = tfg.from_fn(conditional, None, SCHEDULE, shape=(2,), **OPTIONS)
    cond = {"gain": jnp.array([0.1, 0.2]), "atoms": jnp.array([1, 2])}

    def near(x0, target):
        return -jnp.sum((x0 - target) ** 2)

    def near_cond(x0, target, cond):
        return -jnp.sum((x0 - target * cond["gain"]) ** 2)

    def weighted(params, x0, target, *, cond):
        return params * near_cond(x0, target, cond)

    options = {"cond": cond, "guidance": tfg.TFG(rho=0.3, mu=0.1), "sampler": tfg.DDIM(steps=2)}
    expected = tfg.sample(KEY, model, objective=near, target=cond["gain"], **options).x
    for objective in (
        near_cond, tfg.objectives.weighted(near_cond, 1.0), tfg.objectives.from_fn(weighted, jnp.asarray(1.0))
    ):  # fmt: skip
        out = tfg.sample(KEY, model, objective=objective, target=jnp.ones(2), **options)
        np.testing.assert_allclose(out.x, expected, rtol=1e-5, atol=1e-6)
    both = tfg.objectives.total(near_cond, near)
    options["guidance"] = tfg.MPGD(0.05)
    assert tfg.sample(KEY, model, objective=both, target=(jnp.ones(2), jnp.ones(2)), **options).status.ok.all()
    best = tfg.best_of_n(KEY, model, n=2, score=near_cond, target=jnp.ones(2), cond=cond, sampler=tfg.DDIM(steps=2))
    assert best.x.shape == (2, 2)
