"""Data sets on disk: `fashion_mnist` (the full set, not shipped) and `sample` (100 test images shipped with the package)."""
