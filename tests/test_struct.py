"""Frozen pytree dataclasses: leaves, structure, and that a compiled function never takes one type for another."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import tfg_jax as tfg
from tfg_jax import struct


@struct.dataclass
class Ball:
    radius: float = 1.0
    sides: int = struct.field(pytree_node=False, default=3)


@struct.dataclass
class Cube(Ball):
    pass


def test_leaves_structure_and_paths():
    ball = Ball(2.0, 5)
    assert jax.tree.leaves(ball) == [2.0]
    assert jax.tree.map(lambda a: 2 * a, ball) == Ball(4.0, 5)
    assert jax.tree.structure(ball) != jax.tree.structure(Ball(2.0, 6))
    assert jax.tree.structure(ball) == jax.tree.structure(Ball(1.0, 5))
    assert jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(ball)[0][0]) == ".radius"


def test_frozen_hashable_replaceable():
    ball = Ball(2.0, 5)
    assert ball.replace(sides=4) == Ball(2.0, 4)  # type: ignore[attr-defined]
    assert hash(ball) == hash(Ball(2.0, 5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ball.radius = 3.0  # type: ignore[misc]


def test_types_are_part_of_the_structure():
    assert jax.tree.structure(Ball()) != jax.tree.structure(Cube())


def test_a_compiled_function_never_takes_one_type_for_another():
    kinds = [struct.dataclass(type(f"Kind{i}", (), {"__annotations__": {"x": float}, "x": 0.0})) for i in range(100)]
    number = jax.jit(lambda node: jnp.asarray(int(type(node).__name__[4:])))
    assert [int(number(kind())) for kind in kinds] == list(range(100))


@pytest.mark.parametrize(
    "nodes",
    [
        (tfg.Euler(4), tfg.Heun(4), tfg.DPMSolverPP2M(4)),
        (tfg.DDIM(4), tfg.DDPM(4)),
        (tfg.VPLinear(), tfg.VE()),
        (tfg.VPCosine(), tfg.RectifiedFlow(), tfg.EDM()),
        (tfg.MPGD(1.0), tfg.ClassifierGuidance(1.0)),
    ],
    ids=lambda nodes: type(nodes[0]).__name__,
)
def test_configurations_of_two_types_are_two_structures(nodes):
    structures = [jax.tree.structure(node) for node in nodes]
    assert all(a != b for i, a in enumerate(structures) for b in structures[:i])


def test_representations_are_short():
    """Models, objectives with weights, samples and results: kinds and counts, never the numbers of a weight."""
    weights = {"w": jnp.ones((300, 300)), "b": jnp.ones(300)}
    model = tfg.from_fn(fit, weights, tfg.VPCosine(), prediction="eps", shape=(300,))
    assert repr(model).startswith(
        "Denoiser(params=<2 arrays, 90,300 numbers>, schedule=VPCosine(offset=0.008, t_start="
    )
    assert "apply=fit" in repr(model) and "network_time=unit_time" in repr(model)
    assert repr(tfg.objectives.from_fn(worth, weights)) == (
        "FromFn(params=<2 arrays, 90,300 numbers>, fn=worth, noisy=False, uses_cond=False)"
    )
    codes = jnp.array([0, 0, 1, 2])
    status, cost = tfg.Status(codes, codes - 1), tfg.Cost(jnp.full(4, 7), jnp.arange(4), jnp.zeros(4, int))
    assert repr(tfg.Samples(jnp.ones((4, 8, 8, 1)), status, cost, {})) == (
        "Samples(x=float32[4, 8, 8, 1], status=Status(2 ok, 1 non-finite, 1 of invalid input), "
        "cost=Cost(forwards=7, pullbacks=0..3, objective=0), info={})"
    )
    assert repr(tfg.DDIM(5, eta=jnp.float32(0.5))) == "DDIM(steps=5, eta=0.5, grid=None)"
    assert repr(tfg.CFG(model, tfg.PerSample(jnp.ones(9)))).endswith("w=PerSample(values=float32[9]), negative=None, "
                                                                    "batched=True)")  # fmt: skip
    for each in (tfg.load("fashion-mnist"), tfg.load("fashion-mnist-evaluator"), tfg.metrics.moments(jnp.ones((4, 3)))):
        assert len(repr(each)) < 500 and "\n" not in repr(each)
    assert "float32[3]" in str(jax.eval_shape(lambda: tfg.Explicit(jnp.ones(3))))
    assert repr(jax.eval_shape(lambda: status)) == "Status(code=int32[4], step=int32[4])"


def fit(params, x, t, cond):
    return x * t


def worth(params, x0, target):
    return x0.sum()
