"""E(3)-equivariant graph network of molecules: atoms carry scalars, a few vectors, and every pair its own channels.

    pair      e_ij += MLP(e_ij, |X_i^k - X_j^k| for k = 1..K, B h_i, C h_j)         X_i^k = x_i + v_i^k
    atom      h_i  += MLP(h_i, sum_j softmax_j(a(e_ij)) V h_j, mean_j gated e_ij, |v_i^k|)
    vectors   v_i^k += sum_j w^k(e_ij) (X_j^k - X_i^k) / (1 + |X_i^k - X_j^k|) + gate(h_i) (W v_i)^k

Like an EGNN (Satorras et al., arXiv 2102.09844) it reads geometry through distances and writes it through sums of
differences, so it commutes with rotations, reflections, translations and permutations. What differs is where the work
is: the wide layers act on atoms, a pair has few channels (its messages factor into parts of i, of j and of the
distances), and vectors let a layer see angles.

The network sees variance-preserving x_t = alpha x_0 + sigma eps at `log_snr` = log(alpha^2 / sigma^2), and returns the
denoised estimate x_0 with the preconditioning of Karras et al. (arXiv 2206.00364): the layers see unit variance and
predict a unit-variance target at every level, for positions and features apart.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from tfg_jax.domains.molecules import centered
from tfg_jax.models.egnn.config import EGNNConfig


class Trunk(nnx.Module):
    """The layers that denoiser and property network share."""

    def __init__(self, config: EGNNConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.time = nnx.Linear(32, config.width, rngs=rngs)
        self.atom = nnx.Linear(config.num_features, config.width, rngs=rngs)
        self.pair = nnx.Linear(config.radial, config.pair_width, rngs=rngs)
        self.layers = nnx.List([Layer(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(config.width, rngs=rngs)

    def embed(self, positions: Array, features: Array, mask: Array, alpha: Array, sigma: Array):
        """Atoms (*b, n, width), pairs (*b, n, n, pair_width) and vectors (*b, n, 3, vectors) after the last layer.

        positions: with zero mean, 0 where `mask` (*b, n, 1) is. alpha, sigma: (*b, 1, 1).
        """
        level = 2.0 * (jnp.log(alpha) - jnp.log(sigma))
        scale = jax.lax.rsqrt(alpha**2 * self.config.feature_scale**2 + sigma**2)
        h = self.atom(features * scale) + self.time(_waves(level[..., 0, :]))[..., None, :]
        number = jnp.maximum(mask.sum(-2, keepdims=True), 1.0)
        pairs = mask[..., :, None, :] * mask[..., None, :, :]  # (*b, n, n, 1)
        e = self.pair(_radial(_distance(positions[..., None])[..., 0], self.config))
        v = jnp.zeros((*positions.shape, self.config.vectors), positions.dtype)
        for layer in self.layers:
            h, e, v = layer(h, e, v, positions, pairs, number)
        return self.norm(h), e, v


class EGNN(Trunk):
    """Clean positions and features of molecules, of any number of batch axes; see the module's docstring.

    One molecule needs none: under vmap an axis of length 1 would cost copies of everything.
    """

    def __init__(self, config: EGNNConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        zero = nnx.initializers.zeros_init()
        self.features = nnx.Linear(config.width, config.num_features, kernel_init=zero, rngs=rngs)
        self.gate = nnx.Linear(config.width, config.vectors, kernel_init=zero, rngs=rngs)
        self.bonds = nnx.Linear(config.pair_width, config.num_bonds, kernel_init=zero, rngs=rngs)

    def __call__(
        self,
        positions: Float[Array, "*b n 3"],
        features: Float[Array, "*b n f"],
        mask: Bool[Array, "*b n"],
        log_snr: Float[Array, "*b"],
    ) -> tuple[Float[Array, "*b n 3"], Float[Array, "*b n f"]]:
        """Denoised estimates: positions in Angstrom with zero mean over the atoms, and features; 0 where there is no
        atom.

        positions, features: the noisy molecule in variance-preserving coordinates.
        mask: which atoms there are.
        log_snr: log(alpha^2 / sigma^2), any real number or infinite.
        """
        return self.with_bonds(positions, features, mask, log_snr)[0]

    def with_bonds(
        self, positions: Array, features: Array, mask: Array, log_snr: Array
    ) -> tuple[tuple[Array, Array], Float[Array, "*b n n c"]]:
        """The denoised estimates, and logits of each pair's bond class (symmetric)."""
        c, mask = self.config, mask.astype(positions.dtype)[..., None]
        positions = centered(positions, mask)
        alpha, sigma = noise_level(log_snr.astype(positions.dtype))
        h, e, v = self.embed(positions, features, mask, alpha, sigma)
        out_x = centered((v * self.gate(h)[..., None, :]).sum(-1), mask)
        out_h = self.features(h) * mask
        x0 = _precondition(positions, out_x, alpha, sigma, c.position_scale)
        h0 = _precondition(features * mask, out_h, alpha, sigma, c.feature_scale)
        return (x0, h0), self.bonds(e + e.swapaxes(-3, -2))


