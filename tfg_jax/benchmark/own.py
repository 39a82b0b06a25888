"""Tasks of the TFG paper that are no task of the library yet: attributes, styles, and its energy of properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfg_jax import metrics, struct
from tfg_jax.checks import safe_norm
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.objectives.base import as_objective
from tfg_jax.objectives.inverse import gaussian_log_likelihood
from tfg_jax.tasks.base import Method, OwnTask
from tfg_jax.tasks.qm9.task import MoleculeTask


@struct.dataclass
class Attributes:
    """The sum of several classifiers' log-probabilities, one class each.

    Attributes:
        classifiers: of clean samples.
    """

    classifiers: tuple[Any, ...]

    def __call__(self, x0: Float[Array, "*shape"], target: Int[Array, " k"]) -> Float[Array, ""]:
        """x0: one sample. target: the class of each."""
        each = [jax.nn.log_softmax(one(x0))[target[i]] for i, one in enumerate(self.classifiers)]
        return jnp.sum(jnp.stack(each))


@struct.dataclass
class AttributeTask(OwnTask):
    """Several attributes at once, each by a guide and an evaluator of its own: targets are (m, k) classes."""

    @classmethod
    def of(cls, model: Any, guides: tuple, evaluators: tuple, wanted: Any, **fields: Any) -> AttributeTask:
        """Of one classifier an attribute that guides, and one that scores, which should be another."""
        return cls(model, as_objective(Attributes(guides)), wanted, score=AttributeScores(evaluators), **fields)


@struct.dataclass
class AttributeScores:
    """Of every sample the share of its attributes that are right, which the paper averages, and whether all are.

    Attributes:
        classifiers: one an attribute.
    """

    classifiers: tuple[Any, ...]

    def __call__(self, x: Float[AnyArray, "n *shape"], targets: Int[AnyArray, "n k"]) -> Mapping[str, Any]:
        """x: samples. targets: the class of each attribute."""
        logits = [metrics.classify(network, x) for network in self.classifiers]
        right = [metrics.correct(each, np.asarray(targets)[:, i]) for i, each in enumerate(logits)]
        return {"attribute_accuracy": np.mean(right, 0), "all_attributes": np.all(right, 0).astype(float)}


@struct.dataclass
class StyleEnergy:
    """``-||G(x) - G(style)||_F / 100`` with ``G = F^T F`` of features F of tokens.

    Attributes:
        features: ``x0 -> (tokens, channels)``, decoder included where x0 is a latent.
    """

    features: Any

    def __call__(self, x0: Float[Array, "*shape"], target: Float[Array, "tokens channels"]) -> Float[Array, ""]:
        """x0: one sample. target: features of the style's image."""
        return -style_distance(self.features(x0), target) / 100.0


def style_distance(a: Float[Array, "m c"], b: Float[Array, "n c"]) -> Float[Array, ""]:
    """Frobenius norm of the difference of Gram matrices."""
    return safe_norm(a.T @ a - b.T @ b)


@struct.dataclass
class StyleTask(OwnTask):
    """Samples in the style of pictures: targets are (m, tokens, channels) features of these."""

    @classmethod
    def of(cls, model: Any, features: Any, evaluator: Any, wanted: Any, **fields: Any) -> StyleTask:
        """Of features that guide, and of others that score; None takes those that guide, with a note."""
        score = StyleScores(features if evaluator is None else evaluator, evaluator is None)
        return cls(model, as_objective(StyleEnergy(features)), wanted, score=score, **fields)

    def notes(self) -> list[str]:
        """That guidance is scored by its own features, if it is."""
        return ["styles are scored by the features that guided"] * getattr(self.score, "guided", False)


@struct.dataclass
class StyleScores:
    """Minus the energy of every sample.

    Attributes:
        features: as of `StyleEnergy`.
        guided: whether they guided, too.
    """

    features: Any
    guided: bool = struct.field(pytree_node=False)

    def __call__(self, x: Float[AnyArray, "n *shape"], targets: Float[AnyArray, "n tokens c"]) -> Mapping[str, Any]:
        """x: samples. targets: features of the picture that each was asked for."""
        return {"style_distance": np.asarray(_style_distances(self.features, x, targets)) / 100.0}


@jax.jit
def _style_distances(features: Any, x: Array, styles: Array) -> Array:
    return jax.vmap(lambda one, style: style_distance(features(one), style))(x, styles)


@struct.dataclass
class SquaredErrorTask(MoleculeTask):
    """Molecules by the paper's energy, minus the squared error in units of the data's mean absolute deviation."""

    def objective(self, method: Method) -> Any:
        """Twice the library's, whose strengths are for half the square."""
        half = MoleculeTask.objective(self, method)
        return gaussian_log_likelihood(half.operator, 0.5**0.5)
