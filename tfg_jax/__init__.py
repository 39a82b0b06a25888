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
_NAMES = {
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
        "EDM", "VE", "Discrete", "Level", "RectifiedFlow", "VPCosine", "VPLinear", "VPPolynomial", "VPTruncatedCosine",
        "cosine_table", "from_alphas_cumprod",
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
}  # fmt: skip
_ROOMS = (
    "analytic aot benchmark data domains health metrics models objectives ode operators optimize report search struct "
    "tasks training weights"
).split()
_MODULES = {**{name: name for name in _ROOMS}, "special_cases": "guidance.special_cases"}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "APG", "Autoguidance", "CFG", "CFGPlusPlus", "CFGZeroStar", "Churn", "ClassifierGuidance", "Clip", "ComposedCFG",
    "Controls", "CosineLogSNR", "Cost", "DDIM", "DDPM", "DFlow", "DPMSolverPP2M", "DPS", "Denoised", "Denoiser",
    "Discrete", "DynamicThresholding", "EDM", "Euler", "Explicit", "FlowMap", "FreeDoM", "GradientGuidance",
    "GuidanceInterval", "Heun", "HorizonCurve", "InnerSteps", "Karras", "LGD", "Leading", "Level", "Linspace",
    "LowTemperature", "MPGD", "Marginalized", "Model", "NaiveGradientGuidance", "NoiseTape", "PerSample", "PerpNeg",
    "PiGDM", "Reach", "Record", "RectifiedFlow", "RescaledCFG", "Samples", "Status", "StepContext", "TFG", "Trailing",
    "TruncatedSolve", "Tweedie", "UGD", "Unguided", "Uniform", "UniformLogSNR", "VE", "VPCosine", "VPLinear",
    "VPPolynomial", "VPTruncatedCosine", "analytic", "aot", "benchmark", "best_of_n", "cosine_table", "data",
    "diagnose_horizon", "domains", "end_to_end", "from_alphas_cumprod", "from_batched", "from_fn", "from_json",
    "from_linen", "from_nnx", "health", "implicit_classifier_score", "invert", "load", "metrics", "models",
    "objectives", "ode", "operators", "optimize", "preview_end_to_end", "read_folder", "report", "sample",
    "sampling_times", "search", "special_cases", "struct", "tasks", "to_json", "training", "upper_cost",
    "upper_end_to_end_cost", "w_from_scale", "weights",
]  # fmt: skip

if TYPE_CHECKING:
    from tfg_jax import (
        analytic,
        aot,
        benchmark,
        data,
        domains,
        health,
        metrics,
        models,
        objectives,
        ode,
        operators,
        optimize,
        report,
        search,
        struct,
        tasks,
        training,
        weights,
    )
    from tfg_jax.best import best_of_n
    from tfg_jax.config import from_json, to_json
    from tfg_jax.constructors import from_batched, from_fn, from_linen, from_nnx
    from tfg_jax.denoiser import Denoised, Denoiser, Model
    from tfg_jax.diagnose import HorizonCurve, diagnose_horizon
    from tfg_jax.endtoend.controls import Controls
    from tfg_jax.endtoend.run import end_to_end, preview_end_to_end, upper_end_to_end_cost
    from tfg_jax.endtoend.source import DFlow
    from tfg_jax.guidance import special_cases
    from tfg_jax.guidance.base import StepContext, Unguided
    from tfg_jax.guidance.classifier import ClassifierGuidance
    from tfg_jax.guidance.classifier_free.apg import APG
    from tfg_jax.guidance.classifier_free.autoguidance import Autoguidance
    from tfg_jax.guidance.classifier_free.base import w_from_scale
    from tfg_jax.guidance.classifier_free.cfg import CFG
    from tfg_jax.guidance.classifier_free.cfgpp import CFGPlusPlus
    from tfg_jax.guidance.classifier_free.composed import ComposedCFG
    from tfg_jax.guidance.classifier_free.implicit import implicit_classifier_score
    from tfg_jax.guidance.classifier_free.interval import GuidanceInterval
    from tfg_jax.guidance.classifier_free.marginal import Marginalized
    from tfg_jax.guidance.classifier_free.perp_neg import PerpNeg
    from tfg_jax.guidance.classifier_free.rescale import RescaledCFG
    from tfg_jax.guidance.classifier_free.temperature import LowTemperature
    from tfg_jax.guidance.classifier_free.thresholding import DynamicThresholding
    from tfg_jax.guidance.classifier_free.zero_star import CFGZeroStar
    from tfg_jax.guidance.dps import DPS
    from tfg_jax.guidance.freedom import FreeDoM
    from tfg_jax.guidance.gradient import GradientGuidance, NaiveGradientGuidance
    from tfg_jax.guidance.inner import InnerSteps
    from tfg_jax.guidance.lgd import LGD
    from tfg_jax.guidance.mpgd import MPGD
    from tfg_jax.guidance.pigdm import PiGDM
    from tfg_jax.guidance.tfg import TFG
    from tfg_jax.guidance.ugd import UGD
    from tfg_jax.invert import invert
    from tfg_jax.lookahead import Clip, Tweedie
    from tfg_jax.noise import NoiseTape
    from tfg_jax.per_sample import PerSample
    from tfg_jax.problem import Record
    from tfg_jax.result import Cost, Samples, Status
    from tfg_jax.runs.store import read_folder
    from tfg_jax.sample import sample, sampling_times, upper_cost
    from tfg_jax.samplers.ddim import DDIM
    from tfg_jax.samplers.ddpm import DDPM
    from tfg_jax.samplers.multistep import DPMSolverPP2M
    from tfg_jax.samplers.ode import Churn, Euler, Heun
    from tfg_jax.schedules import (
        EDM,
        VE,
        Discrete,
        Level,
        RectifiedFlow,
        VPCosine,
        VPLinear,
        VPPolynomial,
        VPTruncatedCosine,
        cosine_table,
        from_alphas_cumprod,
    )
    from tfg_jax.timesteps import CosineLogSNR, Explicit, Karras, Leading, Linspace, Trailing, Uniform, UniformLogSNR
    from tfg_jax.truncated import FlowMap, Reach, TruncatedSolve
    from tfg_jax.weights.released import load


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
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"tfg_jax.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'tfg_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """The package: importing the file ``tfg_jax.sample`` does not hide the function ``tfg_jax.sample``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULE_OF and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
