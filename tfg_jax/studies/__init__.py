"""Studies whose pages the command line writes: what they say beside their tables and figures."""
