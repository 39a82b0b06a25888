"""One declaration per configuration object: fields with range and help, what it needs, and its source.

    @struct.dataclass
    class DPS(Method):
        \"""Diffusion posterior sampling. ... equation, cost, BibTeX at the end ...\"""

        strength: ArrayLike = number(default=1.0, low=0.0, help="step size, dimensionless")       # traced
        normalize: Literal["value", "residual"] = choice(default="value", help="the divisor")      # static
        needs = Needs(pullbacks=1, gradients=1)

Read off it: checks where the object is written, `tfg_jax.to_json`, the flags of a command line (`flags_of`), the cost,
the tables of the docs and `tfg-jax cite`. `describe` is the one reader of the fields.
"""

from tfg_jax.declare.docs import Told, bibtex, bibtex_of_text, told
from tfg_jax.declare.fields import Declared, Field, check_single_numbers, check_value, describe
from tfg_jax.declare.flags import flags_of, with_flags
from tfg_jax.declare.needs import Needs
from tfg_jax.struct import child, choice, count, number, static

__all__ = [
    "Declared", "Field", "Needs", "Told", "bibtex", "bibtex_of_text", "check_single_numbers", "check_value", "child",
    "choice", "count", "describe", "flags_of", "number", "static", "told", "with_flags",
]  # fmt: skip
