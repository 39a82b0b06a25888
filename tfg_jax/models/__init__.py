"""Networks: ordinary batched Flax NNX modules, channels last, and input transforms; the core never imports them."""
