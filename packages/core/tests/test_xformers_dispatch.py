"""The real xformers with this torch, without a GPU: it loads, and fake tensors show which kernels it would run."""

import re
import subprocess
import sys
from contextlib import nullcontext, suppress
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from foveal.core import Lengths, attention, cuda_runtime, trial, xformers_kernel

# Not importorskip: `load` imports the library, after the runtime.
pytestmark = pytest.mark.skipif(find_spec("xformers") is None, reason="the extra xformers is not installed")

FLASH = ["xformers_flash.flash_fwd", "xformers_flash.flash_bwd"]
CUTLASS = ["aten._efficient_attention_forward", "aten._efficient_attention_backward"]


class Recorder(TorchDispatchMode):
    """Names of the attention operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().replace("::", ".")
        if "flash" in name or "efficient_attention" in name:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def on_gpu(monkeypatch):
    """Makes the library believe that there is a GPU of some compute capability."""
    assert xformers_kernel.load() is None
    from xformers.ops.fmha import attn_bias

    def without_pinning(places, dtype, device):
        return torch.tensor(places, dtype=dtype, device=device)  # pinned memory needs a driver

    monkeypatch.setattr(attn_bias, "_to_device_tensor", without_pinning)
    trial._refusal.cache_clear()  # an answer for one GPU must not be reused for the next
    yield lambda *capability: monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    trial._refusal.cache_clear()


def operators(dtype, head_width, *, packed=True, causal=True):
    """Operators called: by our kernel forward; then by the library forward and backward, as its autograd function does.

    The autograd engine itself would look for the GPU.
    """
    from xformers.ops import memory_efficient_attention_backward, memory_efficient_attention_forward_requires_grad
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask, LowerTriangularMask

    with FakeTensorMode(), Recorder() as recorder:
        query = torch.empty(1, 8, 4, head_width, device="cuda", dtype=dtype, requires_grad=True)
        key, value = (torch.empty(1, 8, 2, head_width, device="cuda", dtype=dtype) for _ in range(2))
        lengths = Lengths([3, 5]) if packed else None
        assert xformers_kernel.attend(query, key, value, lengths, lengths, causal, None).shape == query.shape
        ours = recorder.names.copy()
        recorder.names.clear()
        bias = LowerTriangularMask() if causal else None
        if packed:
            bias = BlockDiagonalMask.from_seqlens([3, 5], device=query.device)
            bias = bias.make_causal() if causal else bias
        query, key, value = (torch.empty(1, 8, 4, head_width, device="cuda", dtype=dtype) for _ in range(3))
        out, sums = memory_efficient_attention_forward_requires_grad(query, key, value, bias)
        # Without dropout, cutlass receives empty seeds on the CPU: the kernel does not mind, fake tensors do.
        with suppress(FakeTensorDeviceMismatchError) if FLASH[0] not in recorder.names else nullcontext():
            gradients = memory_efficient_attention_backward(out, out, sums, query, key, value, bias)
            assert [each.shape for each in gradients] == [query.shape] * 3
    assert ours == recorder.names[:1]
    return recorder.names


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_half_precision_is_torchs_flash_attention(on_gpu, capability, dtype, packed):
    on_gpu(*capability)
    for causal in (False, True):
        for head_width in (64, 72, 128):
            assert operators(dtype, head_width, packed=packed, causal=causal) == FLASH


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float16), ((7, 5), torch.float32), ((8, 0), torch.float32), ((9, 0), torch.float32)],
)
def test_older_gpus_and_float32_have_cutlass(on_gpu, capability, dtype, packed):
    on_gpu(*capability)
    assert operators(dtype, 64, packed=packed) == CUTLASS


@pytest.mark.parametrize(
    ("capability", "dtype", "head_width", "reason"),
    [
        ((7, 5), torch.bfloat16, 64, "bf16 is only supported on A100"),
        ((9, 0), torch.bfloat16, 20, r"query.shape\[-1\] % 8 != 0"),
        ((10, 0), torch.float32, 64, "too new"),
        ((12, 0), torch.float32, 64, "too new"),
        ((12, 0), torch.bfloat16, 264, "> 256"),
    ],
)
def test_what_has_no_kernel(on_gpu, capability, dtype, head_width, reason):
    on_gpu(*capability)
    with FakeTensorMode():
        tensor = torch.empty(1, 4, 2, head_width, device="cuda", dtype=dtype)
        with pytest.raises(RuntimeError, match=f"'xformers' cannot run: it refuses {dtype} .*{reason}"):
            attention(tensor, tensor, tensor, lengths=[2, 2], backend="xformers")


def test_the_flash_attention_is_torchs_own():
    assert xformers_kernel.load() is None
    from xformers.ops.fmha import flash

    assert flash.FwOp.NAME.endswith("-pt")
    assert flash.BwOp.NAME.endswith("-pt")


@pytest.fixture
def torch_for_cuda_13(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    cuda_runtime.load_cuda_12_runtime.cache_clear()
    yield
    cuda_runtime.load_cuda_12_runtime.cache_clear()


@pytest.mark.usefixtures("torch_for_cuda_13")
def test_a_missing_runtime_is_named(monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(cuda_runtime, "files", absent)
    monkeypatch.setattr(cuda_runtime, "FILE", "libcudart.so.12.of.nobody")
    reason = cuda_runtime.load_cuda_12_runtime()
    assert reason.startswith("libcudart.so.12.of.nobody: cannot open shared object file")
    assert reason.endswith("; pip install nvidia-cuda-runtime-cu12")


@pytest.mark.usefixtures("torch_for_cuda_13")
@pytest.mark.parametrize("cuda", ["12.8", None])
def test_nothing_is_loaded_beside_a_torch_that_brings_it(monkeypatch, cuda):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(cuda_runtime.ctypes, "CDLL", lambda *_, **__: pytest.fail("loaded"))
    assert cuda_runtime.load_cuda_12_runtime() is None


LOADING = """
import ctypes, sys
real = ctypes.CDLL

class WithoutRuntime(real):  # torch 2.13 loads the runtime if it is next to its own libraries, other versions do not
    def __init__(self, name, *arguments, **options):
        if "libcudart.so.12" in str(name):
            raise OSError(f"{name}: not here")
        super().__init__(name, *arguments, **options)

ctypes.CDLL = WithoutRuntime
import torch
assert "libcudart.so.12" not in open("/proc/self/maps").read()
if sys.argv[1] == "there":
    ctypes.CDLL = real
from foveal.core import xformers_kernel
print(xformers_kernel.load())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the library is for Linux")
@pytest.mark.skipif((torch.version.cuda or "12.").startswith("12."), reason="this torch brings CUDA 12's runtime")
@pytest.mark.parametrize(
    ("runtime", "said"), [("there", r"None"), ("absent", r"the compiled part of xformers .* cannot be .*: not here\)")]
)
def test_it_loads_where_torch_did_not_load_the_runtime(runtime, said):
    run = subprocess.run([sys.executable, "-c", LOADING, runtime], capture_output=True, text=True, check=True)
    assert re.fullmatch(said, run.stdout.strip())
    assert run.stderr == ""
