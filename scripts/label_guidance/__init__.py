"""Parts of scripts/reproduce_label_guidance.py."""
