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
