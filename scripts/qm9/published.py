"""Published numbers beside ours, as their authors or later work quote them; None where none was given."""

from __future__ import annotations

from collections.abc import Mapping

ORDER = ("mu", "alpha", "cv", "homo", "lumo", "gap")
GENERATORS: Mapping[str, tuple[float, float]] = {"EDM": (98.7, 82.0), "G-SchNet": (95.7, 68.1), "E-NF": (85.0, 4.9)}
"""Per cent of stable atoms and molecules, of 10,000 molecules."""
GREED_IS_GOOD: Mapping[str, tuple[float | None, ...]] = {
    "unguided, EquiFM": (1.628, 9.525, 6.689, 622, 1523, 1494),
    "greedy (Euler)": (1.559, 11.282, 6.469, 725, 1092, 1265),
    "greedy (two-step Euler)": (1.563, 5.377, 2.975, 560, 1204, 1275),
    "greedy (midpoint)": (1.417, 5.313, 2.967, 599, 1057, 1196),
    "whole solve (DTO)": (0.372, 1.404, 0.866, 176, 373, 401),
    "lower bound": (0.043, 0.10, 0.040, 39, 46, 64),
}
"""Blasingame and Liu, "Greed is Good" (arXiv 2502.08006), the poster's table; alpha as printed there."""
PEERS: Mapping[str, tuple[float | None, ...]] = {
    "random (EDM)": (1.616, 9.01, None, None, None, 1470),
    "#Atoms (EDM)": (1.053, 3.86, None, None, None, 866),
    "evaluator (EDM)": (0.043, 0.10, 0.040, 39, 36, 64),
    "EDM, trained with the property": (1.123, 2.78, 1.065, 371, 601, 671),
    "EEGSDE": (0.777, 2.50, 0.941, 302, 447, 487),
    "EEGSDE, unconditional model and guidance, scale 0.5": (1.241, None, None, None, None, None),
    "DPS (TFG benchmark's re-run)": (4780, 13.33, 3.47, 680, 1570, 1650),
    "TFG (TFG benchmark's re-run)": (2.41, 8.91, 2.65, 550, 1330, 1400),
}
"""Molecules of other models and evaluators: not comparable in their last digits."""
RE_RUN_STABLE: Mapping[str, tuple[float, ...]] = {
    "DPS": (34.4, 28.4, 36.2, 30.3, 17.6, 10.6),
    "TFG": (26.3, 19.2, 96.2, 14.6, 10.8, 16.1),
}
"""Per cent of stable atoms of the two re-run rows."""
RARE = "male and blonde, TFG on CelebA-HQ: 46.7 % of samples"
