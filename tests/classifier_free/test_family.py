"""Every transform against its equation and its corners, at one point of the path."""

import dataclasses
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_classes import T, close, network, point, posterior, triangle

import tfg_jax as tfg
from tfg_jax.guidance.classifier_free.spaces import Space, read, write

COND = jnp.int32(1)


def same_bits(a, b):
    np.testing.assert_array_equal(a.x0, b.x0)
    np.testing.assert_array_equal(a.eps, b.eps)


@pytest.mark.parametrize("batched", [True, False])
def test_ends_of_the_weight_are_the_two_models_to_the_bit(batched):
    """w = 0 and w = -1, traced; and None, which evaluates the model alone."""
    model, x = network(), point().astype(jnp.float32)

    @jax.jit
    def both(model):
        if not batched:
            return model(x, T, COND), model(x, T, None)
        out = jax.vmap(lambda c: model(x, T, c))(jnp.int32([1, 3]))
        return tuple(jax.tree.map(lambda leaf, k=k: leaf[k], out) for k in (0, 1))

    cond, plain = both(model)
    same_bits(call(tfg.CFG(model, 0.0, batched=batched)), cond)
    same_bits(call(tfg.CFG(model, -1.0, batched=batched)), plain)
    same_bits(call(tfg.CFG(model, None)), call(model))


@jax.jit
def call(model):
    return model(point().astype(jnp.float32), T, COND)


def test_weight_and_scale_are_one_apart(x64):
    model, x = network(), point()
    c, u = model(x, T, COND), model(x, T, None)
    for scale in (0.0, 0.3, 1.0, 7.5):
        w = tfg.w_from_scale(scale)
        assert w == scale - 1.0
        out = tfg.CFG(model, w)(x, T, COND)
        np.testing.assert_allclose(out.eps, u.eps + scale * (c.eps - u.eps), atol=1e-14)
        np.testing.assert_allclose(out.x0, u.x0 + scale * (c.x0 - u.x0), atol=1e-14)
    by_snr = tfg.w_from_scale(jax.tree_util.Partial(jnp.sin))
    level = model.schedule.level(T)
    close(tfg.CFG(model, by_snr)(x, T, COND), tfg.CFG(model, jnp.sin(level.log_snr) - 1.0)(x, T, COND))
    assert tfg.w_from_scale(None) is None
    each: Any = tfg.w_from_scale(tfg.PerSample(jnp.array([1.0, 3.0])))
    np.testing.assert_array_equal(each.values, [0.0, 2.0])


@pytest.mark.parametrize("space", get_args(Space))
def test_spaces_are_inverse_to_each_other(space, x64):
    for schedule in (tfg.VPLinear(), tfg.EDM(5.0), tfg.RectifiedFlow()):
        x, level = point(), schedule.level(0.6)
        denoised = network(schedule)(x, 0.6, COND)
        close(write(read(denoised, level, space), x, level, space), denoised, 1e-13)


def test_linear_guidance_is_the_same_in_all_parametrizations_and_projections_are_not(x64):
    data, x = triangle(2.0), point(2)
    models = [data.class_denoiser(tfg.VPLinear(), kind) for kind in ("eps", "x0", "v")]
    run = jax.jit(lambda model: model(x, T, COND))
    every = [run(tfg.CFG(model, 1.7)) for model in models]
    for other in every[1:]:
        close(other, every[0], 1e-11)
    one = lambda kind, space: run(kind(models[0], 1.7, space=space))  # noqa: E731
    apg = lambda model, w, space: tfg.APG(model, w, momentum=None, space=space)  # noqa: E731
    for kind in (apg, tfg.RescaledCFG):
        assert np.abs(one(kind, "x0").eps - one(kind, "eps").eps).max() > 1e-2


