"""Mixtures of Gaussians, and the ideal networks of their denoisers.

    p(x0) = sum_k w_k N(m_k, U_k diag(l_k) U_k^T)         x_t = alpha x0 + sigma eps

Adding noise keeps every component's axes U_k and turns l_k into ``alpha^2 l_k + sigma^2``, so in these axes all of the
formulas are per coordinate, without a matrix inverse, and stay accurate as sigma goes to 0. A Gaussian is a mixture of
one component. All functions are of one sample x (D,), in the precision of their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, PRNGKeyArray, PyTree

from tfg_jax import ode, struct
from tfg_jax.checks import (
    check_number,
    check_numbers,
    check_steps,
    readable,
    real_parts,
)
from tfg_jax.constructors import from_fn
from tfg_jax.denoiser import Denoised, Denoiser, Prediction, path_velocity, unit_time
from tfg_jax.kinds import public
from tfg_jax.noise import root_key
from tfg_jax.schedules import Level, Schedule

FLOW_STEPS = 512
"""Runge-Kutta steps of a mixture's flow map."""


@struct.dataclass
class Mixture:
    """A mixture of K Gaussians in D dimensions; build it with `gaussian` or `mixture`.

    Attributes:
        log_weights: logarithms of the weights, which sum to 1.
        means: component means.
        variances: of each component along its axes, > 0; 0 across the subspace of `in_subspace`.
        axes: orthonormal axes of each component, in columns.
    """

    log_weights: Float[Array, " K"]
    means: Float[Array, "K D"]
    variances: Float[Array, "K D"]
    axes: Float[Array, "K D D"]

    @property
    def weights(self) -> Float[Array, " K"]:
        """Component weights."""
        return jnp.exp(self.log_weights)

    @property
    def covs(self) -> Float[Array, "K D D"]:
        """Component covariances."""
        return jnp.einsum("kij,kj,klj->kil", self.axes, self.variances, self.axes)

    @property
    def mean(self) -> Float[Array, " D"]:
        """Mean of the whole mixture."""
        return self.weights @ self.means

    @property
    def cov(self) -> Float[Array, "D D"]:
        """Covariance of the whole mixture."""
        offsets = self.means - self.mean
        return jnp.einsum("k,kij->ij", self.weights, self.covs + offsets[:, :, None] * offsets[:, None, :])

    def joint_log_prob(self, x: Float[Array, " D"]) -> Float[Array, " K"]:
        """``log p(component, x)``."""
        return self.log_weights - 0.5 * jnp.sum(
            self._along_axes(x) ** 2 / self.variances + jnp.log(2.0 * jnp.pi * self.variances), axis=-1
        )

    def log_prob(self, x: Float[Array, " D"]) -> Float[Array, ""]:
        """``log p(x)``."""
        return jax.nn.logsumexp(self.joint_log_prob(x))

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n D"]:
        """``n`` independent samples."""
        key_component, key_normal = jax.random.split(root_key(key))
        k = jax.random.categorical(key_component, self.log_weights, shape=(n,))
        z = jax.random.normal(key_normal, (n, self.means.shape[1]), self.means.dtype)
        return self.means[k] + jnp.einsum("nij,nj->ni", self.axes[k], jnp.sqrt(self.variances[k]) * z)

    def noisy(self, level: Level) -> Mixture:
        """The distribution of ``x_t = alpha x0 + sigma eps`` at a level."""
        return Mixture(
            self.log_weights, level.alpha * self.means, level.alpha**2 * self.variances + level.sigma**2, self.axes
        )

    def given(self, x: Float[Array, " D"], level: Level) -> Mixture:
        """The distribution of x0 given ``x_t = x``, for sigma > 0."""
        noisy = self.noisy(level)
        means = self.means + self._to_space(level.alpha * self.variances * noisy._along_axes(x) / noisy.variances)
        variances = self.variances * level.sigma**2 / noisy.variances
        return Mixture(jax.nn.log_softmax(noisy.joint_log_prob(x)), means, variances, self.axes)

    def score(self, x: Float[Array, " D"], level: Level | None = None) -> Float[Array, " D"]:
        """``grad log p_t(x)`` at a level; of the data itself without one."""
        distribution = self if level is None else self.noisy(level)
        share = jax.nn.softmax(distribution.joint_log_prob(x))
        return -share @ distribution._to_space(distribution._along_axes(x) / distribution.variances)

    def denoised(self, x: Float[Array, " D"], level: Level) -> Denoised:
        """``E[x0 | x_t = x]`` and ``E[eps | x_t = x] = -sigma score``; what an ideal network would say."""
        return Denoised(self.given(x, level).mean, -level.sigma * self.score(x, level))

    def denoiser(self, schedule: Schedule, prediction: Prediction = "eps") -> Denoiser:
        """The ideal denoiser of this data on a schedule.

        Args:
            schedule: any schedule.
            prediction: what its network returns: "eps", "x0", "v", "score", "velocity" or "edm" (with the mixture's
                standard deviation per coordinate as sigma_data).

        Raises:
            ValueError: unknown prediction.
        """
        sigma_data = jnp.sqrt(jnp.trace(self.cov) / self.means.shape[1])
        return from_fn(
            _Network(prediction), (self, schedule, sigma_data), schedule, prediction=prediction,
            shape=(self.means.shape[1],), network_time=unit_time, sigma_data=sigma_data,
        )  # fmt: skip

    def given_class(self, k: ArrayLike) -> Mixture:
        """Component ``k`` alone; the whole mixture for k = K (traced)."""
        count = self.means.shape[0]
        alone = jnp.where(jnp.arange(count) == k, 0.0, -jnp.inf).astype(self.log_weights.dtype)
        return Mixture(jnp.where(k == count, self.log_weights, alone), self.means, self.variances, self.axes)

    def class_denoiser(self, schedule: Schedule, prediction: Prediction = "eps") -> Denoiser:
        """As `denoiser`, conditioned on the component 0..K-1; K is its null condition."""
        unconditional = self.denoiser(schedule, prediction)
        count = self.means.shape[0]
        return unconditional.replace(apply=_ClassNetwork(prediction), num_classes=count, null_cond=count)  # type: ignore

    def flow_map(
        self, x: Float[Array, " D"], now: Level, next: Level, *, steps: int | None = None
    ) -> Float[Array, " D"]:
        """The probability flow from ``x`` at one level to another, either way.

        Closed form for a Gaussian: each axis is scaled by ``sqrt((alpha'^2 l + sigma'^2) / (alpha^2 l + sigma^2))``.
        A mixture takes Runge-Kutta steps of order 4 on ``d xbar / d s = x0 - eps``, equal in the straight-line time
        ``s = alpha / (alpha + sigma)``: in float64, 512 of them are within 1e-8 from end to end for components of
        standard deviation 0.03 and more at unit distances.

        Args:
            x: the sample at ``now``.
            now, next: levels, scalar; sigma = 0 and alpha = 0 are allowed.
            steps: Runge-Kutta steps, >= 1, for a mixture only; None is 512.

        Raises:
            ValueError: steps < 1, or steps for a Gaussian, where it has no effect.
        """
        if self.means.shape[0] == 1:
            if steps is not None:
                raise ValueError(f"steps={steps} has no effect on a Gaussian, whose flow map is exact; drop steps")
            start, end = self.noisy(now), self.noisy(next)
            return end.means[0] + self.axes[0] @ (jnp.sqrt(end.variances / start.variances) * start._along_axes(x))[0]
        steps = FLOW_STEPS if steps is None else steps
        check_steps(steps)
        ds = jnp.full((steps,), (next.s - now.s) / steps)
        grid = ode.Grid(ds, now.s + ds * jnp.arange(steps), lambda s, share, length: s + share * length)
        # In straight-line coordinates every schedule is the path alpha = s, sigma = 1 - s.
        field = lambda xbar, s: self.denoised(xbar, Level(1.0 - s, s, 1.0 - s))  # noqa: E731
        xbar, _ = ode.solve(field, (x / (now.alpha + now.sigma)).astype(x.dtype), grid, ode.RK4, "none")
        return (next.alpha + next.sigma) * xbar

    def log_evidence(self, A: Inexact[Array, "M D"], y: Inexact[Array, " M"], noise_std: ArrayLike) -> Array:
        """``log p(y)`` of a measurement ``y = A x0 + noise_std z``; a complex one counts as two real ones."""
        return jax.nn.logsumexp(self.log_weights + self._measured(*real_parts(A, y), noise_std)[0])

    def posterior(self, A: Inexact[Array, "M D"], y: Inexact[Array, " M"], noise_std: ArrayLike) -> Mixture:
        """The distribution of x0 given a measurement ``y = A x0 + noise_std z``.

        Args:
            A, y: the measurement; a complex one counts as two real ones, its real and its imaginary part.
            noise_std: standard deviation of its noise (of each part), > 0.

        Raises:
            ValueError: noise_std <= 0.
        """
        check_number("noise_std", noise_std, low=0.0, strict=True)
        A, y = real_parts(A, y)
        log_probs, residuals, roots = self._measured(A, y, noise_std)
        covs = self.covs
        gains = jax.vmap(lambda root, cov: cho_solve((root, True), A @ cov).T)(roots, covs)
        left = jnp.eye(A.shape[1]) - gains @ A
        # Joseph's form: a sum of squares, symmetric and positive also when noise_std is small.
        covs = left @ covs @ jnp.swapaxes(left, 1, 2) + noise_std**2 * gains @ jnp.swapaxes(gains, 1, 2)
        variances, axes = jnp.linalg.eigh(covs)
        floor = jnp.finfo(variances.dtype).eps * jnp.max(variances, axis=-1, keepdims=True)
        means = self.means + jnp.einsum("kij,kj->ki", gains, residuals)
        return Mixture(jax.nn.log_softmax(self.log_weights + log_probs), means, jnp.maximum(variances, floor), axes)

    def _measured(self, A: Array, y: Array, noise_std: ArrayLike) -> tuple[Array, Array, Array]:
        """Of each component: log-evidence, residual and the Cholesky factor of the measurement's covariance."""
        seen = A @ self.axes
        covs = jnp.einsum("kij,kj,klj->kil", seen, self.variances, seen) + noise_std**2 * jnp.eye(A.shape[0])
        roots, residuals = jnp.linalg.cholesky(covs), y - self.means @ A.T
        white = jax.vmap(lambda root, r: solve_triangular(root, r, lower=True))(roots, residuals)
        log_det = jnp.sum(jnp.log(jnp.diagonal(roots, axis1=1, axis2=2)), axis=-1)
        return -0.5 * jnp.sum(white**2 + jnp.log(2.0 * jnp.pi), axis=-1) - log_det, residuals, roots

    def _along_axes(self, x: Array) -> Array:
        return jnp.einsum("kji,kj->ki", self.axes, x - self.means)

    def _to_space(self, coordinates: Array) -> Array:
        return jnp.einsum("kij,kj->ki", self.axes, coordinates)


