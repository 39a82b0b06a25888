"""Domains: noise and shifts stay in the samples' subspace, and none costs nothing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tfg_jax as tfg
from tfg_jax import struct
from tfg_jax.denoiser import log_sigma_time
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.convert import OneMolecule
from tfg_jax.models.egnn.network import EGNN

KEY, ATOMS, ROWS = jax.random.key(0), jnp.array([4, 3]), 5
DOMAIN = tfg.domains.molecules(ROWS, 6)


def equivariant(params, x, t, cond):
    """Commutes with turns, and with the order of atoms: every atom is drawn to the others' mean."""
    rows = (jnp.arange(ROWS) < cond)[:, None]
    mean = jnp.sum(x * rows, 0) / jnp.maximum(cond, 1)
    return jnp.tanh(jnp.sum(x[:, :3] ** 2, 1, keepdims=True)) * (x - 0.5 * mean) * t + 0.3


MODEL = tfg.from_fn(
    equivariant, None, tfg.VPCosine(), prediction="x0", domain=DOMAIN, num_classes=ROWS + 1
)  # fmt: skip


def spread_is(x0, target):
    return -jnp.abs(jnp.sum(x0[:, :3] ** 2) - target) - 0.1 * jnp.sum((x0 - 1.0) ** 2)


def outside(x, atoms):
    """The largest mean of positions, and the largest entry below the atoms."""
    rows = (np.arange(ROWS) < np.asarray(atoms)[:, None])[..., None]
    rows = rows.reshape(rows.shape[0], *[1] * (x.ndim - 3), ROWS, 1)
    return np.abs((np.asarray(x) * rows)[..., :3].sum(-2)).max() + np.abs(np.asarray(x) * ~rows).max()


GUIDANCE = {
    "unguided": None,
    "tfg": tfg.TFG(rho=0.05, mu=0.05, n_iter=2, smoothing=0.2, n_mc=2, n_recur=2),
    "mpgd": tfg.MPGD(0.05),
    "ugd": tfg.UGD(0.02, n_iter=2),
}


@pytest.mark.parametrize("name", GUIDANCE)
def test_every_step_stays_in_the_subspace(name):
    options = {} if name == "unguided" else {"objective": spread_is, "target": jnp.array([2.0, 1.0])}
    out = tfg.sample(KEY, MODEL, cond=ATOMS, guidance=GUIDANCE[name], sampler=tfg.DDIM(steps=3),
                     clip=tfg.Clip(-1.0, 1.0) if name == "tfg" else None, record=tfg.Record((0, 1, 2)),
                     **options)  # fmt: skip
    assert out.status.ok.all()
    assert outside(out.info["x"], ATOMS) < 1e-5 and outside(out.x, ATOMS) < 1e-5
    assert np.abs(out.x[0, :4]).max() > 0.1


def test_sources_and_controls_stay_in_the_subspace():
    for method in (tfg.DFlow(tfg.TruncatedSolve(1.0, steps=2), iterations=2, rate=0.1, regularizer=0.1),
                   tfg.Controls(2, iterations=2, rate=0.1)):  # fmt: skip
        out = tfg.end_to_end(KEY, MODEL, method, objective=spread_is, target=jnp.array([2.0, 1.0]), cond=ATOMS)
        assert out.status.ok.all() and outside(out.x, ATOMS) < 1e-5
    assert int(DOMAIN.dimension(jnp.asarray(4))) == 4 * 9 - 3
    noise = tfg.invert(MODEL, out.x, cond=ATOMS, steps=2)
    assert outside(noise.x, ATOMS) < 1e-4


CONFIG = EGNNConfig(width=8, pair_width=4, pair_hidden=4, heads=1, vectors=2, layers=1, radial=4)


