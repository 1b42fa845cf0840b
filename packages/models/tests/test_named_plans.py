"""Variants of a checkpoint's own plan, by name."""

import pytest
import yaml
from PIL import Image

from foveal.connectors import PerceiverResampler
from foveal.core import Size, describe
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, UhdPlan, VisionLanguageModel, byte_tokenizer, llama, load, save
from foveal.models.views.named import chosen_plan


def uhd():
    return UhdPlan(336, 14, 7)


def release():
    return chosen_plan("uhd_release_evaluation", uhd)


def test_a_picture_is_first_resized():
    """640x480 becomes 1024x768 in the release's evaluation, which gives six slices instead of four."""
    assert [len(plan.views(Size(640, 480))) for plan in (uhd(), release())] == [5, 7]
    assert len(uhd().views(Size(300, 200))) == 1
    assert len(release().views(Size(300, 200))) == 7
    assert len(release().cut(Image.new("RGB", (300, 200)))) == 7
    assert release().views(Size(640, 480)) == uhd().views(Size(1024, 768))
    tall = release().views(Size(333, 777))
    assert tall == uhd().views(Size(int(1024 / 777 * 333), 1024))


def test_the_checkpoint_s_own_is_only_varied():
    own = UhdPlan(28, 7, 5, overview="first", separators=False)
    changed = chosen_plan("uhd_release_evaluation", lambda: own)
    expected = describe(own)
    expected["init_args"] |= {"long_side": 1024}
    assert describe(changed) == expected
    assert own.long_side is None


def test_other_plans():
    own, other = PadToSquare(28), UhdPlan(28, 7)
    assert chosen_plan(None, lambda: own) is own
    assert chosen_plan(other, lambda: pytest.fail("was made")) is other
    with pytest.raises(ValueError, match="uhd_release_evaluation is for LLaVA-UHD, but the checkpoint's is a PadToSq"):
        chosen_plan("uhd_release_evaluation", lambda: own)
    with pytest.raises(
        ValueError,
        match="no plan 'uhd', known are uhd_release_evaluation, crop_to_patches, interleave_evaluation: or pass a View",
    ):
        chosen_plan("uhd", lambda: other)


def test_a_saved_checkpoint(tmp_path):
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        lambda i, o: PerceiverResampler(i, o, queries=4, heads=2),
        llama(260, width=32, depth=1, heads=2, mlp_width=32),
        byte_tokenizer(),
        UhdPlan(28, 7, 7),
    )
    folder = save(model, tmp_path / "checkpoint")
    assert load(folder).processor.plan.long_side is None
    opened = load(folder, plan="uhd_release_evaluation")
    assert opened.processor.plan.long_side == 1024
    # What is counted is what is cut.
    assert len(opened.processor.count(Size(30, 20))) == len(opened.processor.plan.layout(Size(30, 20))) > 1
    again = save(opened, tmp_path / "again")
    assert yaml.safe_load((again / "config.yaml").read_text())["plan"]["init_args"]["long_side"] == 1024