@public
def gaussian(mean: ArrayLike | Sequence[Any], cov: ArrayLike | Sequence[Any]) -> Mixture:
    """A Gaussian of mean (D,) and covariance (D, D), symmetric positive definite; raises as `mixture`."""
    return mixture([1.0], readable("mean", mean)[None], readable("cov", cov)[None])


@public
def mixture(
    weights: ArrayLike | Sequence[Any], means: ArrayLike | Sequence[Any], covs: ArrayLike | Sequence[Any]
) -> Mixture:
    """A mixture of K Gaussians from concrete numbers.

    Args:
        weights: (K,) positive; scaled to sum to 1.
        means: (K, D).
        covs: (K, D, D), symmetric positive definite.

    Raises:
        ValueError: shapes that do not fit, weights that are not positive, covariances that are not symmetric positive
            definite, or entries that are not finite.
    """
    w, m, c = readable("weights", weights), readable("means", means), readable("covs", covs)
    check_numbers("weights", w, low=0.0, strict=True)
    check_numbers("means", m)
    check_numbers("covs", c)
    if m.ndim != 2 or w.shape != m.shape[:1] or c.shape != (*m.shape, m.shape[1]):
        raise ValueError(f"weights {w.shape}, means {m.shape} and covs {c.shape} must be (K,), (K, D), (K, D, D)")
    if not np.allclose(c, np.swapaxes(c, 1, 2), rtol=1e-6, atol=0.0):
        raise ValueError("covs must be symmetric; give (C + C.T) / 2 if the asymmetry is round-off")
    variances, axes = np.linalg.eigh(c)
    if variances.min() <= 0:
        raise ValueError(f"covs has an eigenvalue of {variances.min():.3g}; give positive definite matrices")
    return Mixture(*(jnp.asarray(a, jnp.result_type(float)) for a in (np.log(w / w.sum()), m, variances, axes)))


