"""Sampler rules: one step from a denoised estimate."""
