"""Search for guidance settings: axes, strategies, an aim, and trials that are kept."""

from typing import TYPE_CHECKING

from tfg_jax.lazy import attach

_HOMES = {
    "aim": ("Aim",),
    "axis": ("Axis", "axis_of"),
    "beam": ("Beam",),
    "by_optuna": ("Optuna",),
    "halving": ("Halving",),
    "result": ("Searched",),
    "run": ("search",),
    "setup": ("Search",),
    "space": ("Candidate", "Space"),
    "strategy": ("Proposal", "Strategy"),
    "trials": ("Trial",),
}
__getattr__, __dir__ = attach(__name__, _HOMES)
__all__ = [
    "Aim", "Axis", "Beam", "Candidate", "Halving", "Optuna", "Proposal", "Search", "Searched", "Space", "Strategy",
    "Trial", "axis_of", "search",
]  # fmt: skip

if TYPE_CHECKING:
    from tfg_jax.search.aim import Aim as Aim
    from tfg_jax.search.axis import Axis as Axis
    from tfg_jax.search.axis import axis_of as axis_of
    from tfg_jax.search.beam import Beam as Beam
    from tfg_jax.search.by_optuna import Optuna as Optuna
    from tfg_jax.search.halving import Halving as Halving
    from tfg_jax.search.result import Searched as Searched
    from tfg_jax.search.run import search as search
    from tfg_jax.search.setup import Search as Search
    from tfg_jax.search.space import Candidate as Candidate
    from tfg_jax.search.space import Space as Space
    from tfg_jax.search.strategy import Proposal as Proposal
    from tfg_jax.search.strategy import Strategy as Strategy
    from tfg_jax.search.trials import Trial as Trial