def test_guidance_with_exact_scores_is_classifier_guidance(x64):
    """CFG(w) = classifier guidance w of the conditional model = w + 1 of the other, and of the implicit one."""
    data, x, w = triangle(1.5, 0.7), point(2), 2.3
    model = data.class_denoiser(tfg.VPLinear())
    level = model.schedule.level(T)
    run = jax.jit(lambda model, cond: model(x, T, cond).eps)
    gradient = jax.jit(jax.grad(tfg.analytic.component_objective(data).__call__))(x, COND, level)
    eps = run(tfg.CFG(model, w), COND)
    np.testing.assert_allclose(eps, run(model, COND) - w * level.sigma * gradient, atol=1e-12)
    np.testing.assert_allclose(eps, run(model, None) - (w + 1.0) * level.sigma * gradient, atol=1e-12)
    np.testing.assert_allclose(tfg.implicit_classifier_score(model, x, T, COND), gradient, atol=1e-12)


def test_the_marginal_of_the_classes_is_the_unconditional_model(x64):
    data, x = triangle(1.5, 0.7), point(2)
    model = data.class_denoiser(tfg.VPLinear())
    blind = dataclasses.replace(model, null_cond=None)
    whole = tfg.Marginalized(blind, posterior(data))
    run = jax.jit(lambda model, cond: model(x, T, cond))
    close(run(whole, None), run(model, None))
    close(run(whole, COND), run(model, COND))
    close(run(tfg.CFG(whole, 1.3), COND), run(tfg.CFG(model, 1.3), COND))
    assert whole.null_cond == 3 and tfg.CFG(whole, 1.3).calls(T, True) == 3


def test_the_field_of_exact_guidance_is_conservative_and_a_networks_need_not_be(x64):
    jacobian_of = jax.jit(lambda model, x: jax.jacfwd(lambda x: tfg.CFG(model, 2.0)(x, T, COND).eps)(x))
    jacobian = jacobian_of(triangle(1.5).class_denoiser(tfg.VPLinear()), point(2))
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
    jacobian = jacobian_of(network(), point())
    assert np.abs(jacobian - jacobian.T).max() > 1e-2


def test_a_negative_condition_takes_the_place_of_none(x64):
    model, x = network(), point()
    c, n = model(x, T, COND), model(x, T, jnp.int32(2))
    out = tfg.CFG(model, 1.5, negative=2)(x, T, COND)
    np.testing.assert_allclose(out.eps, 2.5 * c.eps - 1.5 * n.eps, atol=1e-14)


def test_several_conditions_have_their_own_weights(x64):
    model, x = network(), point()
    u, c0, c2 = (model(x, T, jnp.int32(k)) for k in (3, 0, 2))
    out = tfg.ComposedCFG(model, jnp.array([0.5, -1.4]), 2)(x, T, jnp.array([0, 2]))
    np.testing.assert_allclose(out.eps, u.eps + 1.5 * (c0.eps - u.eps) - 0.4 * (c2.eps - u.eps), atol=1e-14)
    close(tfg.ComposedCFG(model, jnp.array([1.2]), 1)(x, T, COND[None]), tfg.CFG(model, 1.2)(x, T, COND))


def test_batched_and_single_branches_agree(x64):
    model, x = network(), point()
    for make in (
        lambda b: tfg.CFG(model, 2.0, batched=b), lambda b: tfg.APG(model, 2.0, batched=b),
        lambda b: tfg.PerpNeg(model, jnp.array([0, 2]), jnp.array([-1.0, 0.5]), num_others=2, batched=b),
    ):  # fmt: skip
        close(make(True)(x, T, COND), make(False)(x, T, COND), 1e-13)


def test_conditions_of_any_kind_with_a_negative_of_the_same(x64):
    """A network without classes: the condition is a pytree, None or a negative of the same structure."""

    def apply(params, x, t, cond):
        return jnp.sin(x) if cond is None else jnp.sin(x + cond["a"] * cond["b"])

    model = tfg.from_fn(apply, None, tfg.VPLinear(), prediction="eps", shape=(3,))
    x, cond = point(), {"a": jnp.ones(3), "b": jnp.asarray(0.5)}
    expected = 3.0 * jnp.sin(x + 0.5) - 2.0 * jnp.sin(x)
    np.testing.assert_allclose(tfg.CFG(model, 2.0)(x, T, cond).eps, expected, atol=1e-14)
    zero = {"a": jnp.zeros(3), "b": jnp.asarray(1.0)}
    np.testing.assert_allclose(tfg.CFG(model, 2.0, negative=zero)(x, T, cond).eps, expected, atol=1e-14)


