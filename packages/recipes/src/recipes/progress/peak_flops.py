"""Peak FLOP/s of graphics cards."""

PEAK_BF16 = {
    # NVIDIA's data sheets: tensor cores in bfloat16 with float32 accumulation, or half of the figure if a sheet gives
    # only the one "with sparsity". The longest name found in the device's name counts, so "H100" is the SXM card.
    "A10G": 70e12,
    "A30": 165e12,
    "A40": 149.7e12,
    "A100": 312e12,
    "RTX A6000": 154.8e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12,
    "RTX 6000 Ada": 364.2e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "H20": 148e12,
    "H100": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200": 989.4e12,
    "H200 NVL": 835e12,
    "GH200": 989.4e12,
    "B200": 2250e12,
    "GB200": 2500e12,
}
"""Dense bfloat16 FLOP/s by a part of the name that `torch.cuda.get_device_name` returns."""


def peak_flops(device: str) -> float | None:
    """Dense bfloat16 FLOP/s of a device by its name, such as `NVIDIA H100 80GB HBM3`; None if unknown."""
    words = device.replace("-", " ").split()
    found = [
        name
        for name in PEAK_BF16
        if any(words[at : at + len(parts)] == parts for parts in [name.split()] for at in range(len(words)))
    ]
    return PEAK_BF16[max(found, key=len)] if found else None
