"""The parts of `scripts/reproduce_gradient_guidance.py`: exact scores, a small trained network, images."""
