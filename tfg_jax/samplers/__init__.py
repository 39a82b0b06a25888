"""Sampler rules (one step from a denoised estimate) and the one loop that runs them."""
