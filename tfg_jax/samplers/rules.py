"""The old place of the sampler rules, which goes with the next release; see `tfg_jax.samplers.base`."""

from tfg_jax.samplers.base import Sampler as Sampler
from tfg_jax.samplers.base import SingleEvaluation as SingleEvaluation
from tfg_jax.samplers.base import Step as Step
from tfg_jax.samplers.base import fresh_variance as fresh_variance
from tfg_jax.samplers.base import guided_shift as guided_shift
from tfg_jax.samplers.base import renoise as renoise
from tfg_jax.samplers.base import straight as straight
from tfg_jax.samplers.ddim import DDIM as DDIM
from tfg_jax.samplers.ddpm import DDPM as DDPM
