"""Minimize the loss of one sample with any optax optimizer, and stop when it is done.

Under a vmap all samples of a chunk are computed until the last is done, so a sample that is done is given a loss
without gradient: its line search then ends at once and never holds up the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import loops
from tfg_jax.result import NON_FINITE, OK, Status, status_code


class Optimum(NamedTuple):
    """Where the descent ended.

    ``variable`` is the last finite one within the bound of `tfg_jax.result.LARGEST`, ``value`` its loss;
    ``evaluations`` counts losses with their gradient as computed under a vmap (the values alone of a backtracking
    search are counted whole), ``iterations`` the optimizer's updates; ``still`` says that the loss had no gradient to
    begin with; ``status.step`` is the iteration that went non-finite or beyond the bound.
    """

    variable: Array
    value: Array
    status: Status
    evaluations: Array
    iterations: Array
    still: Array


class _Carry(NamedTuple):
    z: Array
    value: Array
    grad: Array
    state: Any
    done: Array
    code: Array
    evaluations: Array
    iterations: Array


def lbfgs(line_search: int) -> optax.GradientTransformationExtraArgs:
    """optax's L-BFGS with at most ``line_search`` evaluations an iteration."""
    zoom = optax.scale_by_zoom_linesearch(max_linesearch_steps=line_search, initial_guess_strategy="one")
    return optax.lbfgs(linesearch=zoom)


def minimize(
    loss: Callable[[Array], Array], start: Array, optimizer: Any, iterations: int, tolerance: ArrayLike,
    rate: ArrayLike | None = None,
) -> Optimum:  # fmt: skip
    """At most ``iterations`` updates from ``start``.

    Args:
        loss: of the variable, a scalar.
        start: the first variable.
        optimizer: any optax optimizer; one with a line search that keeps its value and gradient (as L-BFGS does) is not
            evaluated twice.
        iterations: upper bound, >= 1.
        tolerance: stops when the root mean square of the gradient is not above it; 0 stops only where it vanishes.
        rate: scales the updates of an optimizer without a line search; None leaves them as they are.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    if _line_search(jax.eval_shape(optimizer.init, start)) is not None and rate is not None:
        raise ValueError("rate has no effect on an optimizer with a line search, which finds its step; drop rate")

    # An objective of another precision must not change the variable's.
    typed = lambda z: loss(z.astype(start.dtype)).astype(start.dtype)  # noqa: E731

    @jax.custom_vjp
    def guarded(z: Array, done: Array) -> Array:
        return jnp.where(done, 0.0, typed(z))

    def forward(z: Array, done: Array) -> tuple[Array, Array]:
        value, grad = jax.value_and_grad(typed)(z)
        return jnp.where(done, 0.0, value), jnp.where(done, 0.0, grad)

    guarded.defvjp(forward, lambda grad, cotangent: (cotangent * grad, None))

    def ended(z: Array, value: Array, grad: Array) -> tuple[Array, Array]:
        code = jnp.where(jnp.isfinite(value) & jnp.all(jnp.isfinite(grad)), status_code(z), NON_FINITE)
        return code, (code != OK) | (jnp.sqrt(jnp.mean(grad**2)) <= tolerance)

    def body(carry: _Carry) -> _Carry:
        fn = lambda z: guarded(z, carry.done)  # noqa: E731
        grad = jnp.where(carry.done, 0.0, carry.grad)
        value = jnp.where(carry.done, 0.0, carry.value)
        updates, state = optimizer.update(grad, carry.state, carry.z, value=value, grad=grad, value_fn=fn)
        if rate is not None:
            updates = (rate * updates).astype(carry.z.dtype)
        z: Any = optax.apply_updates(carry.z, updates)
        search: Any = _line_search(state)
        searched = 0 if search is None else jnp.asarray(search.info.num_linesearch_steps, jnp.int32)
        if search is not None and _is_zoom(search):
            value, grad = search.value.astype(carry.value.dtype), search.grad
            calls = 2 * searched  # its two branches, both computed under a vmap
        else:
            value, grad = jax.value_and_grad(fn)(z)
            calls = 1 + searched
        code, done = ended(z, value, grad)
        still = jnp.all(z == carry.z)
        keep = lambda new, old: jnp.where(code == OK, new, old)  # noqa: E731
        return _Carry(
            z=keep(z, carry.z), value=keep(value, carry.value), grad=keep(grad, carry.grad), state=state,
            done=done | still, code=code.astype(jnp.int32), evaluations=carry.evaluations + calls,
            iterations=carry.iterations + 1,
        )  # fmt: skip

    value, grad = jax.value_and_grad(typed)(start)
    code, done = ended(start, value, grad)
    still = jnp.all(grad == 0)
    carry = _Carry(
        z=start, value=value, grad=grad, state=optimizer.init(start), done=done, code=code.astype(jnp.int32),
        evaluations=jnp.asarray(1, jnp.int32), iterations=jnp.asarray(0, jnp.int32),
    )  # fmt: skip
    carry = loops.while_loop(lambda c: (c.iterations < iterations) & ~c.done, body, carry)
    step = jnp.where(carry.code == OK, -1, jnp.maximum(carry.iterations - 1, 0))
    return Optimum(carry.z, carry.value, Status(carry.code, step), carry.evaluations, carry.iterations, still)


def _line_search(state: Any) -> Any:
    """The state of a line search inside an optimizer's state, if there is one."""
    is_search = lambda node: hasattr(node, "info") and hasattr(node, "grad")  # noqa: E731
    search = next((node for node in jax.tree.leaves(state, is_leaf=is_search) if is_search(node)), None)
    if search is not None and search.grad is not None and not _is_zoom(search):
        raise ValueError("optimizer has a backtracking line search with store_grad=True; make it with store_grad=False")
    return search


def _is_zoom(search: Any) -> bool:
    """Whether the line search keeps the gradient at its end, as the zoom search of L-BFGS does."""
    return search is not None and hasattr(search.info, "curvature_error")
