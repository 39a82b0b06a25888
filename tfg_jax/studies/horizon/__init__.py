"""How far should guidance look? Mixtures with exact answers, and images at equal cost."""
