"""The results pages and the figures that no study draws."""
