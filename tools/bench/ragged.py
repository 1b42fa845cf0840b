"""UHD's views of mixed sizes: unpadded, against padding each to the largest: `python -m tools.bench.ragged`."""

import argparse
import random
from functools import partial

import torch
from torch.nn import functional as F

from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan
from tools.bench.timing import fastest, machine, row

PATCH, SIDE = 14, 168


def padded(encoder: VisionTransformer, views: list[torch.Tensor]) -> None:
    """Encode all views in one batch, each on a canvas of the largest height and width."""
    height, width = (max(view.shape[axis] for view in views) for axis in (1, 2))
    canvas = [F.pad(view, (0, width - view.shape[2], 0, height - view.shape[1])) for view in views]
    encoder(torch.stack(canvas))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one run of a small encoder, to check that everything runs")
    tiny = parser.parse_args().tiny
    torch.manual_seed(0)
    width, depth = (32, 2) if tiny else (256, 8)
    encoder = VisionTransformer(width, depth, 8, 4 * width, PATCH, SIDE)
    plan = UhdPlan(SIDE, PATCH, 6)
    rng = random.Random(0)
    print(machine())
    print(f"\nviews of UhdPlan({SIDE}, {PATCH}, 6), width {width}, {depth - 1} blocks, float32\n")
    print("| pictures | as they are | padded to the largest | times faster | |\n|---|---|---|---|---|")
    for name, sizes in {
        "eight photos, 4:3 and 3:4": [(640, 480), (480, 640)] * 4,
        "eight receipts, 1:2 to 1:4": [(300, rng.randint(600, 1200)) for _ in range(8)],
        "eight of any shape, 1:4 to 4:1": [(rng.randint(150, 600), rng.randint(150, 600)) for _ in range(8)],
    }.items():
        views = [torch.randn(3, view.height, view.width) for size in sizes for view in plan.views(Size.of(size))]
        with torch.inference_mode():
            seconds = fastest(
                {"ragged": partial(encoder.encode_views, views), "padded": partial(padded, encoder, views)},
                rounds=1 if tiny else 7,
            )
        shapes = len({view.shape for view in views})
        print(row(name, seconds["ragged"], seconds["padded"], f"{len(views)} views of {shapes} shapes"))


if __name__ == "__main__":
    main()