@public
def in_subspace(basis: ArrayLike | Sequence[Any], data: Mixture) -> Mixture:
    """The distribution of ``x0 = basis @ u`` with u of the distribution ``data``: a mixture whose support is a linear
    subspace.

    Its variances across the subspace are 0, so clean samples have no density (`log_prob` is not finite); noisy samples,
    denoisers and scores are exact as ever, and denoised estimates lie in the subspace to round-off.

    Args:
        basis: (D, d), orthonormal columns.
        data: the distribution of u, of dimension d.

    Raises:
        ValueError: columns that are not orthonormal, or not one a dimension of the data.
    """
    columns = readable("basis", basis)
    d = data.means.shape[1]
    if columns.ndim != 2 or columns.shape[1] != d or columns.shape[0] < d:
        raise ValueError(f"basis has shape {columns.shape}, data of dimension {d} needs (D, {d}) with D >= {d}")
    if not np.allclose(columns.T @ columns, np.eye(d), atol=1e-5):
        raise ValueError("basis must have orthonormal columns; orthonormalize them with numpy.linalg.qr(basis)[0]")
    rest = np.linalg.svd(columns)[0][:, d:]
    dtype, k = data.means.dtype, data.means.shape[0]
    inside, across = (jnp.asarray(part, dtype) for part in (columns, rest))
    axes = jnp.concatenate(
        [jnp.einsum("ij,kjl->kil", inside, data.axes), jnp.broadcast_to(across, (k, *across.shape))], axis=2
    )
    variances = jnp.concatenate([data.variances, jnp.zeros((k, across.shape[1]), dtype)], axis=1)
    return Mixture(data.log_weights, data.means @ inside.T, variances, axes)


