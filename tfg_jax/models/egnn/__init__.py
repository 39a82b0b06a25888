"""Equivariant graph network of molecules: `network` (EGNN), `config`, `convert` (a molecule as one array)."""
