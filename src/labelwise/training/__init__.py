"""The loop: devices, precision, checkpoints, exact resume, logs."""
