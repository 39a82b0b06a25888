"""The ways to sample that the study of label guidance compares, and the trials that tune them."""

import dataclasses
from typing import Any

from tfg_jax import DPS, LGD, MPGD, TFG, UGD, FreeDoM
from tfg_jax.config import to_dict
from tfg_jax.guidance.base import Guidance


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to sample: a method, and what differs from the study's sampler and guide."""

    guidance: Guidance | None
    conditional: bool = False
    v: float | None = None  # variance of the sampler's noise as in `DDPM`; None is the study's DDIM, v = 0
    guide: str | None = None  # has seen "estimates", or "narrow": little noise; None is the study's, robust to noise
    network: str | None = None  # trained for "longer", or "taught" by that one's labels; None is the study's
    w: float | None = None  # autoguidance of that network, away from its first stage

    @property
    def config(self) -> dict[str, Any]:
        """As JSON."""
        return vars(self) | {"guidance": None if self.guidance is None else to_dict(self.guidance)}

    @property
    def setting(self) -> str:
        """The numbers of the method, as short text."""
        if self.guidance is None:
            return "-" if self.w is None else f"w {self.w}"
        named = {**to_dict(self.guidance), "v": self.v, "w": self.w}
        settings = {key: value for key, value in named.items() if key != "type" and value is not None}
        words = [] if self.guide is None else [f"{self.guide} guide"]
        return ", ".join([f"{key} {value}" for key, value in settings.items()] + words)


# Brackets around the best of earlier rounds of trials, eight for every method, on less trained models.
TRIPLES = (  # rho, mu, smoothing
    (0.25, None, 1.0), (0.5, None, 1.0), (1.0, None, 1.0), (0.5, None, 0.5), (0.5, 0.02, 1.0), (0.5, 0.05, 1.0),
)  # fmt: skip
GUIDANCES: dict[str, list[Guidance]] = {
    "dps": [DPS(s) for s in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)],
    "lgd": [LGD(s, n_mc=4) for s in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)],
    "freedom": [FreeDoM(s) for s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)],
    "mpgd": [MPGD(s) for s in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)],
    "ugd": [UGD(s, n_iter=4) for s in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)],
    "tfg": [TFG(rho, mu, smoothing) for rho, mu, smoothing in TRIPLES],
}
# Each recurrence guides again, so four of them want less strength each; and it takes away some of the samples' variety,
# which more noise of the sampler gives back.
RECURRENT = [
    Variant(TFG(rho, None, 1.0, n_mc=n_mc, n_recur=4), v=v)
    for rho, n_mc, v in ((0.3, 1, None), (0.2, 1, 0.5), (0.3, 1, 0.5), (0.45, 1, 0.5), (0.3, 1, 1.0), (0.3, 4, 0.5))
]
# The same methods with the unconditional network guided away from a less trained one.
AWAY = {
    "lgd away": [Variant(guidance, network="longer", w=1.0) for guidance in GUIDANCES["lgd"]],
    "tfg away": [Variant(guidance, network="longer", w=1.0) for guidance in GUIDANCES["tfg"]],
    "tfg4 away": [
        Variant(TFG(rho, None, 1.0, n_recur=4), v=v, network="longer", w=1.0)
        for rho, v in ((0.2, 0.5), (0.3, 0.5), (0.4, 0.5), (0.3, 0.7), (0.4, 0.7), (0.3, None))
    ],
    # Strengths in the proportions of the exact conditional score: its shift of a step is 1 - a_t / a_next, too.
    "tfg4 decrease away": [
        Variant(TFG(rho, None, 1.0, n_recur=4, rho_structure="decrease"), v=v, network="longer", w=1.0)
        for rho, v in ((0.15, 0.5), (0.2, 0.5), (0.25, 0.5), (0.3, 0.5), (0.25, 0.7), (0.25, None))
    ],
}
# Led by the classifier that has seen estimates, with which less strength is enough.
ESTIMATES = {
    f"{name} estimates": [Variant(guidance, guide="estimates") for guidance in GUIDANCES[name]]
    for name in ("lgd", "tfg")
}
ESTIMATES["tfg4 estimates"] = [
    Variant(TFG(rho, None, 1.0, n_mc=n_mc, n_recur=4), v=v, guide="estimates")
    for rho, n_mc, v in ((0.15, 4, 0.7), (0.2, 4, 0.5), (0.2, 4, 0.7), (0.2, 4, 1.0), (0.25, 4, 0.7), (0.2, 1, 0.7))
]
AWAY_FIXED = {
    "none longer": Variant(None, network="longer"),
    "conditional longer": Variant(None, conditional=True, network="longer"),
    "none away": Variant(None, network="longer", w=1.0),
    "conditional away": Variant(None, conditional=True, network="longer", w=1.0),
}
# Chosen by looks at 320 samples on seed 1, which tell neighbours apart better than trials of 100.
TAUGHT = {
    "none taught": Variant(None, network="taught"),
    "conditional taught": Variant(None, conditional=True, network="taught"),
    "tfg4 taught away": Variant(
        TFG(0.2, None, 1.0, n_mc=4, n_recur=4), v=0.7, guide="estimates", network="taught", w=0.5
    ),
}
TRIALS = {name: [Variant(guidance) for guidance in tried] for name, tried in GUIDANCES.items()} | {
    "tfg4": RECURRENT,
    **AWAY,
    **ESTIMATES,
}


def title(name: str) -> str:
    """A row by what it does: the names that `--only` takes are short."""
    words = {"tfg4": "tfg, 4 recurrences", " decrease": ", decreasing", " longer": ", trained longer"}
    words |= {" taught": ", taught network", " away": ", autoguidance", " estimates": ", guide of estimates"}
    for short, long in words.items():
        name = name.replace(short, long)
    return name


def strengths(variant: Variant) -> list[Any]:
    """What tuning varies."""
    names = ("strength", "rho", "mu", "smoothing", "n_mc")
    varied = [getattr(variant.guidance, name) for name in names if hasattr(variant.guidance, name)]
    varied += [kind] if (kind := getattr(variant.guidance, "rho_structure", None)) else []
    return varied if variant.v is None else [*varied, variant.v]


def ablations(tfg: TFG) -> dict[str, Variant]:
    """TFG at its tuned strengths with one thing changed at a time."""
    change = lambda **options: Variant(tfg.replace(**options))  # type: ignore[attr-defined]  # noqa: E731
    terms = [term for term in ("rho", "mu") if getattr(tfg, term) is not None]
    both = lambda kind: change(**{f"{term}_structure": kind for term in terms})  # noqa: E731
    return {
        "tfg, n_recur 2": change(n_recur=2),
        "tfg, n_recur 4": change(n_recur=4),
        "tfg, n_mc 4": change(n_mc=4),
        "tfg, constant": both("constant"),
        "tfg, decrease": both("decrease"),
        "tfg, narrow guide": Variant(tfg, guide="narrow"),
    }
