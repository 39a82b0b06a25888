"""The classifier inside a conditional model with a null condition (Ho & Salimans 2022, arXiv 2207.12598, section 3.2).

    p(c | x_t) ~ p(x_t | c) / p(x_t),        grad log p(c | x_t) = -(eps(x_t, c) - eps(x_t)) / sigma

`CFG(model, w)` is classifier guidance of the conditional model with it at strength w. Of a learned network the field is
in general no gradient, so no log-probability is given. Cost: 2 network forwards, in one batched call.
"""

from __future__ import annotations

from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax.checks import check_number
from tfg_jax.denoiser import Model
from tfg_jax.guidance.classifier_free.base import branches_of, level_of
from tfg_jax.kinds import public


@public
def implicit_classifier_score(
    model: Model, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree
) -> Float[Array, "*shape"]:
    """``grad_x log p(cond | x_t)`` of the classifier implied by a model, of one sample.

    Args:
        model: a conditional model with a null condition.
        x: the noisy sample at time t in (0, 1].
        cond: its condition.

    Raises:
        ValueError: cond is None, or the model has no null condition.
    """
    check_number("t", t, low=0.0, high=1.0, strict=True)
    if cond is None:
        raise ValueError("cond=None, but the classifier's score is that of a condition; pass one")
    if model.num_classes is not None and model.null_cond is None:
        raise ValueError("model has no null condition; marginalize its classes: Marginalized(model, log_posterior)")
    towards, away = branches_of(model, x, t, (cond, None), True)
    return (away.eps - towards.eps) / level_of(model, x, t).sigma