@struct.dataclass
class _Network:
    """The raw output of an ideal network of one prediction type; hashable, so jit caches it."""

    prediction: Prediction = struct.field(pytree_node=False)

    def __call__(self, params: tuple[Mixture, Schedule, Array], x: Array, t: Array, cond: PyTree) -> Array:
        data, schedule, sigma_data = params
        level = schedule.level(t)
        alpha, sigma = level.alpha, level.sigma
        width = jnp.sqrt(alpha**2 * sigma_data**2 + sigma**2)
        denoised = data.denoised(x * width if self.prediction == "edm" else x, level)
        match self.prediction:
            case "eps":
                return denoised.eps
            case "x0":
                return denoised.x0
            case "score":
                return -denoised.eps / sigma
            case "v":
                return (alpha * denoised.eps - sigma * denoised.x0) / level.scale
            case "velocity":
                d_alpha, d_sigma = path_velocity(schedule, t)
                return d_alpha * denoised.x0 + d_sigma * denoised.eps
            case "edm":
                # (x0 - c_skip x) / c_out with x = alpha x0 + sigma eps put in, which removes the cancellation.
                return (sigma * denoised.x0 - sigma_data**2 * alpha * denoised.eps) / (sigma_data * width)


@struct.dataclass
class _ClassNetwork(_Network):
    """The same of one component, or of all of them."""

    def __call__(self, params: tuple[Mixture, Schedule, Array], x: Array, t: Array, cond: PyTree) -> Array:
        return _Network.__call__(self, (params[0].given_class(cond), *params[1:]), x, t, None)