def test_apg_projects_bounds_and_remembers(x64):
    model, x = network(), point()
    c, u = model(x, T, COND).x0, model(x, T, None).x0
    close(tfg.APG(model, 1.7, eta=1.0, momentum=None)(x, T, COND), tfg.CFG(model, 1.7)(x, T, COND))
    across = tfg.APG(model, 1.7, momentum=None)(x, T, COND).x0 - c
    assert abs(across @ c) < 1e-12 and np.linalg.norm(across) <= 1.7 * np.linalg.norm(c - u)
    bounded = tfg.APG(model, 1.7, radius=0.1, momentum=None)(x, T, COND).x0 - c
    np.testing.assert_allclose(np.linalg.norm(bounded), 1.7 * 0.1 * np.linalg.norm(across) / (
        1.7 * np.linalg.norm(c - u)), rtol=1e-12)  # fmt: skip
    before = jnp.asarray([0.3, -0.2, 0.5])
    out = tfg.APG(model, 1.7, eta=0.4).at((before, None))(x, T, COND)
    d = c - u - 0.5 * before
    along = (d @ c) / (c @ c) * c
    np.testing.assert_allclose(out.x0, c + 1.7 * (d - along + 0.4 * along), atol=1e-12)
    np.testing.assert_allclose(out.memory[0], d, atol=1e-14)
    off = tfg.APG(model, 0.0, space="eps", batched=False)(x, T, COND)
    np.testing.assert_array_equal(off.eps, model(x, T, COND).eps)


def test_rescaling_brings_back_the_conditional_spread(x64):
    model, x = network(), point()
    level = model.schedule.level(T)
    close(tfg.RescaledCFG(model, 3.0, phi=0.0)(x, T, COND), tfg.CFG(model, 3.0)(x, T, COND))
    full = tfg.RescaledCFG(model, 3.0, phi=1.0, space="eps")(x, T, COND).eps
    np.testing.assert_allclose(full.std(), model(x, T, COND).eps.std(), rtol=1e-12)
    default = read(tfg.RescaledCFG(model, 3.0)(x, T, COND), level, "v")
    plain, cond = (read(m(x, T, COND), level, "v") for m in (tfg.CFG(model, 3.0), model))
    np.testing.assert_allclose(default, (0.7 * cond.std() / plain.std() + 0.3) * plain, rtol=1e-10)
    flat = tfg.from_fn(_flat, None, tfg.VPLinear(), prediction="eps", shape=(3,), num_classes=1, null_cond=1)
    gradient = jax.grad(lambda x: tfg.RescaledCFG(flat, 1.0, space="eps")(x, T, jnp.int32(0)).x0.sum())(x)
    assert np.isfinite(gradient).all()


def _flat(params, x, t, cond):
    return jnp.ones_like(x)


def test_dynamic_thresholding_is_per_sample_and_keeps_the_pair(x64):
    model, x = network(), 4.0 * point()
    x0 = np.asarray(model(x, T, COND).x0)
    level = model.schedule.level(T)
    out = tfg.DynamicThresholding(model, 0.8)(x, T, COND)
    bound = max(np.quantile(np.abs(x0), 0.8), 1.0)
    assert bound > 1.0
    np.testing.assert_allclose(out.x0, np.clip(x0, -bound, bound) / bound, atol=1e-12)
    np.testing.assert_allclose(level.alpha * out.x0 + level.sigma * out.eps, x, atol=1e-12)
    np.testing.assert_allclose(tfg.DynamicThresholding(model, 0.8, 1.0)(x, T, COND).x0, np.clip(x0, -1, 1), atol=1e-12)
    both = jax.vmap(lambda x: tfg.DynamicThresholding(model, 0.8)(x, T, COND).x0)(jnp.stack([x, 30.0 * x]))
    np.testing.assert_allclose(both[0], out.x0, atol=1e-12)


