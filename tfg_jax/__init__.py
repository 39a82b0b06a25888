"""tfg_jax: training-free guidance of diffusion and flow models in JAX.

Names load on first use, so importing the package imports nothing heavy and touches no device.

@software{tfg_jax,
  title = {{tfg\\_jax}: Training-Free Guidance of Diffusion and Flow Models in {JAX}},
  author = {{The tfg\\_jax authors}},
}
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In the order in which `tfg-jax cite` names their papers.
_HOMES = {
    "guidance.base": ("StepContext", "Unguided"),
    "guidance.tfg": ("TFG",),
    "guidance.dps": ("DPS",),
    "guidance.lgd": ("LGD",),
    "guidance.pigdm": ("PiGDM",),
    "guidance.freedom": ("FreeDoM",),
    "guidance.mpgd": ("MPGD",),
    "guidance.ugd": ("UGD",),
    "guidance.classifier": ("ClassifierGuidance",),
    "guidance.gradient": ("GradientGuidance", "NaiveGradientGuidance"),
    "guidance.inner": ("InnerSteps",),
    "guidance.classifier_free.cfg": ("CFG",),
    "guidance.classifier_free.apg": ("APG",),
    "guidance.classifier_free.autoguidance": ("Autoguidance",),
    "guidance.classifier_free.base": ("w_from_scale",),
    "guidance.classifier_free.cfgpp": ("CFGPlusPlus",),
    "guidance.classifier_free.composed": ("ComposedCFG",),
    "guidance.classifier_free.implicit": ("implicit_classifier_score",),
    "guidance.classifier_free.interval": ("GuidanceInterval",),
    "guidance.classifier_free.marginal": ("Marginalized",),
    "guidance.classifier_free.perp_neg": ("PerpNeg",),
    "guidance.classifier_free.rescale": ("RescaledCFG",),
    "guidance.classifier_free.temperature": ("LowTemperature",),
    "guidance.classifier_free.thresholding": ("DynamicThresholding",),
    "guidance.classifier_free.zero_star": ("CFGZeroStar",),
    "samplers.ddim": ("DDIM",),
    "samplers.ddpm": ("DDPM",),
    "samplers.ode": ("Churn", "Euler", "Heun"),
    "samplers.multistep": ("DPMSolverPP2M",),
    "problem": ("Record",),
    "timesteps": ("CosineLogSNR", "Explicit", "Karras", "Leading", "Linspace", "Trailing", "Uniform", "UniformLogSNR"),
    "schedules": (
        "EDM",
        "VE",
        "Discrete",
        "Level",
        "RectifiedFlow",
        "VPCosine",
        "VPLinear",
        "VPPolynomial",
        "VPTruncatedCosine",
        "cosine_table",
        "from_alphas_cumprod",
    ),
    "denoiser": ("Denoised", "Denoiser", "Model"),
    "constructors": ("from_batched", "from_fn", "from_linen", "from_nnx"),
    "per_sample": ("PerSample",),
    "lookahead": ("Clip", "Tweedie"),
    "truncated": ("FlowMap", "Reach", "TruncatedSolve"),
    "endtoend.source": ("DFlow",),
    "endtoend.controls": ("Controls",),
    "endtoend.run": ("end_to_end", "preview_end_to_end", "upper_end_to_end_cost"),
    "noise": ("NoiseTape",),
    "result": ("Cost", "Samples", "Status"),
    "sample": ("sample", "sampling_times", "upper_cost"),
    "invert": ("invert",),
    "diagnose": ("HorizonCurve", "diagnose_horizon"),
    "best": ("best_of_n",),
    "config": ("from_json", "to_json"),
    "weights.released": ("load",),
    "runs.store": ("read_folder",),
}
_ROOMS = (
    "analytic data domains metrics models objectives ode operators optimize report struct tasks training weights"
).split()
_MODULES = {**{name: name for name in _ROOMS}, "special_cases": "guidance.special_cases"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, *_MODULES])  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from tfg_jax import analytic as analytic
    from tfg_jax import data as data
    from tfg_jax import domains as domains
    from tfg_jax import metrics as metrics
    from tfg_jax import models as models
    from tfg_jax import objectives as objectives
    from tfg_jax import ode as ode
    from tfg_jax import operators as operators
    from tfg_jax import optimize as optimize
    from tfg_jax import report as report
    from tfg_jax import struct as struct
    from tfg_jax import tasks as tasks
    from tfg_jax import training as training
    from tfg_jax import weights as weights
    from tfg_jax.best import best_of_n as best_of_n
    from tfg_jax.config import from_json as from_json
    from tfg_jax.config import to_json as to_json
    from tfg_jax.constructors import from_batched as from_batched
    from tfg_jax.constructors import from_fn as from_fn
    from tfg_jax.constructors import from_linen as from_linen
    from tfg_jax.constructors import from_nnx as from_nnx
    from tfg_jax.denoiser import Denoised as Denoised
    from tfg_jax.denoiser import Denoiser as Denoiser
    from tfg_jax.denoiser import Model as Model
    from tfg_jax.diagnose import HorizonCurve as HorizonCurve
    from tfg_jax.diagnose import diagnose_horizon as diagnose_horizon
    from tfg_jax.endtoend.controls import Controls as Controls
    from tfg_jax.endtoend.run import end_to_end as end_to_end
    from tfg_jax.endtoend.run import preview_end_to_end as preview_end_to_end
    from tfg_jax.endtoend.run import upper_end_to_end_cost as upper_end_to_end_cost
    from tfg_jax.endtoend.source import DFlow as DFlow
    from tfg_jax.guidance import special_cases as special_cases
    from tfg_jax.guidance.base import StepContext as StepContext
    from tfg_jax.guidance.base import Unguided as Unguided
    from tfg_jax.guidance.classifier import ClassifierGuidance as ClassifierGuidance
    from tfg_jax.guidance.classifier_free.apg import APG as APG
    from tfg_jax.guidance.classifier_free.autoguidance import Autoguidance as Autoguidance
    from tfg_jax.guidance.classifier_free.base import w_from_scale as w_from_scale
    from tfg_jax.guidance.classifier_free.cfg import CFG as CFG
    from tfg_jax.guidance.classifier_free.cfgpp import CFGPlusPlus as CFGPlusPlus
    from tfg_jax.guidance.classifier_free.composed import ComposedCFG as ComposedCFG
    from tfg_jax.guidance.classifier_free.implicit import implicit_classifier_score as implicit_classifier_score
    from tfg_jax.guidance.classifier_free.interval import GuidanceInterval as GuidanceInterval
    from tfg_jax.guidance.classifier_free.marginal import Marginalized as Marginalized
    from tfg_jax.guidance.classifier_free.perp_neg import PerpNeg as PerpNeg
    from tfg_jax.guidance.classifier_free.rescale import RescaledCFG as RescaledCFG
    from tfg_jax.guidance.classifier_free.temperature import LowTemperature as LowTemperature
    from tfg_jax.guidance.classifier_free.thresholding import DynamicThresholding as DynamicThresholding
    from tfg_jax.guidance.classifier_free.zero_star import CFGZeroStar as CFGZeroStar
    from tfg_jax.guidance.dps import DPS as DPS
    from tfg_jax.guidance.freedom import FreeDoM as FreeDoM
    from tfg_jax.guidance.gradient import GradientGuidance as GradientGuidance
    from tfg_jax.guidance.gradient import NaiveGradientGuidance as NaiveGradientGuidance
    from tfg_jax.guidance.inner import InnerSteps as InnerSteps
    from tfg_jax.guidance.lgd import LGD as LGD
    from tfg_jax.guidance.mpgd import MPGD as MPGD
    from tfg_jax.guidance.pigdm import PiGDM as PiGDM
    from tfg_jax.guidance.tfg import TFG as TFG
    from tfg_jax.guidance.ugd import UGD as UGD
    from tfg_jax.invert import invert as invert
    from tfg_jax.lookahead import Clip as Clip
    from tfg_jax.lookahead import Tweedie as Tweedie
    from tfg_jax.noise import NoiseTape as NoiseTape
    from tfg_jax.per_sample import PerSample as PerSample
    from tfg_jax.problem import Record as Record
    from tfg_jax.result import Cost as Cost
    from tfg_jax.result import Samples as Samples
    from tfg_jax.result import Status as Status
    from tfg_jax.runs.store import read_folder as read_folder
    from tfg_jax.sample import sample as sample
    from tfg_jax.sample import sampling_times as sampling_times
    from tfg_jax.sample import upper_cost as upper_cost
    from tfg_jax.samplers.ddim import DDIM as DDIM
    from tfg_jax.samplers.ddpm import DDPM as DDPM
    from tfg_jax.samplers.multistep import DPMSolverPP2M as DPMSolverPP2M
    from tfg_jax.samplers.ode import Churn as Churn
    from tfg_jax.samplers.ode import Euler as Euler
    from tfg_jax.samplers.ode import Heun as Heun
    from tfg_jax.schedules import EDM as EDM
    from tfg_jax.schedules import VE as VE
    from tfg_jax.schedules import Discrete as Discrete
    from tfg_jax.schedules import Level as Level
    from tfg_jax.schedules import RectifiedFlow as RectifiedFlow
    from tfg_jax.schedules import VPCosine as VPCosine
    from tfg_jax.schedules import VPLinear as VPLinear
    from tfg_jax.schedules import VPPolynomial as VPPolynomial
    from tfg_jax.schedules import VPTruncatedCosine as VPTruncatedCosine
    from tfg_jax.schedules import cosine_table as cosine_table
    from tfg_jax.schedules import from_alphas_cumprod as from_alphas_cumprod
    from tfg_jax.timesteps import CosineLogSNR as CosineLogSNR
    from tfg_jax.timesteps import Explicit as Explicit
    from tfg_jax.timesteps import Karras as Karras
    from tfg_jax.timesteps import Leading as Leading
    from tfg_jax.timesteps import Linspace as Linspace
    from tfg_jax.timesteps import Trailing as Trailing
    from tfg_jax.timesteps import Uniform as Uniform
    from tfg_jax.timesteps import UniformLogSNR as UniformLogSNR
    from tfg_jax.truncated import FlowMap as FlowMap
    from tfg_jax.truncated import Reach as Reach
    from tfg_jax.truncated import TruncatedSolve as TruncatedSolve
    from tfg_jax.weights.released import load as load


_OLD_NAMES = {"Clean": "Denoised", "Marginalised": "Marginalized", "optimise": "optimize"}
"""Names before version 0.2, which go with the next release."""


def __getattr__(name: str) -> Any:
    if name in _OLD_NAMES:
        warnings.warn(
            f"tfg_jax.{name} is called tfg_jax.{_OLD_NAMES[name]}; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return __getattr__(_OLD_NAMES[name])
    if name in _MODULES:
        return importlib.import_module(f"tfg_jax.{_MODULES[name]}")
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"tfg_jax.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'tfg_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """The package: importing the file ``tfg_jax.sample`` does not hide the function ``tfg_jax.sample``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME_OF and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
