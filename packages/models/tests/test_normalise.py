"""Views are normalised for the encoder, each with the statistics of its position."""

import torch

from foveal.encoders import ParallelEncoder, VisionTransformer
from foveal.models.views.normalise import normalised

STATISTICS = [((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), ((0.4, 0.6, 0.8), (0.2, 0.3, 0.4))]


def tower(mean, std):
    return VisionTransformer(8, 1, 2, 8, 4, 8, layers=(-1,), image_mean=mean, image_std=std)


def by_hand(view, mean, std):
    colours = [(view[colour] / 255 - mean[colour]) / std[colour] for colour in range(3)]
    return torch.stack(colours)


def test_every_view_of_a_set_has_its_own_statistics():
    """Whether the views of a set have one size or two."""
    encoder = ParallelEncoder([tower(*each) for each in STATISTICS])
    for sizes in ([(8, 12)] * 4, [(8, 12), (12, 8)] * 2):
        views = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
        for number, (view, ready) in enumerate(zip(views, normalised(views, encoder), strict=True)):
            torch.testing.assert_close(ready, by_hand(view, *STATISTICS[number % 2]), atol=1e-6, rtol=0)


def test_one_view_has_the_first_statistics_for_all_towers():
    encoder = ParallelEncoder([tower(*STATISTICS[1]), tower(*STATISTICS[1])], one_view=True)
    views = [torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8) for _ in range(3)]
    for view, ready in zip(views, normalised(views, encoder), strict=True):
        torch.testing.assert_close(ready, by_hand(view, *STATISTICS[1]), atol=1e-6, rtol=0)


def test_what_is_normalised_already_only_changes_its_dtype():
    encoder = ParallelEncoder([tower(*each) for each in STATISTICS]).bfloat16()
    views = [torch.randn(3, 8, 8) for _ in range(2)]
    for view, ready in zip(views, normalised(views, encoder), strict=True):
        assert torch.equal(ready, view.bfloat16())