def test_guided_molecules_turn_and_permute_with_their_draws_and_targets():

    graphdef, params = nnx.split(EGNN(CONFIG, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(params))
    rng = np.random.default_rng(0)
    params = jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=a.shape) / 3, jnp.float32) for a in leaves])
    model = tfg.from_fn(
        OneMolecule(graphdef, CONFIG), params, tfg.VPPolynomial(), prediction="x0", domain=DOMAIN,
        network_time=log_sigma_time, num_classes=ROWS + 1,
    )  # fmt: skip
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    order = np.array([2, 0, 3, 1, 4])  # of four atoms; the last row is none

    def moved(x):
        return jnp.concatenate([x[..., order, :3] @ turn, x[..., order, 3:]], -1)

    def near(x0, target):
        return -jnp.sum((x0 - target) ** 2)

    draws = [rng.normal(size=(1, *lead, ROWS, 9)).astype(np.float32) for lead in ((), (3, 1))]
    target = jnp.asarray(rng.normal(size=(1, ROWS, 9)), jnp.float32)

    def run(change):
        tape = tfg.NoiseTape(change(jnp.asarray(draws[0])), step=change(jnp.asarray(draws[1])))
        return tfg.sample(KEY, model, noise=tape, cond=jnp.array([4]), objective=near, target=change(target),
                          guidance=tfg.TFG(rho=0.05, mu=0.05), sampler=tfg.DDIM(steps=3)).x  # fmt: skip

    plain = run(lambda x: x)
    np.testing.assert_allclose(run(moved), moved(plain), rtol=1e-3, atol=1e-4)
    assert np.abs(plain).max() > 0.1


def test_no_domain_changes_no_program():
    """One array with a domain that projects nothing, and one without a domain, lower to the same text."""
    texts = []
    for domain in (None, tfg.domains.images((2, 2, 1)), tfg.domains.Domain(tfg.domains.images((2, 2, 1)).spec)):
        model = tfg.from_fn(plain, None, tfg.VPCosine(), prediction="eps", shape=(2, 2, 1), domain=domain)
        run = lambda key, model=model: tfg.sample(  # noqa: E731
            key, model, num_samples=1, objective=bright, guidance=tfg.TFG(n_recur=2, smoothing=0.1, n_mc=2),
            sampler=tfg.DDIM(steps=2),
        ).x  # fmt: skip
        texts.append(jax.jit(run).lower(KEY).as_text())
    assert texts[0] == texts[1] == texts[2]


def plain(params, x, t, cond):
    return x * t


def bright(x0, target):
    return x0.mean()


def test_pictures_and_ranges():
    image = tfg.domains.images((2, 2, 3))
    assert image.range == (-1.0, 1.0)
    np.testing.assert_array_equal(image.show(jnp.ones((2, 2, 3))), np.full((2, 2, 3), 255))
    for domain, sample in (
        (tfg.domains.points((4, 2)), jnp.ones((4, 2))), (DOMAIN, jnp.eye(5, 9)),
        (tfg.domains.molecules(ROWS, 6, split=True), {"positions": jnp.eye(5, 3), "features": jnp.eye(5, 6)}),
        (tfg.domains.Domain(DOMAIN.spec), jnp.ones((5, 9))),
    ):  # fmt: skip
        picture = domain.show(sample)
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.min() < 255
    both = tfg.domains.molecules(ROWS, 6, "atoms", split=True)
    x = {"positions": jnp.ones((5, 3)), "features": jnp.ones((5, 6))}
    seen = both.unpack(both.projected(both.pack(x), {"atoms": 2}))
    assert not seen["positions"].any() and seen["features"].sum() == 12
    with pytest.raises(ValueError, match="shape=.3, 3. is not that of domain=Molecules"):
        tfg.from_fn(plain, None, tfg.VPCosine(), prediction="eps", shape=(3, 3), domain=DOMAIN)
    for call, message in ((lambda: tfg.domains.points((2,), reach=-1.0), "reach=-1.0 must be"),
                          (lambda: tfg.domains.points((2, 2, 2)), r"must be \(D,\) or \(n, D\)")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


@struct.dataclass
class Projected(tfg.domains.Domain):
    """A domain of the user's that projects by any function."""

    function: Any = struct.field(pytree_node=False, default=None)

    def project(self, sample, cond):
        return self.function(sample)


@pytest.mark.parametrize(
    ("function", "told"),
    [(lambda x: x[:1], r"float32\[1, 2, 1\]"), (lambda x: x.astype(int), "int"), (lambda x: {"x": x}, "{'x'"),
     (lambda x: None, "None")],
)  # fmt: skip
def test_a_projection_to_something_else_is_refused(function, told):
    domain = Projected(tfg.domains.images((2, 2, 1)).spec, function)
    model = tfg.from_fn(plain, None, tfg.VPCosine(), prediction="eps", domain=domain)
    for run in (lambda: tfg.sample(KEY, model, num_samples=1), lambda: tfg.invert(model, jnp.ones((1, 2, 2, 1)))):
        with pytest.raises(ValueError, match=f"domain=Projected.project gives .*{told}.*; give the same arrays"):
            run()
