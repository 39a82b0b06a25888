"""The former place of `tfg_jax.models.unet2d.convert`, until the next release."""

from tfg_jax.models.unet2d.convert import load_diffusers_state as load_diffusers_state
