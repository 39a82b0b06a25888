"""What the command line knows of QM9; nothing heavy is imported for it."""

from tfg_jax.tasks.dataset import MoleculeSet

DATA = MoleculeSet(
    name="QM9",
    package="tfg_jax.tasks.qm9",
    request="alpha",
    networks={"model": "qm9", "guide": "qm9-guide", "evaluator": "qm9-evaluator", "chooser": "qm9-chooser"},
)
