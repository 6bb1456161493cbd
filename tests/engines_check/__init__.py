"""Every graph that this repository can make, compiled by the real TensorRT-RTX, without a GPU: `make engines-check`."""
