"""Tasks of the TFG paper that are no task of the library yet: attributes, styles, and its energy of properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfg_jax import metrics, struct
from tfg_jax.checks import check_count, safe_norm
from tfg_jax.metrics.intervals import AnyArray
from tfg_jax.objectives.base import as_objective
from tfg_jax.objectives.inverse import gaussian_log_likelihood
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.base import Method, Task
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
class AttributeTask(Task):
    """Several attributes at once, each by a guide and an evaluator of its own.

    Attributes:
        model: the diffusion model.
        guides, evaluators: one classifier an attribute; evaluators should not be the guides.
        wanted: (m, k) classes; sample i is asked for row i modulo m.
        sampler, clip, lookahead, window: as in `tfg_jax.sample`.
    """

    model: Any
    guides: tuple[Any, ...]
    evaluators: tuple[Any, ...]
    wanted: Any
    sampler: Any = DDIM()
    clip: Any = None
    lookahead: Any = None
    window: Any = None

    def objective(self, method: Method) -> Any:
        """The sum of the guides' log-probabilities."""
        return as_objective(Attributes(self.guides))

    def targets(self, n: int) -> np.ndarray:
        """Rows in turn."""
        return _in_turn(self.wanted, n)

    def bare(self) -> AttributeTask:
        """The task without its evaluators."""
        return dataclasses.replace(self, evaluators=())

    def scores(self, x: np.ndarray, targets: np.ndarray) -> Mapping[str, Any]:
        """Of every sample: the share of its attributes that are right, which the paper averages; whether all are."""
        right = [
            metrics.correct(metrics.classify(network, x), np.asarray(targets)[:, i])
            for i, network in enumerate(self.evaluators)
        ]
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
class StyleTask(Task):
    """Samples in the style of a picture.

    Attributes:
        model: the diffusion model, of latents as a rule, with its prompt inside.
        features: ``x0 -> (tokens, channels)``, of guidance.
        wanted: (m, tokens, channels) features of pictures; sample i is asked for picture i modulo m.
        sampler, clip, lookahead, window: as in `tfg_jax.sample`.
        evaluator: features that score; None takes those of guidance, with a note.
    """

    model: Any
    features: Any
    wanted: Any
    sampler: Any = DDIM()
    clip: Any = None
    lookahead: Any = None
    window: Any = None
    evaluator: Any = None

    def objective(self, method: Method) -> Any:
        """Minus the distance of Gram matrices."""
        return as_objective(StyleEnergy(self.features))

    def targets(self, n: int) -> np.ndarray:
        """Pictures in turn."""
        return _in_turn(self.wanted, n)

    def bare(self) -> StyleTask:
        """The task without what only scores."""
        return dataclasses.replace(self, evaluator=None)

    def notes(self) -> list[str]:
        """That guidance is evaluator by its own features, if it is."""
        return ["styles are scored by the features that guided"] if self.evaluator is None else []

    def scores(self, x: np.ndarray, targets: np.ndarray) -> Mapping[str, Any]:
        """Minus the energy of every sample, by the features that score."""
        features = self.features if self.evaluator is None else self.evaluator
        distance = jax.jit(jax.vmap(lambda one, style: style_distance(features(one), style)))
        return {"style_distance": np.asarray(distance(jnp.asarray(x), jnp.asarray(targets))) / 100.0}


@struct.dataclass
class SquaredErrorTask(MoleculeTask):
    """Molecules by the paper's energy, minus the squared error in units of the data's mean absolute deviation."""

    def objective(self, method: Method) -> Any:
        """Twice the library's, whose strengths are for half the square."""
        half = MoleculeTask.objective(self, method)
        return gaussian_log_likelihood(half.operator, 0.5**0.5)


def _in_turn(wanted: AnyArray, n: int) -> np.ndarray:
    check_count("num_samples", n)
    return np.asarray(wanted)[np.arange(n) % len(wanted)]
