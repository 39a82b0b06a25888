"""What the command line knows of Fashion-MNIST; nothing heavy is imported for it."""

from tfg_jax.tasks.dataset import DataSet

DATA = DataSet(
    name="Fashion-MNIST",
    package="tfg_jax.tasks.fashion_mnist",
    request="bag",
    networks={
        "model": "fashion-mnist",
        "guide": "fashion-mnist-guide-estimates",
        "reward": "fashion-mnist-guide",
        "noisy_guide": "fashion-mnist-noisy",
        "evaluator": "fashion-mnist-evaluator",
        "chooser": "fashion-mnist-guide",
    },
)
