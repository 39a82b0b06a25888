"""Classifier-free guidance and its family: transforms that make a model from a model, one method a file.

    guided = CFG(model, w=1.5)                          guided(x, t, cond) -> Denoised, as the model itself
    guided = GuidanceInterval(APG(model, w=3.0), -3.0, 2.0)     they nest
    tfg_jax.sample(key, guided, cond=labels, guidance=TFG(...))  and any training-free method guides them further

``w`` is the weight of Ho & Salimans, (1 + w) cond - w uncond: 0 is the conditional model, -1 the unconditional one. The
"guidance scale" of other codes is 1 + w: see `w_from_scale`. ``w = None`` is off and evaluates nothing more.
"""
