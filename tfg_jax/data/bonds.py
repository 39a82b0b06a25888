"""Bonds read off distances by the table of EDM (Hoogeboom et al., arXiv 2203.17003), for H, C, N, O, F.

Two atoms are bound singly, doubly or triply if they are closer than the typical length of that bond plus a margin of
10, 5 or 3 pm; the highest order that fits counts.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

AnyArray = Array | np.ndarray
VALENCES = (1, 4, 3, 2, 1)
"""Bonds of a stable atom, by element."""
MARGINS = (10.0, 5.0, 3.0)
_SINGLE = [
    [74, 109, 101, 96, 92],
    [109, 154, 147, 143, 135],
    [101, 147, 145, 140, 136],
    [96, 143, 140, 148, 142],
    [92, 135, 136, 142, 142],
]
_DOUBLE = {(1, 1): 134, (1, 2): 129, (1, 3): 120, (2, 2): 125, (2, 3): 121, (3, 3): 121}
_TRIPLE = {(1, 1): 120, (1, 2): 116, (1, 3): 113, (2, 2): 110}


def _limits() -> np.ndarray:
    """Largest distance in Angstrom, [order - 1, element, element]; 0 where there is no such bond."""
    table = np.zeros((3, 5, 5))
    table[0] = np.array(_SINGLE) + MARGINS[0]
    for order, lengths in ((1, _DOUBLE), (2, _TRIPLE)):
        for (a, b), length in lengths.items():
            table[order, a, b] = table[order, b, a] = length + MARGINS[order]
    return (table / 100.0).astype(np.float32)


LIMITS = _limits()


def bond_orders(positions: Float[AnyArray, "*b n 3"], types: Int[AnyArray, "*b n"]) -> Int[Array, "*b n n"]:
    """Order 0 to 3 of every pair's bond; 0 on the diagonal and beside the molecule.

    positions: in Angstrom. types: index of H, C, N, O, F, negative where there is no atom.
    """
    limits = jnp.asarray(LIMITS)[:, jnp.maximum(types, 0)[..., :, None], jnp.maximum(types, 0)[..., None, :]]
    distance = jnp.sqrt(jnp.square(positions[..., :, None, :] - positions[..., None, :, :]).sum(-1))
    n = types.shape[-1]
    pairs = (types[..., :, None] >= 0) & (types[..., None, :] >= 0) & ~jnp.eye(n, dtype=bool)
    # A longer bond's limit is never below a shorter one's, so the orders that fit are 1 .. k and k is their number.
    return jnp.where(pairs, (distance < limits).sum(0), 0)


def atom_stable(positions: Float[AnyArray, "*b n 3"], types: Int[AnyArray, "*b n"]) -> Array:
    """Whether each atom's bond orders add up to its valence, (*b, n); True where there is no atom."""
    total = bond_orders(positions, types).sum(-1)
    return (total == jnp.asarray(VALENCES)[jnp.maximum(types, 0)]) | (types < 0)
