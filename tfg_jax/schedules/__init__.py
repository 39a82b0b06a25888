"""Noise schedules: the path ``x_t = alpha(t) x_0 + sigma(t) eps`` from data (t = 0) to noise (t = 1).

A schedule says one thing, the log-SNR ``log(alpha^2 / sigma^2)`` against time, in two forms: `alpha` and `sigma`, and
the inverse `t_of_log_snr`. Everything else (straight-line coordinates, re-noising, VP-equivalent levels) follows from a
`Level`. Schedules are frozen pytrees: their numbers are traced leaves, in which everything can be differentiated. Where
sigma begins as a root of t (VP, VE), its infinite gradient in t at t = 0 is given as 0.
"""

from tfg_jax.schedules.base import T_OPEN, Level, Path, Schedule
from tfg_jax.schedules.continuous import EDM, VE, RectifiedFlow, VPCosine, VPLinear, VPPolynomial, VPTruncatedCosine
from tfg_jax.schedules.discrete import Discrete, cosine_table, from_alphas_cumprod, table_position

__all__ = [
    "EDM", "T_OPEN", "VE", "Discrete", "Level", "Path", "RectifiedFlow", "Schedule", "VPCosine", "VPLinear",
    "VPPolynomial", "VPTruncatedCosine", "cosine_table", "from_alphas_cumprod", "table_position",
]  # fmt: skip
