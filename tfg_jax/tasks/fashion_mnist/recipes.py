"""Training recipes of Fashion-MNIST by name: where each is, and what it trains."""

RECIPES = {
    "diffusion": ("train_diffusion", "diffusion model of Fashion-MNIST"),
    "guide": ("train_classifiers", "classifier of clean images that guides"),
    "guide-robust": ("train_classifiers", "the same on images with more noise"),
    "guide-estimates": ("train_classifiers", "the same on estimates of a denoiser too"),
    "evaluator": ("train_classifiers", "classifier that scores, on the other half of the images"),
    "noisy": ("train_classifiers", "classifier of noisy images"),
}
