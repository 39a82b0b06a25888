"""Search for guidance settings: axes, strategies, an aim, and trials that are kept."""

from tfg_jax.search.aim import Aim
from tfg_jax.search.axis import Axis, axis_of
from tfg_jax.search.beam import Beam
from tfg_jax.search.by_optuna import Optuna
from tfg_jax.search.halving import Halving
from tfg_jax.search.result import Searched
from tfg_jax.search.run import search
from tfg_jax.search.setup import Search
from tfg_jax.search.space import Candidate, Space
from tfg_jax.search.strategy import Proposal, Strategy
from tfg_jax.search.trials import Trial

__all__ = [
    "Aim", "Axis", "Beam", "Candidate", "Halving", "Optuna", "Proposal", "Search", "Searched", "Space", "Strategy",
    "Trial", "axis_of", "search",
]  # fmt: skip
