"""The unconditional prediction of a model that knows only conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.declare import child
from tfg_jax.denoiser import Denoised, Model
from tfg_jax.guidance.classifier_free.base import Transform, level_of
from tfg_jax.schedules import Level


@struct.dataclass
class Marginalized(Transform):
    """The unconditional prediction of a model that knows only conditions: the mean over its classes.

        score(x_t) = sum_k p(k | x_t) score(x_t | k),       from p(x_t) = sum_k p(k) p(x_t | k)

    The posterior p(k | x_t) is what the conditional scores do not tell; give a classifier of noisy samples (as
    `tfg_jax.objectives.NoisyClassifier`), which is not counted as a network. Acts alike in every space.
    Cost of an unconditional evaluation, and of a guided one: 1 network forward a class, in one batched call.
    Source: Ho & Salimans 2022 (arXiv 2207.12598), section 5.

    Cite: CFG
    """

    model: Model = child(help="a model of K classes; it needs no null condition")
    log_posterior: Callable[[Array, Level], Array] = child(
        help="(x, level) -> (K,), log p(k | x_t) up to a constant, such as logits; a pytree"
    )

    def check_settings(self) -> None:
        """Raise ValueError for a model without classes."""
        if self.num_classes is None or self.cond_shape != ():
            raise ValueError("model has no classes to marginalize; give a class-conditional model")

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for what does not fit the run; the model inside always has a condition."""
        self.model.check(True, num_samples)

    @property
    def null_cond(self) -> int | None:
        """One past the classes; it stands for their mean."""
        return self.model.num_classes

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """One class, or all of them."""
        return self.model.calls(t, True) * (1 if conditional else self.num_classes or 1)

    def branch_calls(self, t: ArrayLike | None, given: Sequence[bool]) -> int | Array:
        """All classes serve every branch."""
        return self.calls(t, all(given)) * (len(given) if all(given) else 1)

    def branches(self, x: Array, t: ArrayLike, conds: Sequence[PyTree]) -> list[Denoised]:
        """The branches of several conditions, of which None is the mean."""
        if all(cond is not None for cond in conds):
            return [self.model(x, t, cond) for cond in conds]
        every = jax.vmap(lambda k: self.model(x, t, k))(jnp.arange(self.num_classes, dtype=jnp.int32))
        share = jax.nn.softmax(self.log_posterior(x, level_of(self.model, x, t))).astype(x.dtype)
        pick = lambda k: jax.tree.map(lambda leaf: leaf[k], every)  # noqa: E731
        mean = lambda leaf: jnp.tensordot(share, leaf, axes=1)  # noqa: E731
        return [Denoised(mean(every.x0), mean(every.eps)) if cond is None else pick(cond) for cond in conds]

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The conditional estimate; without a condition the mean over the classes."""
        return self.branches(x, t, (cond,))[0]
