"""Runs: a task, a method, a seed and a number of samples, kept in a folder that any interruption leaves resumable."""
