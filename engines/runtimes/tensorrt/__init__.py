"""NVIDIA's two compilers behind one path: `tensorrt` for data-centre GPUs, `tensorrt_rtx` for RTX-class ones."""
