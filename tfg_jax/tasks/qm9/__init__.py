"""QM9: small organic molecules in three dimensions, and their properties."""
