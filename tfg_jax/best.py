"""Best of n: draw several candidates for each sample and keep the one a score prefers.

The score may be the guiding objective or any other log-weight of clean samples. Cost: n times that of `sample`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from tfg_jax.arguments import count_of
from tfg_jax.batch import in_chunks, map_samples, on_any_mesh
from tfg_jax.checks import check_count
from tfg_jax.denoiser import Model
from tfg_jax.domains.base import domain_of, shape_of
from tfg_jax.kinds import public
from tfg_jax.numbers import one_form
from tfg_jax.objectives.base import Objective, as_objective, at_door, log_weight, uses_cond
from tfg_jax.problem import check_reads
from tfg_jax.result import Cost, Samples
from tfg_jax.sample import sample


@public
def best_of_n(
    key: PRNGKeyArray,
    model: Model,
    *,
    n: int,
    num_samples: int | None = None,
    score: Objective | Callable[..., Array],
    target: PyTree = None,
    cond: PyTree = None,
    objective: Objective | Callable[..., Array] | None = None,
    index_offset: int = 0,
    **options: Any,
) -> Samples:
    """The best of ``n`` candidates for each of ``num_samples`` samples.

    Candidate j of sample i is global sample ``(index_offset + i) n + j``. A failed candidate never wins over a finished
    one.

    Args:
        key: root key.
        model: the diffusion or flow model.
        n: candidates a sample, >= 1.
        num_samples: samples kept; may be left out if target or cond say it.
        score: objective of clean samples by which candidates are judged; called with ``target``.
        target: leaves (num_samples, ...), given to the score and to the objective, if any.
        cond: (num_samples,) class of each sample, for conditional models.
        objective: what guidance ascends; None samples without guidance.
        index_offset: global index of the first sample kept.
        **options: as `tfg_jax.sample`; ``start`` and ``noise`` are not available here. ``chunk`` bounds scoring, too.

    Returns:
        `Samples` of the winners; ``cost`` counts all candidates, ``info["score"]`` holds (num_samples, n) scores.

    Raises:
        ValueError: bad counts, or an option that best-of-n cannot take.
    """
    check_count("n", n)
    num_samples = count_of(num_samples, cond, target)
    check_count("num_samples", num_samples)
    for name in ("start", "noise"):
        if options.get(name) is not None:
            raise ValueError(f"{name} cannot be shared by n={n} candidates; call tfg_jax.sample and choose yourself")
    score = as_objective(score)
    score.check(target, num_samples, shape_of(model))
    check_reads("score", *at_door(score, domain_of(model), target, cond), model.shape)
    repeat = lambda tree: on_any_mesh(partial(_repeat, n=n), tree)(tree)  # noqa: E731
    drawn = sample(
        key, model, num_samples=num_samples * n, cond=repeat(cond), objective=objective,
        target=repeat(target) if objective is not None else None, index_offset=index_offset * n, **options,
    )  # fmt: skip
    candidates = {"x": drawn.x, "target": repeat(target), "cond": repeat(cond) if uses_cond(score) else None}
    dtype = jax.tree.leaves(drawn.x)[0].dtype
    values = in_chunks(_scored, (one_form(score, dtype),), candidates, options.get("chunk"))
    return on_any_mesh(partial(_choose, n=n), (drawn, values))((drawn, values))


@partial(jax.jit, static_argnames="n")
def _repeat(tree: PyTree, *, n: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, n, axis=0), tree)


@jax.jit
def _scored(score: Objective, candidates: dict) -> Float[Array, " candidates"]:
    values = map_samples(lambda one: log_weight(score, one["x"], one["target"], one["cond"]), candidates)
    if jnp.iscomplexobj(values):
        raise ValueError(f"score returns {values.dtype}, by which nothing is better; give a real number")
    return values


@partial(jax.jit, static_argnames="n")
def _choose(scored: tuple[Samples, Float[Array, " candidates"]], *, n: int) -> Samples:
    drawn, values = scored
    values = jnp.where(drawn.status.ok & jnp.isfinite(values), values, -jnp.inf).reshape(-1, n)
    winner = jnp.argmax(values, axis=1)

    def pick(leaf: Array) -> Array:
        grouped = leaf.reshape(-1, n, *leaf.shape[1:])
        return jnp.take_along_axis(grouped, winner.reshape(-1, *[1] * (grouped.ndim - 1)), axis=1)[:, 0]

    kept: Samples = jax.tree.map(pick, drawn)
    cost: Cost = jax.tree.map(lambda leaf: leaf.reshape(-1, n).sum(axis=1), drawn.cost)
    return Samples(kept.x, kept.status, cost, {**kept.info, "score": values})