def test_perp_neg_moves_across_the_main_direction_alone(x64):
    model, x = network(), point()
    u, main, other = (model(x, T, jnp.int32(k)).eps for k in (3, 1, 0))
    away = tfg.PerpNeg(model, jnp.array([0]), jnp.array([-0.8]), w=1.5)(x, T, COND).eps
    shift = away - tfg.CFG(model, 1.5)(x, T, COND).eps
    y, d = main - u, other - u
    np.testing.assert_allclose(shift, -0.8 * 2.5 * (d - (d @ y) / (y @ y) * y), atol=1e-12)
    assert abs(shift @ y) < 1e-12
    same = tfg.PerpNeg(model, jnp.array([1]), jnp.array([-0.8]), w=1.5)(x, T, COND)
    close(same, tfg.CFG(model, 1.5)(x, T, COND))
    flat = tfg.from_fn(_flat, None, tfg.VPLinear(), prediction="eps", shape=(3,), num_classes=2, null_cond=2)
    assert np.isfinite(tfg.PerpNeg(flat, jnp.array([1]), jnp.array([-1.0]))(x, T, jnp.int32(0)).x0).all()


def test_cfg_zero_star_scales_the_unconditional_velocity_and_stands_still_first(x64):
    model, x = network(tfg.RectifiedFlow(), "velocity"), point()
    level = model.schedule.level(T)
    c, u = (read(model(x, T, k), level, "velocity") for k in (COND, None))
    out = tfg.CFGZeroStar(model, 1.5)(x, T, COND)
    np.testing.assert_allclose(read(out, level, "velocity"), 2.5 * c - 1.5 * (c @ u) / (u @ u) * u, atol=1e-12)
    still = tfg.CFGZeroStar(model, 1.5).at((jnp.int32(0), None))(x, T, COND)
    np.testing.assert_allclose(still.x0, x, atol=1e-14)
    np.testing.assert_allclose(still.eps, x, atol=1e-14)
    assert still.memory[0] == 1
    close(tfg.CFGZeroStar(model, 1.5).at((jnp.int32(1), None))(x, T, COND), out)


def test_autoguidance_extrapolates_from_the_weaker_model(x64):
    model, weak, x = network(), network(seed=4), point()
    for cond in (COND, None):
        good, bad = model(x, T, cond), weak(x, T, cond)
        out = tfg.Autoguidance(model, weak, w=1.1)(x, T, cond)
        np.testing.assert_allclose(out.eps, bad.eps + 2.1 * (good.eps - bad.eps), atol=1e-14)
    same_bits(tfg.Autoguidance(model, weak, w=None)(x, T, COND), model(x, T, COND))


def test_cfgpp_pairs_the_guided_estimate_with_the_unconditional_noise(x64):
    model, x = network(), point()
    out = tfg.CFGPlusPlus(model, 0.6)(x, T, COND)
    np.testing.assert_allclose(out.x0, tfg.CFG(model, 0.6 - 1.0)(x, T, COND).x0, atol=1e-12)
    np.testing.assert_array_equal(out.eps, tfg.CFG(model, -1.0)(x, T, COND).eps)


def test_temperature_scales_the_score(x64):
    model, x = network(), point()
    np.testing.assert_allclose(tfg.LowTemperature(model, 0.5)(x, T, COND).eps, 2.0 * model(x, T, COND).eps, atol=1e-14)


def test_transforms_nest(x64):
    """Guidance of guidance: without a condition a guided model is the plain one, so weights multiply."""
    model, x = network(), point()
    nested = tfg.CFG(tfg.CFG(model, 0.5), 1.0)
    close(nested(x, T, COND), tfg.CFG(model, 1.5 * 2.0 - 1.0)(x, T, COND))
    assert nested.calls(T, True) == 3 and nested.calls(None, True) == 3
    weak = tfg.CFG(network(seed=4), 0.5)
    out = tfg.DynamicThresholding(tfg.Autoguidance(tfg.CFG(model, 0.5), weak, 1.0))
    assert out.calls(T, True) == 4 and isinstance(out, tfg.Model) and np.isfinite(out(x, T, COND).x0).all()
    apg = tfg.APG(tfg.APG(model, 0.5), 1.0)
    memory = apg.begin(x)
    moved = apg.at(memory)(x, T, COND).memory
    assert jax.tree.structure(moved) == jax.tree.structure(memory)
