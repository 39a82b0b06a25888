"""Data: `fashion_mnist`, the full set from disk, and `sample`, 100 test images shipped with the package."""
