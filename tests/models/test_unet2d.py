import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tfg_jax as tfg
from tfg_jax.models.unet2d import UNet2D, UNet2DConfig, load_diffusers_state, timestep_embedding
from tfg_jax.models.unet2d.blocks import GroupNorm, ResnetBlock, average_pool, upsample_nearest

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = UNet2DConfig(
    in_channels=2,
    out_channels=3,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
)
TINY = dataclasses.replace(
    SMALL, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), block_out_channels=(8,)
)
CONDITIONAL = dataclasses.replace(TINY, num_class_embeds=3)


def change(**values) -> UNet2DConfig:
    return dataclasses.replace(SMALL, **values)


def random_unet(config: UNet2DConfig, **options) -> UNet2D:
    """A network with random weights; drawn by numpy because compiling every initializer takes seconds."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        fan_in = max(1, leaf.size // leaf.shape[-1]) if leaf.ndim > 1 else 4
        return jnp.asarray(rng.normal(size=leaf.shape) / fan_in**0.5, jnp.float32)

    graph, state = nnx.split(nnx.eval_shape(lambda: UNet2D(config, rngs=nnx.Rngs(0), **options)))
    return nnx.merge(graph, jax.tree.map(draw, state))


def golden(name: str):
    data = np.load(GOLDEN / f"unet2d_{name}.npz", allow_pickle=False)
    state = {key.removeprefix("weights."): data[key] for key in data.files if key.startswith("weights.")}
    config = UNet2DConfig.from_dict(json.loads(str(data["config"])))
    return nnx.eval_shape(lambda: UNet2D(config, rngs=nnx.Rngs(0))), state, data


@pytest.mark.parametrize("name", ["conv", "attention", "classes"])
def test_agrees_with_the_reference_implementation(name):
    unet, state, data = golden(name)
    load_diffusers_state(unet, state)
    x, t = jnp.asarray(data["x"]), jnp.asarray(data["t"])
    cond = jnp.asarray(data["cond"]) if "cond" in data.files else None
    apply = nnx.jit(unet)
    y = apply(x, t, cond)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, data["y"], atol=1e-5, rtol=0)
    # the network must react to its conditioning, or the comparison would show little
    assert np.abs(apply(x, t * 0.9, cond) - y).max() > 1e-3
    if cond is not None:
        assert np.abs(apply(x, t, (cond + 1) % 5) - y).max() > 1e-3


def test_old_attention_names_load_alike():
    unet, state, data = golden("attention")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(key):
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.")
        return key

    load_diffusers_state(unet, {rename(key): value for key, value in state.items()})
    loaded = dict(nnx.to_flat_state(nnx.state(unet)))
    kernel = loaded["mid_block", "attentions", 0, "to_out", 0, "kernel"][...]
    assert np.array_equal(kernel, state["mid_block.attentions.0.to_out.0.weight"].T)


def test_loading_is_strict_both_ways_and_changes_nothing_on_failure():
    unet, state, _ = golden("conv")
    key = "mid_block.resnets.1.conv2.weight"
    bad = [
        ({k: v for k, v in state.items() if k != key}, f"lacks '{key}'"),
        (state | {"extra.weight": np.zeros(3)}, "no place for 'extra.weight'"),
        (state | {key: state[key][:, :-1]}, f"'{key}' has shape"),
    ]
    for arrays, message in bad:
        with pytest.raises(ValueError, match=message):
            load_diffusers_state(unet, arrays)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(unet)))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kind", ["conv", "resnet"])
def test_odd_sizes_come_back(padding, kind):
    config = change(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=padding,
        downsample_type=kind,
        upsample_type=kind,
    )
    apply = lambda x, t: UNet2D(config, rngs=nnx.Rngs(0))(x, t)  # noqa: E731
    y = jax.eval_shape(apply, jnp.ones((2, 7, 13, 2)), jnp.array([1.0, 2.0]))
    assert y.shape == (2, 7, 13, 3) and y.dtype == jnp.float32


def test_upsampling_follows_the_nearest_index_rule():
    x = jax.random.normal(jax.random.key(0), (1, 4, 3, 2))
    rows, columns = np.arange(7) * 4 // 7, np.arange(5) * 3 // 5
    assert np.array_equal(upsample_nearest(x, (7, 5)), x[:, rows][:, :, columns])
    assert np.array_equal(upsample_nearest(x, (9, 6))[:, -1], np.repeat(x[:, -1], 2, axis=1))
    assert np.array_equal(average_pool(upsample_nearest(x, (8, 6))), x)


def test_vmap_over_single_samples_is_the_batch_call():
    unet = random_unet(CONDITIONAL)
    x, t, cond = jax.random.normal(jax.random.key(1), (3, 7, 7, 2)), jnp.array([1.0, 50.0, 900.0]), jnp.arange(3)

    @jax.jit
    def both(x, t, cond):
        return unet(x, t, cond), jax.vmap(lambda x, t, cond: unet(x[None], t[None], cond[None])[0])(x, t, cond)

    batch, single = both(x, t, cond)
    assert batch.shape == (3, 7, 7, 3) and np.ptp(batch) > 0.1
    np.testing.assert_allclose(single, batch, atol=2e-5)


def test_zero_init_silences_the_last_layer_of_every_branch():
    config = dataclasses.replace(TINY, in_channels=8, out_channels=8, time_embedding_dim=8)  # few shapes to compile

    def zeros(option):
        _, state = nnx.split(UNet2D(config, rngs=nnx.Rngs(0), zero_init=option))
        flat = nnx.to_flat_state(state)
        return {".".join(map(str, path[:-1])) for path, leaf in flat if path[-1] == "kernel" and not np.any(leaf[...])}

    assert zeros(False) == set()
    resnets = {"down_blocks.0.resnets.0", "mid_block.resnets.0", "mid_block.resnets.1"}
    resnets |= {"up_blocks.0.resnets.0", "up_blocks.0.resnets.1"}
    assert zeros(True) == {f"{name}.conv2" for name in resnets} | {"mid_block.attentions.0.to_out.0", "conv_out"}


def test_bfloat16_activations_keep_parameters_and_output_dtype():
    x, t = jax.random.normal(jax.random.key(3), (2, 4, 4, 2)), jnp.array([3.0, 700.0])
    full, half = (random_unet(TINY, dtype=dtype) for dtype in (None, jnp.bfloat16))
    y, z = jax.jit(lambda x, t: (full(x, t), half(x, t)))(x, t)
    assert z.dtype == jnp.float32 and half.conv_in.kernel.dtype == jnp.float32
    assert 0 < np.abs(y - z).max() < 0.1 * np.abs(y).max()


@pytest.mark.parametrize(
    "config",
    [
        change(out_channels=2),
        change(
            out_channels=2, time_embedding_type="fourier", num_class_embeds=3, resnet_time_scale_shift="scale_shift"
        ),
        change(out_channels=2, downsample_type="resnet", upsample_type="resnet"),
    ],
    ids=["plain", "fourier, classes", "resnet sampling"],
)
def test_in_bfloat16_every_product_is(config):
    """Convolutions and products of the network and of its pullback, from the program, sampled by a guided run."""
    unet = nnx.eval_shape(lambda: UNet2D(config, rngs=nnx.Rngs(0)))
    unet = nnx.merge(nnx.split(unet)[0], jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), nnx.split(unet)[1]))
    labels = config.class_conditional
    model = tfg.from_nnx(
        unet, tfg.VPCosine(), prediction="x0", shape=(4, 4, 2), num_classes=3 if labels else None
    ).astype(jnp.bfloat16)
    cond = jnp.array([0, 1]) if labels else None

    def run(model):
        options = {"objective": jnp.sum, "guidance": tfg.MPGD(1.0), "sampler": tfg.DDIM(steps=2), "cond": cond}
        return tfg.sample(jax.random.key(0), model, num_samples=2, **options).x

    text = jax.jit(run).lower(model).as_text()
    products = re.findall(r"stablehlo\.(?:convolution|dot_general)\b.*: \((.*)\) ->", text)
    assert len(products) > 20 and not any("f32" in operands for operands in products)
    loop = text.index("stablehlo.while")
    casts = [m.start() for m in re.finditer(r"convert .*tensor<3x3x\d+x\d+xf32>\) -> tensor<3x3x\d+x\d+xbf16>", text)]
    assert casts and max(casts) < loop  # the weights, once


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_group_norm_statistics(offset):
    x = offset + jax.random.normal(jax.random.key(4), (2, 5, 3, 8))
    groups = np.asarray(x, np.float64).reshape(2, 15, 4, 2)
    mean, var = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    expected = ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
    norm = GroupNorm(4, 8, 1e-5, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(jax.jit(lambda x: norm(x))(x), expected, atol=2e-5)


def test_timestep_embedding_formula():
    t = jnp.array([0.0, 3.0])
    plain, flipped = timestep_embedding(t, 5), timestep_embedding(t, 4, flip_sin_to_cos=True, freq_shift=1)
    np.testing.assert_allclose(plain[1], [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03), 0.0], atol=1e-6)
    np.testing.assert_allclose(flipped[1], [np.cos(3), np.cos(3e-4), np.sin(3), np.sin(3e-4)], atol=1e-6)


def test_fourier_frequencies_are_weights_but_not_trained():
    config = change(time_embedding_type="fourier")
    unet = nnx.eval_shape(lambda: UNet2D(config, rngs=nnx.Rngs(0)))
    assert ("time_proj", "weight") in dict(nnx.to_flat_state(nnx.state(unet)))
    assert ("time_proj", "weight") not in dict(nnx.to_flat_state(nnx.state(unet, nnx.Param)))


def test_config_round_trip_through_json():
    config = change(num_class_embeds=4, sample_size=(14, 14))
    assert UNet2DConfig.from_dict(json.loads(json.dumps(config.to_dict())) | {"_class_name": "UNet2DModel"}) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unknown_key": 1}, "UNet2DConfig has no field 'unknown_key'"),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "down_block_types has 'SkipDownBlock2D'"),
        ({"up_block_types": ["UpBlock2D"]}, "up_block_types has 1 entries"),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, "mid_block_type="),
        ({"act_fn": "tanh"}, "act_fn='tanh' is not supported"),
        ({"downsample_padding": 2}, "downsample_padding=2"),
        ({"block_out_channels": [8, 18]}, "positive multiple of norm_num_groups=4"),
        ({"layers_per_block": 0}, "layers_per_block=0"),
        ({"norm_num_groups": None}, "norm_num_groups=None"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"norm_eps": 0.0}, "norm_eps=0.0"),
        ({"class_embed_type": "timestep", "num_class_embeds": 3}, "num_class_embeds=3 has no effect"),
        ({"time_embedding_type": "learned"}, "num_train_timesteps=None does not fit"),
    ],
)
def test_what_cannot_be_honoured_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        UNet2DConfig.from_dict(SMALL.to_dict() | values)


def test_call_errors():
    plain, conditional = (nnx.eval_shape(lambda c=c: UNet2D(c, rngs=nnx.Rngs(0))) for c in (TINY, CONDITIONAL))
    x, t = jnp.zeros((1, 8, 8, 2)), jnp.zeros(1)
    with pytest.raises(ValueError, match="x has shape"):
        plain(x[..., :1], t)
    with pytest.raises(ValueError, match="no class embedding"):
        plain(x, t, jnp.zeros(1, int))
    with pytest.raises(ValueError, match="cond=None"):
        conditional(x, t)
    with pytest.raises(ValueError, match="attention_head_dim=32 exceeds"):
        nnx.eval_shape(lambda: UNet2D(change(attention_head_dim=32), rngs=nnx.Rngs(0)))


def test_dropout_acts_in_training_only():
    config = dataclasses.replace(TINY, dropout=0.5, time_embedding_dim=8)
    block = ResnetBlock(config, 8, 8, rngs=nnx.Rngs(0), dtype=None, zero_init=False)
    x, emb = jnp.ones((1, 4, 4, 8)), jnp.ones((1, 8))
    assert not np.array_equal(block(x, emb), block(x, emb))
    block.eval()
    assert np.array_equal(block(x, emb), block(x, emb))
