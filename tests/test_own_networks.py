"""Networks and methods of the user's own: taken as they come where that is clear, else refused by name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import tfg_jax as tfg
from tfg_jax import struct
from tfg_jax.models import UNet2D, UNet2DConfig
from tfg_jax.weights import load_diffusers_state

KEY, SHAPE, N = jax.random.key(0), (3,), 2
SCHEDULE, STEPS = tfg.VPCosine(), tfg.DDIM(steps=2)
OPTIONS = {"prediction": "eps", "shape": SHAPE}


def draw(model, **options):
    return tfg.sample(KEY, model, num_samples=N, sampler=STEPS, **options)


def refused(message, make, *args, **options):
    """The call is refused in one short sentence that matches."""
    with pytest.raises(ValueError, match=message) as caught:
        make(*args, **options)
    assert len(str(caught.value)) <= 300 and "\n" not in str(caught.value)


class Block(nnx.Module):
    def __init__(self, layer):
        self.inner = nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(0)), layer])

    def __call__(self, x, *rest):
        for layer in self.inner:
            x = layer(x)
        return x


def norm():
    return Block(nnx.BatchNorm(3, rngs=nnx.Rngs(0)))


def dropout():
    return Block(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))


def attention():
    return Block(nnx.MultiHeadAttention(1, 3, dropout_rate=0.5, deterministic=False, decode=False, rngs=nnx.Rngs(0)))


def apply(params, x, *rest):
    return params(x[None])[0]


def score(params, x0, target):
    return params(x0[None]).sum()


@pytest.mark.parametrize(("build", "layer"), [(norm, "BatchNorm"), (dropout, "Dropout"), (attention, "MultiHead")])
def test_networks_in_training_mode_are_refused_with_the_layer(build, layer):
    network = build()
    message = rf"holds a Block in training mode, seen in its layer inner.1 \({layer}.*\); call its .eval\(\) first"

    def closed_over(x0, target):
        return network(x0[None]).sum()

    graph, state = nnx.split(network)

    def merged(params, x, t, cond):
        return nnx.merge(graph, params, copy=True)(x[None])[0]

    def set_to_evaluation(params, x, t, cond):
        layers = nnx.merge(graph, params, copy=True)
        layers.eval()
        return layers(x[None])[0]

    assert tfg.from_fn(set_to_evaluation, nnx.to_pure_dict(state), SCHEDULE, **OPTIONS)(jnp.ones(3), 0.5).eps.ndim
    objectives = tfg.objectives
    for make in (
        lambda: tfg.from_fn(merged, nnx.to_pure_dict(state), SCHEDULE, **OPTIONS),
        lambda: tfg.from_nnx(network, SCHEDULE, **OPTIONS),
        lambda: tfg.from_fn(apply, network, SCHEDULE, **OPTIONS),
        lambda: tfg.from_fn(apply, {"deep": [network]}, SCHEDULE, **OPTIONS),
        lambda: tfg.from_fn(lambda p, x, t, c: network(x[None])[0], None, SCHEDULE, **OPTIONS),
        lambda: objectives.from_fn(score, network),
        lambda: objectives.class_log_prob(objectives.Classifier(network, apply, 3)),
        lambda: objectives.through(network, closed_over),
        lambda: draw(tfg.analytic.gaussian([0.0] * 3, np.eye(3)).denoiser(SCHEDULE), objective=closed_over,
                     guidance=tfg.DPS()),
    ):  # fmt: skip
        refused(message, make)
    network.eval()
    assert draw(tfg.from_nnx(network, SCHEDULE, **OPTIONS)).status.ok.all()


def test_a_module_put_back_into_training_mode_is_noticed_by_the_run():
    network = norm()
    network.eval()
    model = tfg.from_fn(apply, network, SCHEDULE, **OPTIONS)
    network.train()
    refused("model holds a Block in training mode", draw, model)


def test_evaluation_mode_reads_the_running_statistics():
    network = norm()
    network.eval()
    statistics: Any = network.inner[1]
    statistics.mean[...] = jnp.array([1.0, 2.0, 3.0])
    x = jnp.full((3,), 7.0)
    model = tfg.from_nnx(network, SCHEDULE, **OPTIONS)
    np.testing.assert_allclose(model(x, 0.5).eps, network(x[None])[0], rtol=1e-6)


class Deterministic(nnx.Linear):
    deterministic = False  # its own affair


def test_what_does_not_train_is_no_training_mode():
    for layer in (nnx.Dropout(0.0, rngs=nnx.Rngs(0)), Deterministic(3, 3, rngs=nnx.Rngs(0))):
        assert tfg.from_nnx(Block(layer), SCHEDULE, **OPTIONS)(jnp.ones(3), 0.5).eps.shape == SHAPE


def test_diffusers_networks_come_in_evaluation_mode():
    config = {
        "in_channels": 1, "out_channels": 1, "block_out_channels": (4,), "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",), "layers_per_block": 1, "norm_num_groups": 2, "add_attention": False,
    }  # fmt: skip
    plain = UNet2D(UNet2DConfig(**config), rngs=nnx.Rngs(0), zero_init=False)
    state = {}
    for path, leaf in nnx.to_flat_state(nnx.state(plain, nnx.Param)):
        *where, last = map(str, path)
        value = np.asarray(leaf[...])
        if last == "kernel":
            value = value.transpose((3, 2, 0, 1) if value.ndim == 4 else None)
        state[".".join([*where, {"kernel": "weight", "scale": "weight"}.get(last, last)])] = value
    x, t = jnp.ones((1, 4, 4, 1)), jnp.ones((1,))
    for rate in (0.0, 0.5):
        build = lambda rate=rate: UNet2D(UNet2DConfig(**config, dropout=rate), rngs=nnx.Rngs(0))  # noqa: E731
        for unet in (nnx.eval_shape(build), build()):
            loaded = load_diffusers_state(unet, state)
            np.testing.assert_allclose(loaded(x, t), plain(x, t), rtol=1e-5, atol=1e-6)
            tfg.from_nnx(loaded, SCHEDULE, prediction="eps", shape=(4, 4, 1)).astype(jnp.bfloat16)(x[0], 0.5)


class Net(equinox.Module):
    linear: equinox.nn.Linear
    dropout: equinox.nn.Dropout
    activation: Callable = jax.nn.silu
    name: str = "mine"

    def __call__(self, x):
        return self.dropout(self.activation(self.linear(x)))


def call(net, x, *rest):
    return net(x)


def test_equinox_modules_and_text_among_the_weights():
    net = Net(equinox.nn.Linear(3, 3, key=KEY), equinox.nn.Dropout(0.5, inference=True))
    model = tfg.from_fn(call, net, SCHEDULE, **OPTIONS)
    np.testing.assert_allclose(model(jnp.ones(3), 0.5).eps, net(jnp.ones(3)), rtol=1e-6)
    out = draw(model, objective=tfg.objectives.from_fn(lambda net, x0, y: net(x0).sum(), net), guidance=tfg.DPS(0.1))
    assert out.status.ok.all()
    trains = equinox.tree_at(lambda net: net.dropout.inference, net, False)
    refused("the network cannot read one sample .* Dropout requires a key.*pass equinox.nn.inference_mode", draw,
            tfg.from_fn(call, trains, SCHEDULE, **OPTIONS))  # fmt: skip
    named = {"w": jnp.eye(3), "kind": "linear"}
    model = tfg.from_fn(lambda p, x, t, c: p["w"] @ x if p["kind"] == "linear" else x, named, SCHEDULE, **OPTIONS)
    assert draw(model).status.ok.all()
    refused(r"params\['bad'\]=\{1\} is neither an array nor hashable", tfg.from_fn, call, {"bad": {1}}, SCHEDULE,
            **OPTIONS)  # fmt: skip


class WithFlag(linen.Module):
    @linen.compact
    def __call__(self, x, t, train):
        return linen.Dropout(0.5, deterministic=not train)(linen.Dense(3)(x))


def test_flags_are_passed_through():
    net = WithFlag()
    variables = net.init(KEY, jnp.ones((1, 3)), jnp.ones((1,)), False)
    model = tfg.from_linen(net, variables, SCHEDULE, call={"train": False}, **OPTIONS)
    assert draw(model).status.ok.all()
    refused("the network cannot read .*'train'; flags such as train are given by call=", draw,
            tfg.from_linen(net, variables, SCHEDULE, **OPTIONS))  # fmt: skip
    refused("the network cannot read", draw, tfg.from_linen(net, variables, SCHEDULE, call={"train": True}, **OPTIONS))
    refused("variables has no collection 'params' but Dense_0; pass all that init gave, or {'params': ...}",
            tfg.from_linen, net, variables["params"], SCHEDULE, **OPTIONS)  # fmt: skip
    attention = nnx.MultiHeadAttention(1, 3, dropout_rate=0.5, rngs=nnx.Rngs(0), decode=False)
    refused("No `deterministic` argument.*; call its .eval.. first", draw,
            tfg.from_nnx(Block(attention), SCHEDULE, **OPTIONS))  # fmt: skip
    refused("module=.* is no Flax Linen module", tfg.from_linen, WithFlag, variables, SCHEDULE, **OPTIONS)
    refused("module=.* is no Flax NNX module", tfg.from_nnx, net, SCHEDULE, **OPTIONS)
    refused("variables=None must be collections", tfg.from_linen, net, None, SCHEDULE, **OPTIONS)


def batched(params, x, t, cond):
    return x * t[:, None]


def pair(params, x, t, cond):
    return x, t


def dictionary(params, x, t, cond):
    return {"sample": x}


def with_numpy(params, x, t, cond):
    return np.tanh(np.asarray(x))


def with_if(params, x, t, cond):
    return x if t > 0.5 else -x


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            batched,
            r"the network cannot read one sample of shape \(3,\), a time of shape \(\) and no cond: .*one sample",
        ),
        (pair, "the network returns a tuple, not an array; wrap it to"),
        (dictionary, "the network returns a dict, not an array; wrap it"),
        (with_numpy, "write it in jax.numpy, without NumPy"),
        (with_if, "write it in jax.numpy, without NumPy and Python's if"),
    ],
)
def test_networks_that_cannot_be_read(fn, message):
    model = tfg.from_fn(fn, None, SCHEDULE, **OPTIONS)
    refused(message, draw, model)
    refused(message, tfg.invert, model, jnp.ones((N, *SHAPE)), steps=2)


def test_arguments_of_functions_and_numbers_of_networks():
    make = tfg.from_fn
    refused(r"fn=.* takes \(x, t\); it must take \(params, x, t_network, cond\)", make, lambda x, t: x, None, SCHEDULE,
            **OPTIONS)  # fmt: skip
    refused(r"network_time=.* must take \(schedule, t\)", make, pair, None, SCHEDULE, network_time=jnp.sin, **OPTIONS)
    refused(r"fn=.* must take \(params, x0, target\)", tfg.objectives.from_fn, lambda x: x)
    refused(r"objective=.* must take \(x0, target\)", draw, tfg.from_fn(call_x, None, SCHEDULE, **OPTIONS),
            objective=lambda x0: x0.sum(), guidance=tfg.DPS())  # fmt: skip
    for options, message in (
        ({"shape": 5}, "shape=5 must be a tuple of integers, such as"),
        ({"shape": {"a": 3}}, "shape={'a': 3} must be a tuple of integers"),
        ({"shape": (4.0, 4)}, "shape=.* must be a tuple of integers"),
        ({"shape": (-3,)}, "shape's entry=-3 must be an integer >= 1"),
        ({"dtype": "bf17"}, "dtype='bf17' is no dtype"),
        ({"dtype": jnp.int32}, "dtype=int32 is no floating precision"),
        ({"num_classes": -1}, "num_classes=-1 must be an integer >= 1"),
        ({"prediction": "edm", "sigma_data": 0.0}, "sigma_data=0. must be a finite number > 0"),
    ):
        refused(message, make, call_x, None, SCHEDULE, **{**OPTIONS, **options})


def call_x(params, x, t, cond):
    return x


def test_numbers_of_samples_of_numpy_count():
    model = tfg.from_fn(call_x, None, SCHEDULE, **OPTIONS)
    count: Any = np.int32(N)
    out = tfg.sample(KEY, model, num_samples=count, sampler=STEPS)
    np.testing.assert_array_equal(out.x, draw(model).x)
    refused("num_samples=2147483649 must be at most 2147483648", tfg.sample, KEY, model, num_samples=2**31 + 1)
    refused("key holds keys of shape .2,., one key is needed; map over", tfg.sample, jax.random.split(KEY), model,
            num_samples=N)  # fmt: skip
    refused(r"cond has a leaf of shape \(5,\), num_samples=2 needs", draw, model, cond=jnp.ones(5))
    refused(r"window's low has shape \(2,\), one number is needed", draw, model, guidance=tfg.DPS(),
            objective=lambda x, y: x.sum(), window=(jnp.ones(2), 3.0))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PlainMethod(tfg.Unguided):
    """Not made a pytree of its own."""


@dataclasses.dataclass
class NoPytree:
    n_recur = 1

    def check(self):
        pass

    def cost(self, evaluation):
        return evaluation

    def prepare(self, levels):
        return None, None

    def step(self, ctx, per_step, state):
        return ctx.advance(ctx.denoised), state


@struct.dataclass
class Wrong:
    """A method of which one part gives something else than it should."""

    fault: str = struct.field(pytree_node=False)
    n_recur = 1

    def check(self):
        pass

    def cost(self, evaluation):
        return evaluation

    def prepare(self, levels):
        return None if self.fault == "prepare" else (None, jnp.zeros(()))

    def step(self, ctx, per_step, state):
        moved = ctx.advance(ctx.denoised)
        return {
            "alone": moved, "sample": (moved.x, state), "state": (moved, jnp.zeros(2)),
            "shape": (moved.replace(x=jnp.zeros(7)), state),
        }.get(self.fault, (moved, state))  # fmt: skip


def test_methods_of_the_users_own_are_told_what_they_lack():
    model = tfg.from_fn(call_x, None, SCHEDULE, **OPTIONS)
    options = {"objective": lambda x0, target: x0.sum(), "num_samples": N, "sampler": STEPS}

    def run(method):
        return tfg.sample(KEY, model, guidance=method, **options)

    refused("guidance=NoPytree is no pytree; make its class a @tfg_jax.struct.dataclass", run, NoPytree())
    for fault, message in (
        ("alone", r"guidance=Wrong.step must return \(proposal, state\).* got a Next"),
        ("sample", r"guidance=Wrong.step must return \(proposal, state\).* got a (ArrayImpl|\w*Tracer)"),
        ("state", "guidance=Wrong.step returns a state of .*; return one of the same"),
        ("shape", r"guidance=Wrong.step moves a sample of shape \(3,\) to shape \(7,\)"),
        ("prepare", r"guidance=Wrong.prepare must return \(per_step, state\), got a NoneType"),
    ):
        refused(message, run, Wrong(fault))


def test_rewards_that_are_no_functions():
    model = tfg.from_fn(call_x, None, SCHEDULE, **OPTIONS)
    for wrong in (3, True, "reward", None):
        message = f"objective={wrong!r} is no objective of tfg_jax"
        refused(message, tfg.end_to_end, KEY, model, tfg.DFlow(), objective=wrong, num_samples=N)
        refused(message, tfg.optimize.iterate, KEY, model, wrong, rounds=1, batch=N, delta=1.0)
    refused("method=.* is no method of tfg_jax; pass DFlow", tfg.end_to_end, KEY, model, tfg.TFG(), objective=score,
            num_samples=N)  # fmt: skip


def test_shapes_and_kernels_in_the_wrong_order():
    refused(
        r"shape=an array of shape \(3, 3\) must be \(H, W, C\)", tfg.operators.convolution, np.ones((3, 3)), (4, 4, 1)
    )
    refused(r"shape=an array of shape \(9, 9\) must be", tfg.operators.convolution, np.ones((9, 9)), (4, 4, 1))


def test_images_of_bytes_and_single_images_are_refused_by_metrics():
    images = np.zeros((2, 8, 8, 1), np.uint8)
    refused("x has dtype uint8, floating point is needed; scale integers of images", tfg.metrics.psnr, images, images)
    refused(r"images has shape \(8, 8, 1\), \(n, H, W, C\) is needed; one image x is given as x\[None\]",
            tfg.metrics.high_frequency_power, np.zeros((8, 8, 1)))  # fmt: skip


def test_a_folder_of_diffusers_is_told_how_it_is_loaded(tmp_path):
    for file in ("model_index.json", "diffusion_pytorch_model.safetensors"):
        folder = tmp_path / file.split(".")[0]
        folder.mkdir()
        (folder / file).write_text("{}")
        with pytest.raises(ValueError, match="is a folder of diffusers; build UNet2D .*load_diffusers_state"):
            tfg.load(folder)


def test_end_to_end_needs_a_scalar():
    model = tfg.from_fn(call_x, None, SCHEDULE, **OPTIONS)
    for objective, message in (
        (lambda x0, target: x0, r"a scalar for one sample, got shape \(3,\)"),
        (lambda x0, target: (x0.sum(), 0.0), "a scalar for one sample, it returns a tuple; take one"),
        (lambda x0, target: (x0 > 0).sum(), "a real floating number, got dtype int32.*: make it smooth"),
        (lambda x0, target: x0.sum() + 1j, ".*got dtype complex64.*of complex numbers r take"),
    ):
        refused(f"objective must return {message}", tfg.end_to_end, KEY, model, tfg.DFlow(), objective=objective,
                num_samples=N)  # fmt: skip


class Scorer(linen.Module):
    @linen.compact
    def __call__(self, x0):
        return linen.Dense(1)(x0)[:, 0]


class OnX(equinox.Module):
    weight: Any
    act: Callable = jnp.tanh

    def __call__(self, x0, target):
        return self.act(x0 @ self.weight).sum()


def test_objectives_come_from_any_module():
    """One linear score, written in every library, guides alike."""
    scorer = Scorer()
    variables = scorer.init(KEY, jnp.ones((1, 3)))
    kernel, bias = variables["params"]["Dense_0"]["kernel"], variables["params"]["Dense_0"]["bias"]

    class Score(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
            dense: Any = self.dense
            dense.kernel[...], dense.bias[...] = kernel, bias

        def __call__(self, x0):
            return self.dense(x0)[:, 0]

    def with_key(params, rng, x0, target):
        assert rng is None
        return (x0 @ params[0] + params[1])[0]

    pair = (lambda rng, x: None, with_key)
    from_nnx, from_linen = tfg.objectives.from_nnx(Score()), tfg.objectives.from_linen(scorer, variables)
    model = tfg.from_fn((lambda rng: None, lambda params, x, t, c: x * params), jnp.ones(()), SCHEDULE, **OPTIONS)
    expected = draw(model, objective=tfg.objectives.from_fn(pair, (kernel, bias)), guidance=tfg.MPGD(0.1)).x
    for objective in (from_nnx, from_linen, Score(), OnX(kernel, lambda x: x)):
        np.testing.assert_allclose(draw(model, objective=objective, guidance=tfg.MPGD(0.1)).x, expected, rtol=1e-5)
    refused("objective=Scorer has no weights; pass tfg.objectives.from_linen", draw, model, objective=scorer,
            guidance=tfg.MPGD())  # fmt: skip


def test_a_flag_that_overrides_evaluation_mode_is_noticed():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.bn = nnx.BatchNorm(4, rngs=rngs)

        def __call__(self, x, t, train=True):
            return self.bn(x, use_running_average=not train)

    net = Net(nnx.Rngs(0))
    net.eval()
    options: Any = {"prediction": "v", "shape": (4,)}
    run = lambda model: tfg.sample(jax.random.key(0), model, num_samples=1, sampler=tfg.DDIM(steps=2)).x  # noqa: E731
    with pytest.raises(ValueError, match="bn.mean changes while it runs, as in training"):
        run(tfg.from_nnx(net, tfg.VPCosine(), **options))
    assert run(tfg.from_nnx(net, tfg.VPCosine(), call={"train": False}, **options)).shape == (1, 4)


def test_networks_in_training_mode_behind_jit_and_objects_are_seen():
    net = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    class Holder:
        def __init__(self):
            self.net = net

        def __call__(self, params, x, t, cond):
            return self.net(x)

    for fn in (jax.jit(lambda params, x, t, cond: net(x)), Holder()):
        with pytest.raises(ValueError, match=r"in training mode.*\.eval\(\)"):
            tfg.from_fn(fn, None, tfg.VPCosine(), prediction="v", shape=(4,))


def test_the_annotations_of_a_users_own_class_are_the_users():
    @dataclasses.dataclass(frozen=True, slots=True)
    class Own:
        weight: float = 1.0
        named: np.ndarray | None = None

        def __call__(self, x0, target):
            return -self.weight * jnp.sum(x0**2)

    model = tfg.from_fn(lambda p, x, t, c: x * t, None, tfg.VPCosine(), prediction="v", shape=(4,))
    out = tfg.sample(
        jax.random.key(0), model, num_samples=1, objective=Own(), guidance=tfg.TFG(), sampler=tfg.DDIM(steps=2)
    )
    assert bool(out.status.ok.all())
    grid = tfg.Explicit([0.9, 0.5, 0.0])
    assert tfg.sample(jax.random.key(0), model, num_samples=1, sampler=tfg.DDIM(2, grid=grid)).x.shape == (1, 4)
    with pytest.raises(ValueError, match="objective=float32 is no objective"):
        tfg.sample(jax.random.key(0), model, num_samples=1, objective=np.float32, guidance=tfg.TFG())  # type: ignore[arg-type]
