"""The PyTorch side of `bench.py peers`: a process of its own, as its packages live in another environment.

    python torch_peers.py FOLDER CONFIG

writes the weights of a diffusers `UNet2DModel` with that configuration (JSON) into FOLDER/state.npz, says "ready", and
then answers every line `PROGRAM BATCH STEPS` with the processor seconds of one run. One thread, parameters frozen.

The benchmark is the TFG benchmark's update written again as a plain loop: for TFG one guided forward with its backward,
then the gradients of the denoised estimate; for DPS its three forwards, of which one would do.
"""

import json
import sys
import time
from pathlib import Path

import azula.denoise  # pyright: ignore[reportMissingImports]
import azula.guidance.dps  # pyright: ignore[reportMissingImports]
import azula.noise  # pyright: ignore[reportMissingImports]
import deepinv  # pyright: ignore[reportMissingImports]
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from diffusers import UNet2DModel  # pyright: ignore[reportMissingImports]

T, GRADIENTS = 1000, 4
ABAR = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, T), 0)


class Network(torch.nn.Module):
    """Noise at a network time; ABAR is its schedule."""

    def __init__(self, config: dict):
        super().__init__()
        torch.manual_seed(0)
        self.unet = UNet2DModel(**config).eval().requires_grad_(False)

    def forward(self, x, t):
        return self.unet(x, t).sample


class AzulaDenoiser(azula.denoise.Denoiser):
    """azula's interface to the network."""

    def __init__(self, net: Network):
        super().__init__()
        self.net, self.schedule = net, azula.noise.VPSchedule()

    def forward(self, x_t, t, **kwargs):
        alpha, sigma = self.schedule(t)
        return azula.denoise.DiracPosterior(mean=(x_t - sigma * self.net(x_t, t * (T - 1))) / alpha)


class DeepinvDenoiser(deepinv.models.Denoiser):
    """deepinv's interface to the network: x = x_0 + sigma eps."""

    def __init__(self, net: Network):
        super().__init__()
        self.net, self.table = net, torch.sqrt(1.0 / ABAR - 1.0)

    def forward(self, x, sigma, *args, **kwargs):
        level = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1)[0]
        t = torch.searchsorted(self.table, level).clamp(max=T - 1)
        return x - level * self.net(x / torch.sqrt(1.0 + level**2), t)


def gradient(f, x):
    """Value of f at x, and its gradient in x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value, kept = f(x)
        return kept.detach(), torch.autograd.grad(value.sum(), x)[0]


def benchmark(net, y, mask, x, steps, method):
    """The benchmark's update over the steps."""
    nodes = torch.linspace(T - 1, 0, steps + 1).round().long()
    squares = lambda x0: -((mask * x0 - y) ** 2).sum((1, 2, 3))  # noqa: E731
    norm = lambda x0: -torch.linalg.vector_norm(mask * x0 - y, dim=(1, 2, 3))  # noqa: E731
    for now, after in zip(nodes[:-1], nodes[1:], strict=True):
        a, p = ABAR[now], ABAR[after]
        denoised = lambda x: (x - (1 - a).sqrt() * net(x, now)) / a.sqrt()  # noqa: E731, B023
        if method == "dps":
            x0 = denoised(x)
            _, shift = gradient(lambda x: (lambda x0: (norm(x0), x0))(denoised(x)), x)  # noqa: B023
            with torch.enable_grad():
                denoised(x.detach().requires_grad_())
            move = 0.0
        else:
            x0, shift = gradient(lambda x: (lambda x0: (squares(x0), x0))(denoised(x)), x)  # noqa: B023
            edited = x0
            for _ in range(GRADIENTS):
                edited = edited + 0.01 * gradient(lambda x0: (squares(x0), x0), edited)[1]
            move = p.sqrt() * (edited - x0)
        std = ((1 - p) / (1 - a) * (1 - a / p)).sqrt()
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        x = p.sqrt() * x0 + (1 - p - std**2).clamp(min=0).sqrt() * eps + std * torch.randn_like(x)
        x = x + 0.01 * shift / (a / p).sqrt() + move
    return x


def run(net, program, shape, steps):
    """One run of a program."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator)
    mask = (torch.rand(shape[1:], generator=generator) > 0.5).float()
    y = mask * torch.zeros(shape)
    with torch.no_grad():
        if program == "network":
            return net(x, torch.tensor(500))
        if program in ("benchmark-tfg", "benchmark-dps"):
            return benchmark(net, y, mask, x, steps, program[-3:])
        if program == "azula-dps":
            sampler = azula.guidance.dps.DPSSampler(
                AzulaDenoiser(net), y, lambda x0: mask * x0, zeta=0.01, steps=steps, silent=True
            )
            return sampler(x)
        physics = deepinv.physics.Inpainting(tuple(shape[1:]), mask=mask)
        sampler = deepinv.sampling.DPS(DeepinvDenoiser(net), num_steps=steps + 1, weight=0.01, dtype=torch.float32)
        return sampler(y, physics, x_init=x)


def main(folder: str, config: str) -> None:
    """Write the weights, then answer."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # the packages may print
    settings = json.loads(Path(config).read_text())
    net = Network(settings)
    np.savez(Path(folder) / "state.npz", **{k: v.numpy() for k, v in net.unet.state_dict().items()})
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        program, batch, steps = line.split()
        shape = (int(batch), settings["in_channels"], settings["sample_size"], settings["sample_size"])
        start = time.process_time()
        out = run(net, program, shape, int(steps))
        print(time.process_time() - start, float(out.abs().mean()), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
