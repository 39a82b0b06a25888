"""End-to-end guidance: the source noise or controls along the way, optimized through the whole solve."""
