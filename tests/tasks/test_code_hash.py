"""Functions are told apart by their text and by what is bound in them, alike in every process."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.tasks.code import code_hash, wiring_hash


def near(x0, target, k):
    return -k * jnp.sum((x0 - target) ** 2)


def closed(k):
    def objective(x0, target):
        return near(x0, target, k)

    return objective


def default(x0, target, k=1.0):
    return near(x0, target, k)


class Scale:
    def __init__(self, k):
        self.k = k

    def __call__(self, x0, target):
        return near(x0, target, self.k)

    def method(self, x0, target):
        return near(x0, target, self.k)


FORMS: list[Any] = [
    lambda k: functools.partial(near, k=k),
    lambda k: functools.partial(near, jnp.zeros(2), k=np.full(2, k)),
    closed,
    Scale,
    lambda k: Scale(k).method,
    lambda k: jax.jit(closed(k)),
    lambda k: closed({"k": [k, functools.partial(near, k=k)]}),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_bound_tells_functions_apart(form):
    assert code_hash(form(1.0)) == code_hash(form(1.0)) != code_hash(form(2.0))


def test_text_tells_them_apart_and_wrapping_does_not():
    assert len({*map(code_hash, (near, default, closed, Scale, closed(1.0)))}) == 5
    assert code_hash(jax.jit(default)) == code_hash(default)

    def endless(n):
        return endless(n - 1)

    assert code_hash(endless) == code_hash(endless)


def test_a_network_is_known_by_its_wiring_too():
    model: Any = tfg.analytic.gaussian([0.0, 0.0], np.eye(2)).denoiser(tfg.VPCosine())
    others = [
        model.replace(prediction="x0"),
        model.replace(schedule=tfg.VPLinear()),
        model.replace(apply=lambda params, x, t, cond: -x),
        model.replace(params=jax.tree.map(lambda leaf: leaf + 1, model.params)),
    ]
    assert len({*map(wiring_hash, (model, *others))}) == 5 and wiring_hash(model) == wiring_hash(model.replace())
