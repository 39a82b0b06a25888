"""Released weights: `store` (files), `manifest`, `cards`, `released.load`; `diffusers` state dicts."""