class Layer(nnx.Module):
    """One update of pairs, atoms and vectors."""

    def __init__(self, config: EGNNConfig, *, rngs: nnx.Rngs):
        width, pair, hidden = config.width, config.pair_width, config.pair_hidden
        self.heads = config.heads
        zero = nnx.initializers.zeros_init()
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.to_pair = nnx.Linear(width, 2 * hidden, rngs=rngs)
        self.pair_in = nnx.Linear(pair + config.vectors, hidden, use_bias=False, rngs=rngs)
        self.pair_out = nnx.Linear(hidden, pair, kernel_init=nnx.initializers.normal(0.3 / hidden**0.5), rngs=rngs)
        self.read = nnx.Linear(pair, config.heads + config.vectors, rngs=rngs)
        self.values = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.norm_2 = nnx.LayerNorm(width, rngs=rngs)
        self.mlp_in = nnx.Linear(2 * width + pair + config.vectors, 2 * width, rngs=rngs)
        self.mlp_out = nnx.Linear(2 * width, width, kernel_init=zero, rngs=rngs)
        self.gate = nnx.Linear(width, config.vectors, kernel_init=zero, rngs=rngs)
        self.mix = nnx.Linear(config.vectors, config.vectors, use_bias=False, rngs=rngs)

    def __call__(self, h, e, v, positions, pairs, number):
        width = h.shape[-1]
        sets = positions[..., None] + v  # (*b, n, 3, k)
        distance = _distance(sets)
        near = self.norm(h)
        left, right = jnp.split(self.to_pair(near), 2, -1)
        inside = self.pair_in(jnp.concatenate([e, distance], -1)) + left[..., :, None, :] + right[..., None, :, :]
        e = e + self.pair_out(jax.nn.silu(inside))
        logits, weights = jnp.split(self.read(e), [self.heads], -1)
        attention = jax.nn.softmax(jnp.where(pairs > 0, logits, jnp.finfo(logits.dtype).min), axis=-2)
        values = self.values(near).reshape(*h.shape[:-1], self.heads, width // self.heads)
        message = jnp.einsum("...ijh,...jhd->...ihd", attention, values).reshape(h.shape)
        total = (e * pairs).sum(-2) / number
        weights = weights * pairs / (1.0 + distance)
        pull = jnp.einsum("...ijk,...jxk->...ixk", weights, sets) - weights.sum(-2)[..., None, :] * sets
        v = v + pull / number[..., None]
        length = jnp.sqrt(jnp.square(v).sum(-2) + 1e-6)
        inside = jnp.concatenate([near, message, total, length], -1)
        h = h + self.mlp_out(jax.nn.silu(self.mlp_in(inside)))
        v = v + self.mix(v) * self.gate(self.norm_2(h))[..., None, :]
        return h, e, v


def noise_level(log_snr: Float[Array, "*b"]) -> tuple[Float[Array, "*b 1 1"], Float[Array, "*b 1 1"]]:
    """Variance-preserving alpha and sigma of a log-SNR, which is cut at +-14."""
    level = jnp.clip(log_snr, -14.0, 14.0)[..., None, None]
    return jnp.sqrt(jax.nn.sigmoid(level)), jnp.sqrt(jax.nn.sigmoid(-level))


def _distance(sets: Array) -> Array:
    """|X_i - X_j| of every coordinate set: (*b, n, 3, k) -> (*b, n, n, k)."""
    x, y, z = (sets[..., :, None, a, :] - sets[..., None, :, a, :] for a in range(3))
    return jnp.sqrt(x * x + y * y + z * z + 1e-6)


def _radial(distance: Array, config: EGNNConfig) -> Array:
    centres = jnp.linspace(0.0, config.cutoff, config.radial, dtype=distance.dtype)
    width = 1.5 * config.cutoff / config.radial
    return jnp.exp(-0.5 * jnp.square((distance[..., None] - centres) / width))


def _waves(level: Array) -> Array:
    """Sines and cosines of the noise level: (*b, 1) -> (*b, 32)."""
    phase = level * jnp.geomspace(0.05, 2.0, 16, dtype=level.dtype)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)


def _precondition(x: Array, out: Array, alpha: Array, sigma: Array, scale: float) -> Array:
    variance = alpha**2 * scale**2 + sigma**2
    return alpha * scale**2 / variance * x + sigma * scale * jax.lax.rsqrt(variance) * out
