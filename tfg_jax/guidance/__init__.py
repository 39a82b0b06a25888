"""Guidance methods: one paper's update in one file, each a correction computed from a denoised estimate."""
