"""`tfg_jax.runs.store` by its name before version 0.2, which goes with the next release."""

from tfg_jax.lazy import moved

__getattr__ = moved(__name__, "tfg_jax.runs.store")
