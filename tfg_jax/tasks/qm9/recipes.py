"""Training recipes of QM9 by name: where each is, and what it trains."""

RECIPES = {
    "molecules": ("train_molecules", "diffusion model of QM9's molecules"),
    "molecules-guide": ("train_properties", "network of molecules' properties that guides"),
    "molecules-evaluator": ("train_properties", "the same, on the other half of the molecules: it scores"),
    "molecules-chooser": ("train_properties", "a third one, by which searches choose"),
}
