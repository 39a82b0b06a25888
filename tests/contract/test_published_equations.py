"""Methods, options and grids beyond the recorded trajectories, against a NumPy transcription of the published updates.

Network eps(x, k) = sqrt(1 - abar_k) x + 0.3 tanh(B x), predictor f(x) = log_softmax(W x + b)[target], all gradients by
hand. With a clip the library's rule holds for every method: the estimate and the noise recomputed from it are clipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg

D, N, T = 5, 4, 100
RNG = np.random.default_rng(11)
B, W, BIAS = RNG.standard_normal((D, D)) / 2, RNG.standard_normal((4, D)), RNG.standard_normal(4)
TABLE = np.cumprod(1.0 - np.linspace(1e-3, 0.1, T))
TARGETS = np.array([1, 3])
GRIDS = {
    "to_data": (tfg.Leading(T), np.array([75, 50, 25, 0]), 1.0),
    "not_to_data": (tfg.Leading(T, offset=1, end_at_data=False), np.array([76, 51, 26, 1]), TABLE[0]),
}


def softmax_gradient(u, target):
    e = np.exp(u - u.max())
    return np.eye(len(u))[target] - e / e.sum()


class Published:
    """One sample of one method, step by step."""

    def __init__(self, kind, o, target, tape, clip):
        self.kind, self.o, self.target, self.tape, self.clip = kind, o, target, tape, clip

    def grad_f(self, y):
        return W.T @ softmax_gradient(W @ y + BIAS, self.target)

    def smooth_grad(self, y, deltas):
        """grad of logsumexp_j f(y + delta_j): a softmax-weighted mean."""
        if deltas is None:
            return self.grad_f(y)
        log_f = []
        for delta in deltas:
            u = W @ (y + delta) + BIAS
            log_f.append(u[self.target] - u.max() - np.log(np.exp(u - u.max()).sum()))
        w = np.exp(np.array(log_f) - max(log_f))
        return sum(wj * self.grad_f(y + dj) for wj, dj in zip(w / w.sum(), deltas, strict=True))

    def run(self, x, nodes, last, eta):
        a_all = TABLE[nodes]
        p_all = np.append(a_all[1:], last)
        o, n_recur = self.o, self.o.get("n_recur", 1)
        mean = lambda strength, shape: strength * shape * N / shape.sum()  # noqa: E731
        increase = a_all / p_all
        for i, (a, p) in enumerate(zip(a_all, p_all, strict=True)):
            for r in range(n_recur):
                hidden = np.tanh(B @ x)
                eps = np.sqrt(1 - a) * x + 0.3 * hidden
                raw = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
                x0 = np.clip(raw, -1, 1) if self.clip else raw
                inside = np.abs(raw) <= 1 if self.clip else np.ones(D, bool)
                clean_eps = (x - np.sqrt(a) * x0) / np.sqrt(1 - a)

                def pull(v, hidden=hidden, inside=inside, a=a):
                    v = v * inside
                    jac_eps = np.sqrt(1 - a) * v + 0.3 * B.T @ ((1 - hidden**2) * v)
                    return (v - np.sqrt(1 - a) * jac_eps) / np.sqrt(a)

                s = eta * np.sqrt((1 - p) / (1 - a) * (1 - a / p))
                z = self.tape["step"][i, r]

                def rule(x0, e, p=p, s=s, z=z):
                    return np.sqrt(p) * x0 + np.sqrt(1 - p - s**2) * e + s * z

                def from_eps(e, x=x, a=a):
                    return rule((x - np.sqrt(1 - a) * e) / np.sqrt(a), e)

                if self.kind == "no":
                    y = rule(x0, clean_eps)
                elif self.kind == "cg":
                    y = from_eps(clean_eps - o["k"] * np.sqrt(1 - a) * self.grad_f(x))
                elif self.kind == "mpgd":
                    y = rule(x0 + o["k"] * self.grad_f(x0), eps)
                elif self.kind == "ugd":
                    m = x0.copy()
                    for _ in range(o["n_iter"] - 1):
                        m = m + o["k"] * self.grad_f(m)
                    e = clean_eps - o["k"] * np.sqrt(1 - a) * pull(self.grad_f(x0)) - np.sqrt(a / (1 - a)) * (m - x0)
                    y = from_eps(e)
                else:
                    deltas = None
                    if "smoothing" in o:
                        deltas = o["smoothing"] * np.sqrt(1 - a) * self.tape["mc"][i, r]
                    y = rule(x0, clean_eps)
                    if o["rho"] is not None:
                        rho = mean(o["rho"], increase)[i]
                        y = y + rho * pull(self.smooth_grad(x0, deltas)) / np.sqrt(a / p)
                    if o["mu"] is not None:
                        mu = mean(o["mu"], increase)[i]
                        m = x0.copy()
                        for _ in range(o["n_iter"]):
                            m = m + mu * self.smooth_grad(m, deltas)
                        y = y + np.sqrt(p) * (m - x0)
                if r < n_recur - 1:
                    x = np.sqrt(a / p) * y + np.sqrt(1 - a / p) * self.tape["renoise"][i, r]
            x = y
        return x


def eps_network(params, x, t, cond):
    abar, B = params
    return jnp.sqrt(1.0 - abar[jnp.round(t).astype(int)]) * x + 0.3 * jnp.tanh(B @ x)


def clean_logits(params, x):
    return params[0] @ x + params[1]


def noisy_logits(params, x, log_snr):
    return clean_logits(params, x)


CASES = {
    "no": ({}, lambda o: tfg.Unguided()),
    "no_recur": ({"n_recur": 3}, lambda o: tfg.Unguided(n_recur=3)),
    "cg": ({"k": 0.4}, lambda o: tfg.ClassifierGuidance(strength=o["k"])),
    "mpgd": ({"k": 0.3}, lambda o: tfg.MPGD(strength=o["k"])),
    "ugd": ({"k": 0.2, "n_iter": 3}, lambda o: tfg.UGD(strength=o["k"], n_iter=3)),
    "ugd_recur": ({"k": 0.2, "n_iter": 4, "n_recur": 2}, lambda o: tfg.UGD(strength=o["k"], n_iter=4, n_recur=2)),
    "tfg_rho_only": ({"rho": 0.5, "mu": None}, lambda o: tfg.TFG(rho=o["rho"], mu=None)),
    "tfg_mu_only": ({"rho": None, "mu": 0.3, "n_iter": 2}, lambda o: tfg.TFG(rho=None, mu=o["mu"], n_iter=2)),
    "tfg": (
        {"rho": 0.5, "mu": 0.3, "n_iter": 2, "n_recur": 2, "smoothing": 0.3},
        lambda o: tfg.TFG(rho=o["rho"], mu=o["mu"], n_iter=2, n_recur=2, smoothing=o["smoothing"], n_mc=2),
    ),
}  # fmt: skip
# (case, grid, clip, eta): each case with its clip on, each of the grids, both etas.
RUNS = [
    ("no", "to_data", True, 1.0), ("no", "not_to_data", False, 0.5), ("no_recur", "to_data", True, 1.0),
    ("cg", "to_data", True, 1.0), ("cg", "not_to_data", False, 0.0), ("mpgd", "to_data", True, 1.0),
    ("mpgd", "not_to_data", True, 1.0), ("ugd", "to_data", True, 1.0), ("ugd", "not_to_data", False, 0.0),
    ("ugd_recur", "to_data", False, 1.0), ("ugd_recur", "not_to_data", True, 0.5),
    ("tfg_rho_only", "to_data", True, 1.0), ("tfg_mu_only", "to_data", True, 1.0), ("tfg", "not_to_data", True, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "grid", "clip", "eta"), RUNS)
def test_against_numpy(case, grid, clip, eta, x64):
    options, build = CASES[case]
    guidance = build(options)
    placed, nodes, last = GRIDS[grid]
    normal = np.random.default_rng(3).standard_normal
    initial = normal((2, D))
    tape = {name: normal((2, N, guidance.n_recur, D)) for name in ("step", "renoise")}
    tape["mc"] = normal((2, N, guidance.n_recur, 2, D))
    expected = np.stack([
        Published(case.split("_")[0], options, TARGETS[n], {name: draws[n] for name, draws in tape.items()}, clip).run(
            initial[n] * np.ones(D), nodes, last, eta
        )
        for n in range(2)
    ])  # fmt: skip
    weights = (jnp.asarray(W), jnp.asarray(BIAS))
    if case == "cg":
        objective = tfg.objectives.noisy_class_log_prob(
            tfg.objectives.NoisyClassifier(weights, noisy_logits, num_classes=4)
        )
    else:
        objective = tfg.objectives.class_log_prob(tfg.objectives.Classifier(weights, clean_logits, num_classes=4))
    given = {} if case.startswith("no") else {"objective": objective, "target": jnp.asarray(TARGETS)}
    model = tfg.from_fn(
        eps_network, (jnp.asarray(TABLE), jnp.asarray(B)), tfg.from_alphas_cumprod(TABLE), prediction="eps", shape=(D,)
    )
    out = tfg.sample(
        jax.random.key(0), model, num_samples=2, guidance=guidance, clip=tfg.Clip() if clip else None,
        sampler=tfg.DDIM(steps=N, eta=eta, grid=placed),
        noise=tfg.NoiseTape(jnp.asarray(initial), **{k: jnp.asarray(draws) for k, draws in tape.items()}), **given,
    )  # fmt: skip
    assert np.abs(np.asarray(out.x) - expected).max() < 1e-12
