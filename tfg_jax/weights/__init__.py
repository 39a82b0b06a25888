"""Released weights: `store` (files), `configs` (what they may say), `manifest`, `cards`, `released`, `diffusers`."""
