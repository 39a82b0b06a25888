"""The parts of `scripts/reproduce_gradient_guidance.py`: exact scores, a trained network, images, running time."""
