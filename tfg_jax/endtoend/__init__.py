"""End-to-end guidance: the source noise or controls along the way, optimised through the whole solve."""
