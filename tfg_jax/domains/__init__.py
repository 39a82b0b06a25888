"""What samples are, beyond their shape: subspaces they live in, ranges, pictures. `base` says what a domain is."""

from tfg_jax.domains.base import Domain
from tfg_jax.domains.images import Images, images
from tfg_jax.domains.molecules import Molecules, molecules
from tfg_jax.domains.points import Points, points

__all__ = ["Domain", "Images", "Molecules", "Points", "images", "molecules", "points"]
