"""Equivariant graph network of molecules: `network` (EGNN), `config`, `sample` (a molecule as one array)."""
