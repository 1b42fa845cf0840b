"""The look command: numbers of the views, the figure, and what is refused."""

import pytest
from PIL import Image

from foveal.core import Box, Size
from foveal.models import DeepStackPlan, UhdPlan, VaryPlan, VisionLanguageModel
from recipes.command_line.configurations import merged
from recipes.command_line.help import short_help
from recipes.estimates.shapes import shapes_of
from recipes.reports.views import draw_views, in_order, shown_views


def network(name):
    settings = {"class_path": "foveal.models.VisionLanguageModel", "init_args": merged(name)["model"]["network"]}
    return shapes_of(VisionLanguageModel, settings).built


@pytest.mark.parametrize("name", ["uhd.yaml", "llava.yaml", "llava_next.yaml", "deepstack_hd.yaml", "vary.yaml"])
def test_tokens_are_those_of_the_prompt(name):
    model, size = network(name), Size(300, 120)
    shown = shown_views(model, size)
    assert [each.view for each in shown] == list(model.processor.plan.views(size))
    if model.merge is None:
        visual = sum(item for item in model.processor.count(size) if isinstance(item, int))
        assert sum(each.tokens or 0 for each in shown) == visual
    assert [each.tokens is None for each in shown] == [
        number % model.processor.plan.inputs != 0 for number in range(len(shown))
    ]


def test_scale_and_padding_of_a_wide_picture():
    (shown,) = shown_views(network("llava.yaml"), Size(200, 100))
    side = shown.view.width
    assert shown.box == Box(0, -50, 200, 150)
    assert shown.padding == 0.5
    assert shown.scales == f"{side / 200:.2f}"
    overview = shown_views(network("llava_next.yaml"), Size(200, 100))[0]
    assert overview.scales == f"{overview.view.width / 200:.2f} x {overview.view.height / 100:.2f}"


def test_the_order_in_words():
    size = Size(600, 600)
    assert in_order(UhdPlan(300, 4, max_slices=4).layout(size)) == "1 , 2 \\n 3 , 4 \\n 5"
    assert in_order(VaryPlan(32, 16).layout(size), inputs=2) == "<img> 1+2 </img>"
    assert in_order(DeepStackPlan(14).layout(size)) == "1 2 3 4 5"


def test_the_figure(tmp_path):
    model, picture = network("uhd.yaml"), Image.linear_gradient("L").resize((300, 120)).convert("RGB")
    plan, size = model.processor.plan, Size(300, 120)
    path = draw_views(picture, plan.cut(picture), shown_views(model, size), "$100, $200", tmp_path / "a" / "v.png")
    with Image.open(path) as drawn:
        assert min(drawn.size) > 300
        assert len(drawn.convert("RGB").getcolors(1 << 20) or range(1 << 20)) > 100


def test_its_help_has_only_what_it_reads():
    """Whatever else a configuration holds is of the training."""
    lines = short_help("look", "recipes.commands.look", "LookCommand").splitlines()
    options = {line.split()[0] for line in lines if line.startswith("  --")}
    own = {"--config", "--checkpoint", "--image", "--output", "--allow_import", "--print_config", "--help"}
    assert options == own | {"--model.network.PART"}
    assert not [line for line in lines if "lora" in line or "overlays" in line]
    assert "--data.path" in short_help("cost", "recipes.commands.cost", "CostCommand")


@pytest.mark.slow
def test_as_typed(command, tmp_path):
    Image.new("RGB", (300, 120), "white").save(tmp_path / "page.png")
    done = command("look", "--config", "uhd.yaml", "--image", "page.png")
    assert done.stderr == ""
    assert done.stdout.startswith("300x120 pixels: ")
    assert "drawn: views.png" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.png", "views.png"]
    numbered = command("look", "--config", "minicpm_v.yaml", "--image", "page.png")
    assert "in the prompt: <image_id> 0 </image_id> <image> 1 </image>" in numbered.stdout
    for words, said in (
        ([], "error: there is no picture to look at: give --image"),
        (["--image", "none.png"], "error: none.png: there is no such file"),
        (["--image", "page.png", "--output", "v.jpg"], "error: --output v.jpg: only a PNG is written"),
    ):
        refused = command("look", "--config", "uhd.yaml", *words, code=1)
        assert refused.stderr.startswith(said)
