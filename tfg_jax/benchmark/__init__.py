"""Benchmarks: suites of tasks, methods, targets and seeds as data, run resumably to one table."""

from typing import TYPE_CHECKING

from tfg_jax.lazy import attach

_HOMES = {
    "gains": ("Gain", "Headline", "Scores", "headline", "relative_gain"),
    "outcome": ("Line", "Outcome"),
    "read": ("read_suite", "suite_names"),
    "run": ("Benchmark", "run_suite"),
    "suite": ("Entry", "Need", "Published", "Suite", "Target"),
}
__getattr__, __dir__ = attach(__name__, _HOMES)
__all__ = [
    "Benchmark", "Entry", "Gain", "Headline", "Line", "Need", "Outcome", "Published", "Scores", "Suite", "Target",
    "headline", "read_suite", "relative_gain", "run_suite", "suite_names",
]  # fmt: skip

if TYPE_CHECKING:
    from tfg_jax.benchmark.gains import Gain as Gain
    from tfg_jax.benchmark.gains import Headline as Headline
    from tfg_jax.benchmark.gains import Scores as Scores
    from tfg_jax.benchmark.gains import headline as headline
    from tfg_jax.benchmark.gains import relative_gain as relative_gain
    from tfg_jax.benchmark.outcome import Line as Line
    from tfg_jax.benchmark.outcome import Outcome as Outcome
    from tfg_jax.benchmark.read import read_suite as read_suite
    from tfg_jax.benchmark.read import suite_names as suite_names
    from tfg_jax.benchmark.run import Benchmark as Benchmark
    from tfg_jax.benchmark.run import run_suite as run_suite
    from tfg_jax.benchmark.suite import Entry as Entry
    from tfg_jax.benchmark.suite import Need as Need
    from tfg_jax.benchmark.suite import Published as Published
    from tfg_jax.benchmark.suite import Suite as Suite
    from tfg_jax.benchmark.suite import Target as Target
