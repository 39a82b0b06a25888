"""Training side room: one resumable loop (`loop.fit`) and the losses it minimises.

    loop.py         fit, TrainState, Interrupted, shuffled
    checkpoint.py   atomic training state on disk
    diffusion.py    denoising loss for any schedule and prediction type

Importing touches no device.
"""
