"""Model cards: the README.md beside released weights, written from what was measured."""

from typing import Any

INTENDED = {
    "GuideNet": "Guides samplers towards a class of Fashion-MNIST, through denoised estimates.",
    "EvaluatorNet": "Scores samples that another network guided: accuracy, and Fréchet distances of its features.",
    "NoisyGuideNet": "Classifier guidance of Fashion-MNIST samplers on any schedule, from the noisy sample itself.",
}
LIMITS = (
    "Never score samples with the network that guided them. Trained on 28x28 grey images of clothing alone: its "
    "probabilities mean nothing on other images."
)


def classifier_card(
    name: str,
    kind: str,
    network: str,
    data: str,
    augmentation: str,
    licence: str,
    command: str,
    metrics: dict[str, Any],
) -> str:
    """Markdown of one classifier's card; every number comes from `metrics`."""
    lines = [
        f"# {name}",
        "",
        f"{INTENDED[network]} {LIMITS}",
        "",
        f"- Kind: {kind}",
        f"- Architecture: `tfg_jax.models.classifiers.{network}`, {metrics['parameters']:,} parameters, no BatchNorm",
        f"- Data: {data}; images in [-1, 1]",
        f"- Augmentation: {augmentation}",
        f"- Licence: {licence}",
        f"- Training command: `{command}`",
        "- Released weights: exponential moving average of the training run",
        f"- Test accuracy (10,000 test images): {metrics['test_accuracy']:.2%}",
        "",
    ]
    for key, title in (("test_accuracy_by_class", "class"), ("test_accuracy_by_time", "time")):
        if key in metrics:
            lines += [f"| {title} | test accuracy |", "|---|---|"]
            lines += [f"| {row} | {value:.2%} |" for row, value in metrics[key].items()] + [""]
    if network == "EvaluatorNet":
        lines += [
            "`moments.safetensors` holds mean, covariance (float64) and count of the 10,000 test images' features.",
            "",
        ]
    return "\n".join(lines)
