"""How sure a model may be: calibration and prediction sets."""
