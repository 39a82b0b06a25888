"""Configurations of weights as files before format 2 spell them, in today's spelling."""

from typing import Any

NAMES = {"kind": "type", "null_class": "null_cond"}


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """`config` as it is written today; KeyError or ValueError if it is of no kind that there ever was."""
    if "kind" not in config:
        return config
    values = {NAMES.get(key, key): value for key, value in config.items()}
    kind = values.pop("type")
    if isinstance(schedule := values.get("schedule"), dict):
        values["schedule"] = {NAMES.get(key, key): value for key, value in schedule.items()}
    if kind == "diffusion":
        return {"architecture": "unet2d.UNet2D", "network": values.pop("unet"), **values}
    if kind in ("classifier", "noisy-classifier"):
        name = values.pop("network")
        if (kind == "noisy-classifier") != (name == "NoisyGuideNet"):
            raise ValueError(f"kind={kind!r} does not fit network={name!r:.60}; export the weights again")
        return {"architecture": f"classifiers.{name}", "network": values.pop("net"), **values}
    if kind == "molecule-properties":
        return {"architecture": "egnn.PropertyNet", "network": values.pop("egnn"), **values}
    if kind != "molecules":
        raise ValueError(f"kind={kind!r:.60} is unknown; export the weights again")
    network, atoms = values.pop("egnn"), values.pop("max_atoms")
    features = network.get("num_features", 6) if isinstance(network, dict) else 6
    return {
        "architecture": "egnn.EGNN", "network": network, "prediction": "x0", "network_time": "log_sigma",
        "shape": [atoms, 3 + features], "num_classes": atoms + 1, "null_cond": None, **values,
    }  # fmt: skip
