"""The functions of `tfg_jax.files` by the name they had before."""

from tfg_jax.files import to_json, write_bytes, write_json

__all__ = ["to_json", "write_bytes", "write_json"]
