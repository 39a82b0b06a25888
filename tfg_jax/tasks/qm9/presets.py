"""Guidance tuned for properties of QM9: 40 to 50 DDIM steps, eta 1.

``python scripts/reproduce_qm9.py --only evaluations`` tries four strengths a method and property, and scores them by
error and stable atoms: what is here is near what most of the six properties chose (docs/results/details/molecules.md),
of MPGD what the polarizability did, whose molecules fall apart at the others' 0.3, and of controls what their search
found from a rate of 0.1, at which no molecule of 16 was stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tfg_jax.endtoend.controls import Controls
from tfg_jax.endtoend.source import DFlow
from tfg_jax.guidance.dps import DPS
from tfg_jax.guidance.freedom import FreeDoM
from tfg_jax.guidance.lgd import LGD
from tfg_jax.guidance.mpgd import MPGD
from tfg_jax.guidance.pigdm import PiGDM
from tfg_jax.guidance.tfg import TFG
from tfg_jax.guidance.ugd import UGD
from tfg_jax.truncated import TruncatedSolve

SEARCH = (
    "tfg-jax search --task qm9 --guidance {name} --num-samples 16 --trial-samples 16 "
    "--aim error_alpha molecule_stability"
)
"""The command that searches for a better preset of this name, started at it; docs/results/details/presets.md says for
which that was done, and what it found."""

MOLECULE_PRESETS: Mapping[str, Any] = MappingProxyType(
    {
        "dps": DPS(strength=0.1, normalize="residual"),
        "pigdm": PiGDM(strength=3.0),
        "lgd": LGD(strength=1.5, n_mc=2),
        "freedom": FreeDoM(strength=0.1),
        "mpgd": MPGD(strength=0.12),
        "ugd": UGD(strength=0.1, n_iter=2),
        "tfg": TFG(rho=0.1, mu=0.05, n_iter=2, smoothing=0.1),
        "dflow": DFlow(TruncatedSolve(1.0, 12, "euler", remat="step"), iterations=30, regularizer=0.1, rate=0.1),
        "controls": Controls(20, iterations=30, rate=0.01),
    }
)
