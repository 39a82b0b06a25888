"""Sampler rules (one step from a clean estimate) and the one loop that runs them."""
