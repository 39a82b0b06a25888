"""The parts of `scripts/reproduce_cfg.py`: rows and their cost, the image study, Gaussians in closed form, the page."""
