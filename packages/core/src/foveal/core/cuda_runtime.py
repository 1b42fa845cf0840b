"""The CUDA runtime for a library built for another CUDA version than torch."""

import ctypes
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, files

import torch

PACKAGE, FILE = "nvidia-cuda-runtime-cu12", "libcudart.so.12"


@cache
def load_cuda_12_runtime() -> str | None:
    """Load CUDA 12's runtime into the process, so that libraries built for it find it; repeated calls do no harm.

    Does nothing with a torch for CUDA 12 (which brings the runtime), with a torch without CUDA, or off Linux. Some
    versions of torch load the files in the package's folder themselves (2.13 does, if it finds its own runtime next to
    it); others do not.

    Returns:
        Why it could not be loaded; None if nothing is missing.
    """
    if sys.platform != "linux" or torch.version.cuda is None or torch.version.cuda.startswith("12."):
        return None
    try:
        installed = [str(file.locate()) for file in files(PACKAGE) or () if file.name == FILE]
    except PackageNotFoundError:
        installed = []
    try:
        # Without the package it may still be on the system's library path.
        ctypes.CDLL(installed[0] if installed else FILE, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error) if installed else f"{error}; pip install {PACKAGE}"
    return None
