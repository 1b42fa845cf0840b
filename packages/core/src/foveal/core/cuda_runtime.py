"""The CUDA runtime of a library that was built for another CUDA than torch."""

import ctypes
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, files

import torch

PACKAGE, FILE = "nvidia-cuda-runtime-cu12", "libcudart.so.12"


@cache
def load_cuda_12_runtime() -> str | None:
    """Load CUDA 12's runtime into the process, so that libraries built for it find it; again is no harm.

    Nothing is done beside a torch for CUDA 12, which brings it, or without CUDA, and elsewhere than on Linux. Some
    versions of torch load what lies in the package's folder themselves (2.13 does, if its own runtime is found beside
    it); others do not.

    Returns:
        Why it could not be loaded; None: nothing is missing.
    """
    if sys.platform != "linux" or torch.version.cuda is None or torch.version.cuda.startswith("12."):
        return None
    try:
        installed = [str(file.locate()) for file in files(PACKAGE) or () if file.name == FILE]
    except PackageNotFoundError:
        installed = []
    try:
        # Without the package it may still be where the system looks for libraries.
        ctypes.CDLL(installed[0] if installed else FILE, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error) if installed else f"{error}; pip install {PACKAGE}"
    return None
