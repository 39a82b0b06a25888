"""Guidance tuned for Fashion-MNIST label guidance: 50 DDIM steps, eta 1, denoised estimates clipped to [-1, 1].

The trials and their score are in ``scripts/reproduce_label_guidance.py``; "classifier" is left at Bayes' rule.
"tfg" takes four smoothing draws, as LGD does: by the same page more accurate at the same distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.base import Guidance
from tfg_jax.guidance.classifier import ClassifierGuidance
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.freedom import FreeDoM
from tfg_jax.guidance.lgd import LGD
from tfg_jax.guidance.mpgd import MPGD
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.guidance.ugd import UGD
from tfg_jax.kinds import public
from tfg_jax.truncated import TruncatedSolve

SEARCHES: Mapping[str, str] = MappingProxyType(
    {
        "labels": "tfg-jax search --guidance {name} --aim evaluator_accuracy unlike_real --per-class 4 "
        "--trial-samples 40 --budget 16000",
        "restorations": "tfg-jax search --problem sr2 --guidance {name} --num-images 32 --draws 1 --trial-samples 16",
    }
)
"""The commands that search for better presets of these names, started at them; ``scripts/search_presets.py`` runs them,
and docs/results/details/presets.md says of which that was done, and what they found."""

LABEL_PRESETS: Mapping[str, Guidance] = MappingProxyType(
    {
        "classifier": ClassifierGuidance(strength=1.0),
        "dps": DPS(strength=2.0),
        "lgd": LGD(strength=2.0, n_mc=4),
        "freedom": FreeDoM(strength=2.0),
        "mpgd": MPGD(strength=16.0),
        "ugd": UGD(strength=2.0, n_iter=4),
        "tfg": TFG(rho=1.0, mu=None, smoothing=1.0, n_mc=4),
    }
)

# Before SEARCHES: few trials on 6 to 8 shipped images that the default run does not show, noise 0.05, judged by mean
# PSNR. On sr2 at 50 steps and on sr2 and box at 20: dps 1 to 16, pigdm 0.5 to 2, mpgd 0.25 to 16; on
# sr2 and box at 50: lgd 2 to 32, freedom 1 to 16, ugd 1 to 16; each best or within 0.3 dB of the best trial throughout.
# tfg: between the bests of `tfg-jax search --problem sr2 --guidance tfg --num-images 32 --draws 1 --trial-samples 16`,
# started at rho 4 and mu 0.25, and of the same for blur and box. dflow and controls by Adam, on four of the images:
# rates 0.03 to 0.4, regularizer 1 or 10, weight 0.1 to 100.
INVERSE_PRESETS: Mapping[str, Any] = MappingProxyType(
    {
        "dps": DPS(strength=4.0, normalize="residual"),
        "pigdm": PiGDM(strength=1.0),
        "lgd": LGD(strength=16.0, n_mc=4),
        "freedom": FreeDoM(strength=4.0),
        "ugd": UGD(strength=2.0, n_iter=4),
        "mpgd": MPGD(strength=4.0),
        "tfg": TFG(rho=2.0, mu=0.0625, n_iter=4),
        "dflow": DFlow(TruncatedSolve(1.0, 12, "euler", remat="step"), iterations=60, regularizer=1.0, rate=0.1),
        "controls": Controls(12, weight=10.0, iterations=30, rate=0.1),
    }
)


REWARD_UNITS: Mapping[str, tuple[float | None, float | None, float]] = MappingProxyType(
    {"class": (None, 10.0, 1.0), "brightness": (0.1, None, 0.003)}
)
"""Default delta, goal and noise_std of each reward, in its units: log-odds, and mean pixel value in [-1, 1]."""


@public
def preset(name: str) -> Guidance:
    """The tuned guidance of a method: "classifier", "dps", "lgd", "freedom", "mpgd", "ugd" or "tfg".

    Raises ValueError for any other name.
    """
    return _named(name, LABEL_PRESETS)


@public
def inverse_preset(name: str) -> Any:
    """The tuned method for inverse problems: "dps", "pigdm", "lgd", "freedom", "ugd", "mpgd", "tfg", "dflow" or
    "controls".

    Raises ValueError for any other name.
    """
    return _named(name, INVERSE_PRESETS)


def _named(name: str, presets: Mapping[str, Any]) -> Any:
    if name not in presets:
        raise ValueError(f"name={name!r} has no preset; choose one of {', '.join(presets)}")
    return presets[name]
