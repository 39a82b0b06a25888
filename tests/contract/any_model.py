"""Networks and schedules chosen at run time, so that one compiled program serves all combinations of a method's test.

`lax.switch` picks the schedule and the prediction type; everything else is the library's own code.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import problems
from problems import SAMPLERS, D

import tfg_jax as tfg
from tfg_jax import struct

STEPS = 3
GRID = tfg.UniformLogSNR(log_snr_min=-5.0, log_snr_max=3.0)


@struct.dataclass
class AnySchedule:
    """The schedule number ``which`` of ``names``."""

    which: jax.Array
    names: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def members(self):
        return [problems.schedules()[name] for name in self.names]

    @property
    def t_start(self):
        return jnp.asarray([s.t_start for s in self.members])[self.which]

    def level(self, t):
        each = [lambda t, s=s: (s.alpha(t), s.sigma(t)) for s in self.members]
        return tfg.Level(t, *jax.lax.switch(self.which, each, t))

    def alpha(self, t):
        return self.level(t).alpha

    def sigma(self, t):
        return self.level(t).sigma

    def t_of_log_snr(self, log_snr):
        return jax.lax.switch(self.which, [s.t_of_log_snr for s in self.members], log_snr)


@struct.dataclass
class Around:
    """A schedule seen from one time: its values and gradients there, evaluated once for all networks."""

    t: jax.Array
    at: tuple[jax.Array, jax.Array]
    gradient: tuple[jax.Array, jax.Array]
    t_start = 1.0

    def alpha(self, t):
        return self.at[0] + self.gradient[0] * (t - self.t)

    def sigma(self, t):
        return self.at[1] + self.gradient[1] * (t - self.t)

    def t_of_log_snr(self, log_snr):
        """Where the straight continuation of alpha / sigma has this log-SNR."""
        ratio = jnp.exp(0.5 * log_snr)
        return self.t + (ratio * self.at[1] - self.at[0]) / (self.gradient[0] - ratio * self.gradient[1])

    def level(self, t):
        return tfg.Level(t, self.alpha(t), self.sigma(t))


@struct.dataclass
class AnyPrediction(tfg.Denoiser):
    """The ideal denoiser through a network of the prediction type number ``which`` of ``names``."""

    which: jax.Array | int = 0
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())

    def __call__(self, x, t, cond=None):
        values = lambda t: (lambda level: (level.alpha, level.sigma))(self.schedule.level(t))  # noqa: E731
        at, gradient = jax.jvp(values, (t,), (jnp.ones_like(t),))
        around = Around(jnp.asarray(t), at, gradient)
        x0 = problems.posterior_mean(x, *at)
        eps = (x - at[0] * x0) / at[1]

        def one(prediction):
            def network(params, x_scaled, t_network, cond):
                return problems.raw_outputs(x0, eps, around, t, x_scaled)[prediction]()

            model = tfg.from_fn(
                network, None, around, prediction=prediction, shape=(D,), sigma_data=problems.SIGMA_DATA
            )
            return lambda x: model(x, t)

        return jax.lax.switch(self.which, [one(p) for p in self.names], x)


@cache
def program(method, sampler, schedules, predictions, clip=False):
    """``(strengths, schedule numbers, prediction numbers)``, all (n,), to samples (n, 2, D); one compiled program."""
    times = jnp.stack([GRID(problems.schedules()[name], STEPS) for name in schedules])

    def run(strength, which_schedule, which_prediction):
        schedule = AnySchedule(which_schedule, schedules)
        plain = problems.denoiser(schedule)
        fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
        given = problems.arguments(method, strength)
        return tfg.sample(
            jax.random.key(3), AnyPrediction(**fields, which=which_prediction, names=predictions),
            sampler=SAMPLERS[sampler](STEPS, tfg.Explicit(times[which_schedule])),
            clip=tfg.Clip(-0.9, 0.9) if clip else None,
            noise=problems.tape(STEPS, given["guidance"].n_recur), **given,
        ).x  # fmt: skip

    return jax.jit(lambda *which: jax.lax.map(lambda args: run(*args), which))


def run(method, sampler, strength, schedules, predictions, clip=False):
    """Samples (schedules, predictions, 2, D) of one method, or unguided with so many recurrences, and one sampler."""
    pairs = np.array([(s, p) for s in range(len(schedules)) for p in range(len(predictions))], np.int32)
    sample = program(method, sampler, tuple(schedules), tuple(predictions), clip)
    out = sample(jnp.full(len(pairs), strength), pairs[:, 0], pairs[:, 1])
    return np.asarray(out).reshape(len(schedules), len(predictions), 2, D)
