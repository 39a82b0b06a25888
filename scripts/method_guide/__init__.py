"""Which method and which strength: the problems, the methods and the page of `scripts/which_method.py`."""
