"""A scan that computes before its loop what needs no carry.

The compiler leaves inside a loop on CPUs, and step by step everywhere, what a loop's body computes from constants and
from the step alone: weights cast to a lower precision or turned for a pullback, levels of a schedule, random keys. Here
the body is read as a program, and

    from constants alone                        is computed once, unless the result is larger than what it is made of
    from constants and the step, if scalar      is computed for all steps together, ahead of the loop

The numbers are those of ``jax.lax.scan`` to round-off, as of any other compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun, jaxprs_in_params
from jaxtyping import PyTree

CONSTANT, STEP, CARRY = range(3)
"""What a value of the body depends on: constants, the step as well, the carry as well."""


def scan(body: Callable[[Any, Any], tuple[PyTree, PyTree]], init: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
    """As ``jax.lax.scan(body, init, xs)``; a carry must come back as it went in, in dtype and shape.

    Args:
        body: ``(carry, x) -> (carry, y)``.
        init: the first carry.
        xs: what each step is given, leaves (steps, ...), at least one.

    Returns:
        The last carry, and the y of every step, leaves (steps, ...).
    """
    init, xs = jax.tree.map(jnp.asarray, (init, xs))
    program, shape = jax.make_jaxpr(body, return_shape=True)(init, jax.tree.map(lambda a: a[0], xs))
    jaxpr, count = program.jaxpr, len(jax.tree.leaves(init))
    of_carry, of_step = jaxpr.invars[:count], jaxpr.invars[count:]
    depends = dict.fromkeys(jaxpr.constvars, CONSTANT) | dict.fromkeys(of_step, STEP) | dict.fromkeys(of_carry, CARRY)
    stages: tuple[list[JaxprEqn], ...] = ([], [], [])
    for eqn in jaxpr.eqns:
        stage = _stage(eqn, depends)
        stages[stage].append(eqn)
        depends.update(dict.fromkeys(eqn.outvars, stage))

    outputs = [var for var in jaxpr.outvars if not isinstance(var, Literal)]
    last = {var for eqn in stages[CARRY] for var in _inputs(eqn)}.union(outputs)
    middle = {var for eqn in stages[STEP] for var in _inputs(eqn)}
    once = [var for eqn in stages[CONSTANT] for var in eqn.outvars if var in last | middle]
    ahead = [var for eqn in stages[STEP] for var in eqn.outvars if var in last]

    constants = [*program.consts, *_part(jaxpr, stages[CONSTANT], jaxpr.constvars, once)(*program.consts)]
    of_constants = [*jaxpr.constvars, *once]
    per_step = _part(jaxpr, stages[STEP], [*of_constants, *of_step], ahead)
    known = jax.vmap(lambda *step: per_step(*constants, *step))(*jax.tree.leaves(xs)) if ahead else []
    rest = _part(jaxpr, stages[CARRY], [*of_constants, *of_carry, *of_step, *ahead], jaxpr.outvars)

    def loop(carry: PyTree, at: tuple[PyTree, list]) -> tuple[PyTree, PyTree]:
        step, known = at
        return jax.tree.unflatten(
            jax.tree.structure(shape), rest(*constants, *jax.tree.leaves(carry), *jax.tree.leaves(step), *known)
        )

    return jax.lax.scan(loop, init, (xs, known))


def _part(jaxpr: Jaxpr, eqns: list[JaxprEqn], given: list[Var], asked: list) -> Callable[..., list]:
    """Some of a program's equations as a function from values that they are given to values asked of them."""
    return jaxpr_as_fun(ClosedJaxpr(jaxpr.replace(constvars=[], invars=given, outvars=asked, eqns=eqns), []))


def _stage(eqn: JaxprEqn, depends: dict) -> int:
    stage = max((depends[var] for var in _inputs(eqn)), default=CARRY)
    if eqn.effects:
        return CARRY
    size = sum(var.aval.size for var in eqn.outvars)
    if stage == CONSTANT:
        return CONSTANT if size <= sum(var.aval.size for var in _inputs(eqn)) else CARRY
    return STEP if stage == STEP and size == len(eqn.outvars) and _maps_well(eqn) else CARRY


def _maps_well(eqn: JaxprEqn) -> bool:
    """Whether an equation mapped over the steps does the same: a branch would become a choice between both sides."""
    inner = list(jaxprs_in_params(eqn.params))
    opaque = inner and eqn.primitive.name not in ("jit", "pjit", "custom_jvp_call")
    return not opaque and all(_maps_well(each) for jaxpr in inner for each in jaxpr.eqns)


def _inputs(eqn: JaxprEqn) -> list[Var]:
    return [var for var in eqn.invars if not isinstance(var, Literal)]
