"""Schedules in continuous time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from tfg_jax import struct
from tfg_jax.checks import check_order, safe_sqrt
from tfg_jax.declare import number, static
from tfg_jax.schedules.base import T_OPEN, Path, as_float, check_start


@struct.dataclass
class VPLinear(Path):
    """Variance preserving with linear beta: ``log alpha = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2``.

    Ho et al. (arXiv 2006.11239) in continuous time (Song et al., arXiv 2011.13456).

    @inproceedings{song2021sde,
      title = {Score-Based Generative Modeling through Stochastic Differential Equations},
      author = {Song, Yang and Sohl-Dickstein, Jascha and Kingma, Diederik P. and Kumar, Abhishek and Ermon, Stefano and
                Poole, Ben},
      booktitle = {International Conference on Learning Representations},
      year = {2021},
      eprint = {2011.13456}, archiveprefix = {arXiv},
    }
    """

    beta_min: ArrayLike = number(default=0.1, low=0.0, strict=True, help="rate of noise at t = 0")
    beta_max: ArrayLike = number(default=20.0, low=0.0, strict=True, help="rate of noise at t = 1, >= beta_min")

    def check(self) -> None:
        """Raise ValueError unless beta_min <= beta_max."""
        check_order("beta_min", self.beta_min, "beta_max", self.beta_max, equal=True)

    def _log_alpha(self, t: ArrayLike) -> Array:
        t = as_float(t)
        low, high = as_float(self.beta_min), as_float(self.beta_max)
        return -0.25 * t**2 * (high - low) - 0.5 * t * low

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.exp(self._log_alpha(t))

    def sigma(self, t: ArrayLike) -> Array:
        return safe_sqrt(0.0 - jnp.expm1(2.0 * self._log_alpha(t)))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        drop = jax.nn.softplus(-as_float(log_snr))  # -2 log alpha
        low, gradient = as_float(self.beta_min), as_float(self.beta_max) - as_float(self.beta_min)
        # The root of gradient t^2 / 2 + beta_min t = drop, in the form without cancellation and safe at gradient = 0.
        return 2.0 * drop / (low + jnp.sqrt(low**2 + 2.0 * gradient * drop))


@struct.dataclass
class VPCosine(Path):
    """Variance preserving cosine: ``alpha = cos(a(t)) / cos(a(0))``, angle ``a(t) = pi/2 (t + offset)/(1 + offset)``.

    Nichol & Dhariwal (arXiv 2102.09672). alpha vanishes at t = 1, so sampling starts at t = 0.999.

    @inproceedings{nichol2021improved,
      title = {Improved Denoising Diffusion Probabilistic Models},
      author = {Nichol, Alex and Dhariwal, Prafulla},
      booktitle = {International Conference on Machine Learning},
      year = {2021},
      eprint = {2102.09672}, archiveprefix = {arXiv},
    }
    """

    offset: ArrayLike = number(default=0.008, low=0.0, help="how far from the cosine's top the path begins")
    t_start: float = static(default=T_OPEN, help="where sampling starts, in (0, 1]")

    def check(self) -> None:
        """Raise ValueError for a start outside (0, 1]."""
        check_start(self.t_start)

    def _angle(self, t: ArrayLike) -> Array:
        return 0.5 * jnp.pi * (as_float(t) + self.offset) / (1.0 + self.offset)

    def alpha(self, t: ArrayLike) -> Array:
        rounded = jnp.cos(self._angle(t))  # below 0 by round-off at t = 1, where the gradient is still wanted
        return (rounded - jax.lax.stop_gradient(jnp.minimum(rounded, 0.0))) / jnp.cos(self._angle(0.0))

    def sigma(self, t: ArrayLike) -> Array:
        start, now = self._angle(0.0), self._angle(t)
        # now - start by itself: of two angles that are rounded apart the difference at t = 0 may be other than 0.
        turned = 0.5 * jnp.pi * as_float(t) / (1.0 + self.offset)
        # 1 - alpha^2 = sin(now - start) sin(now + start) / cos(start)^2: exact 0 at t = 0, no cancellation near it.
        return safe_sqrt(jnp.maximum(jnp.sin(turned) * jnp.sin(now + start), 0.0)) / jnp.cos(start)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        log_snr = as_float(log_snr)
        start = self._angle(0.0)
        sin_now = jnp.sqrt(jnp.sin(start) ** 2 + jnp.cos(start) ** 2 * jax.nn.sigmoid(-log_snr))
        cos_now = jnp.cos(start) * jnp.sqrt(jax.nn.sigmoid(log_snr))
        return jnp.arctan2(sin_now, cos_now) * 2.0 / jnp.pi * (1.0 + self.offset) - self.offset


@struct.dataclass
class VPTruncatedCosine(Path):
    """Variance preserving cosine cut at a log-SNR: ``alpha = cos(a t)``, ``sigma = sin(a t)``, tan a = e^(-low/2).

    The process of Ho & Salimans (arXiv 2207.12598), whose log-SNR is -2 log tan(a t); alpha stays positive, so sampling
    starts at t = 1, where the log-SNR is ``log_snr_min``.

    Cite: CFG
    """

    log_snr_min: ArrayLike = number(default=-20.0, help="log-SNR at t = 1")

    @property
    def _span(self) -> Array:
        return jnp.arctan(jnp.exp(-0.5 * as_float(self.log_snr_min)))

    def alpha(self, t: ArrayLike) -> Array:
        # cos(a t) as the sine of its complement, which keeps its digits where it is small.
        return jnp.sin(jnp.arctan(jnp.exp(0.5 * as_float(self.log_snr_min))) + self._span * (1.0 - as_float(t)))

    def sigma(self, t: ArrayLike) -> Array:
        return jnp.sin(self._span * as_float(t))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jnp.arctan(jnp.exp(-0.5 * as_float(log_snr))) / self._span


@struct.dataclass
class VPPolynomial(Path):
    """Variance preserving polynomial: ``alpha^2 = (1 - floor) (1 - t^2)^2 + floor``, ``sigma^2 = 1 - alpha^2``.

    The process of molecules in Hoogeboom et al. (arXiv 2203.17003, "polynomial_2"), but with alpha = 1 at t = 0, where
    theirs keeps noise of variance ``floor``.

    @inproceedings{hoogeboom2022edm,
      title = {Equivariant Diffusion for Molecule Generation in 3{D}},
      author = {Hoogeboom, Emiel and Satorras, Victor Garcia and Vignac, Cl{\\'e}ment and Welling, Max},
      booktitle = {International Conference on Machine Learning},
      year = {2022},
      eprint = {2203.17003}, archiveprefix = {arXiv},
    }
    """

    floor: ArrayLike = number(default=1e-5, low=0.0, high=1.0, strict=True, help="alpha^2 at t = 1, below 1")

    def alpha(self, t: ArrayLike) -> Array:
        t2 = as_float(t) ** 2
        # (1 - floor) u + floor as u + floor (1 - u), which is 1 at t = 0 to the last bit.
        return jnp.sqrt((1.0 - t2) ** 2 + as_float(self.floor) * t2 * (2.0 - t2))

    def sigma(self, t: ArrayLike) -> Array:
        t = as_float(t)
        return t * jnp.sqrt((1.0 - as_float(self.floor)) * (2.0 - t**2))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        log_snr, span = as_float(log_snr), 1.0 - as_float(self.floor)
        left = jnp.maximum((jax.nn.sigmoid(log_snr) - as_float(self.floor)) / span, 0.0)  # (1 - t^2)^2
        return jnp.sqrt(jax.nn.sigmoid(-log_snr) / span / (1.0 + jnp.sqrt(left)))


@struct.dataclass
class VE(Path):
    """Variance exploding: ``alpha = 1``, ``sigma = sigma_min sqrt((sigma_max/sigma_min)^(2t) - 1)``.

    The perturbation kernel of Song et al. (arXiv 2011.13456).

    Cite: VPLinear
    """

    sigma_min: ArrayLike = number(default=0.01, low=0.0, strict=True, help="scale of the first noise, in units of data")
    sigma_max: ArrayLike = number(default=50.0, low=0.0, strict=True, help="noise at t = 1, above sigma_min")

    def check(self) -> None:
        """Raise ValueError unless sigma_min < sigma_max."""
        check_order("sigma_min", self.sigma_min, "sigma_max", self.sigma_max)

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.ones_like(as_float(t))

    def sigma(self, t: ArrayLike) -> Array:
        growth = 2.0 * jnp.log(self.sigma_max / jnp.asarray(self.sigma_min))
        return as_float(self.sigma_min) * safe_sqrt(jnp.expm1(growth * as_float(t)))

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        growth = 2.0 * jnp.log(self.sigma_max / jnp.asarray(self.sigma_min))
        return jnp.log1p(jnp.exp(-as_float(log_snr)) / as_float(self.sigma_min) ** 2) / growth


@struct.dataclass
class EDM(Path):
    """Noise that grows evenly: ``alpha = 1``, ``sigma = sigma_max t``.

    Karras et al. (arXiv 2206.00364).

    Cite: Karras
    """

    sigma_max: ArrayLike = number(default=80.0, low=0.0, strict=True, help="noise at t = 1, in units of the data")

    def alpha(self, t: ArrayLike) -> Array:
        return jnp.ones_like(as_float(t))

    def sigma(self, t: ArrayLike) -> Array:
        return as_float(self.sigma_max) * as_float(t)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jnp.exp(-0.5 * as_float(log_snr)) / self.sigma_max


@struct.dataclass
class RectifiedFlow(Path):
    """Straight path ``alpha = 1 - t``, ``sigma = t`` (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747).

    alpha vanishes at t = 1, so sampling starts at t = 0.999.

    @inproceedings{liu2023rectified,
      title = {Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow},
      author = {Liu, Xingchao and Gong, Chengyue and Liu, Qiang},
      booktitle = {International Conference on Learning Representations},
      year = {2023},
      eprint = {2209.03003}, archiveprefix = {arXiv},
    }
    """

    t_start: float = static(default=T_OPEN, help="where sampling starts, in (0, 1]")

    def check(self) -> None:
        """Raise ValueError for a start outside (0, 1]."""
        check_start(self.t_start)

    def alpha(self, t: ArrayLike) -> Array:
        return 1.0 - as_float(t)

    def sigma(self, t: ArrayLike) -> Array:
        return as_float(t)

    def t_of_log_snr(self, log_snr: ArrayLike) -> Array:
        return jax.nn.sigmoid(-0.5 * as_float(log_snr))
