"""Studies that the command line runs: their rows, and the pages that say what they found."""
