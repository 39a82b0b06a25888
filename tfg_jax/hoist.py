"""A scan that computes before its loop what needs no carry.

The compiler leaves inside a loop on CPUs, and step by step everywhere, what a loop's body computes from constants and
from the step alone: weights cast to a lower precision or turned for a pullback, levels of a schedule. Here the body is
read as a program, and

    from constants alone                          is computed once, unless the result is larger than what it is made of
    from shared constants and the step, if scalar is computed for all steps together, ahead of the loop

What a sample has of its own is constant, but not shared: of that and the step, steps times samples would be held. The
numbers are those of ``jax.lax.scan`` to round-off, as of any other compilation.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun, jaxprs_in_params
from jaxtyping import PyTree

from tfg_jax import loops

OWN, STEP, CARRY = 1, 2, 4
"""What a value of the body depends on beside shared constants, as bits."""


def scan(
    body: Callable[[Any, Any, Any], tuple[PyTree, PyTree]], init: PyTree, xs: PyTree, own: PyTree
) -> tuple[PyTree, PyTree]:
    """As ``tfg_jax.loops.scan(lambda carry, x: body(carry, x, own), init, xs)``; a carry keeps its dtypes and shapes.

    Args:
        body: ``(carry, x, own) -> (carry, y)``.
        init: the first carry.
        xs: what each step is given, leaves (steps, ...), at least one.
        own: constants of one sample; what the body closes over is taken for shared by all samples.

    Returns:
        The last carry, and the y of every step, leaves (steps, ...).
    """
    init, xs = jax.tree.map(jnp.asarray, (init, xs))
    init = loops.settled(lambda carry: body(carry, loops.first(xs), own)[0], init)

    def same(carry: PyTree, x: PyTree, own: PyTree) -> tuple[PyTree, PyTree]:
        after, out = body(carry, x, own)
        return loops.like(after, carry), out

    program, shape = jax.make_jaxpr(same, return_shape=True)(init, loops.first(xs), own)
    jaxpr, flat = program.jaxpr, [jax.tree.leaves(each) for each in (init, xs, own)]
    names = iter(jaxpr.invars)
    of_carry, of_step, of_own = ([next(names) for _ in leaves] for leaves in flat)
    depends = dict.fromkeys(jaxpr.constvars, 0) | dict.fromkeys(of_own, OWN)
    depends |= dict.fromkeys(of_step, STEP) | dict.fromkeys(of_carry, CARRY)
    once: list[JaxprEqn] = []
    ahead: list[JaxprEqn] = []
    inside: list[JaxprEqn] = []
    for eqn in jaxpr.eqns:
        kind = _kind(eqn, depends)
        (once if not kind & (STEP | CARRY) else ahead if kind == STEP else inside).append(eqn)
        depends.update(dict.fromkeys(eqn.outvars, kind))

    read_inside = {var for eqn in inside for var in _inputs(eqn)}
    read_inside.update(var for var in jaxpr.outvars if not isinstance(var, Literal))
    read_ahead = {var for eqn in ahead for var in _inputs(eqn)}
    of_once = [var for eqn in once for var in eqn.outvars if var in read_inside | read_ahead]
    of_ahead = [var for eqn in ahead for var in eqn.outvars if var in read_inside]

    constants = [*program.consts, *flat[2]]
    constants += _part(jaxpr, once, [*jaxpr.constvars, *of_own], of_once)(*constants)
    of_constants = [*jaxpr.constvars, *of_own, *of_once]
    per_step = _part(jaxpr, ahead, [*of_constants, *of_step], of_ahead)
    known = jax.vmap(lambda *step: per_step(*constants, *step))(*flat[1]) if of_ahead else []
    step = _part(jaxpr, inside, [*of_constants, *of_carry, *of_step, *of_ahead], jaxpr.outvars)

    def loop(carry: PyTree, at: tuple[list, list]) -> tuple[PyTree, PyTree]:
        values = step(*constants, *jax.tree.leaves(carry), *at[0], *at[1])
        return jax.tree.unflatten(jax.tree.structure(shape), values)

    return jax.lax.scan(loop, init, (flat[1], known))


def _part(jaxpr: Jaxpr, eqns: list[JaxprEqn], given: list[Var], asked: list) -> Callable[..., list]:
    """Some of a program's equations as a function from values that they are given to values asked of them."""
    return jaxpr_as_fun(ClosedJaxpr(jaxpr.replace(constvars=[], invars=given, outvars=asked, eqns=eqns), []))


def _kind(eqn: JaxprEqn, depends: dict) -> int:
    """What an equation depends on, as bits; CARRY also where it is to stay inside for another reason."""
    kind = functools.reduce(operator.or_, (depends[var] for var in _inputs(eqn)), 0)
    size, size_in = (sum(getattr(var.aval, "size", 1) for var in each) for each in (eqn.outvars, _inputs(eqn)))
    if kind & CARRY or eqn.effects:
        return CARRY
    if kind & STEP:
        return STEP if kind == STEP and size == len(eqn.outvars) and _maps_well(eqn) else CARRY
    return kind if size <= size_in else CARRY


def _maps_well(eqn: JaxprEqn) -> bool:
    """Whether an equation mapped over the steps does the same: a branch would become a choice between both sides."""
    if "callback" in eqn.primitive.name or "rng" in eqn.primitive.name or any(map(_is_hardware_key, eqn.invars)):
        return False
    inner = list(jaxprs_in_params(eqn.params))
    opaque = inner and eqn.primitive.name not in ("jit", "pjit", "custom_jvp_call")
    return not opaque and all(_maps_well(each) for jaxpr in inner for each in jaxpr.eqns)


def _is_hardware_key(atom: Any) -> bool:
    """Whether a random key draws otherwise under a vmap, which Threefry's alone do not."""
    dtype: Any = getattr(atom.aval, "dtype", None)
    return jnp.issubdtype(dtype, jax.dtypes.prng_key) and "fry" not in str(dtype)


def _inputs(eqn: JaxprEqn) -> list[Var]:
    return [var for var in eqn.invars if not isinstance(var, Literal)]
