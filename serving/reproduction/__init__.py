"""A finished video made again from what is stored, and compared: `longtake reproduce`."""
