"""The `look` command: a picture as the encoder sees it, in a table and drawn."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from rich.table import Table

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import prompt_tokens
from recipes.command_line.local_paths import local_path
from recipes.commands.fit import FitCommand
from recipes.estimates.shapes import shapes_of
from recipes.reading.pictures import picture_at, read_picture
from recipes.reports.views import Shown, draw_views, in_order, shown_views


class LookCommand(FitCommand):
    """Print and draw the views of a picture; of the model, only the shapes are built."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--image", type=str, default=None, help="The picture, also a.pdf#page=3.")
        parser.add_argument("--output", type=str, default="views.png", help="PNG to write.")
        # A checkpoint alone has a plan, and no data is read.
        parser.set_defaults({"data": "recipes.data.PagesData"})

    def before_instantiate_classes(self) -> None:
        """Read the picture; nothing is loaded, so nothing else is refused.

        Raises:
            ValueError: if there is no picture, it cannot be used, or the output is not a PNG.
        """
        image, self.output = self._get(self.config, "image"), Path(self._get(self.config, "output"))
        if image is None:
            raise ValueError("there is no picture to look at: give --image")
        if self.output.suffix != ".png":
            raise ValueError(f"--output {self.output}: only a PNG is written, so the name must end in .png")
        self.picture = read_picture(picture_at(local_path(image)))

    def instantiate_classes(self) -> None:
        """Build only the network."""
        network = self._get(self.config, "model").as_dict()["network"]
        self.network: VisionLanguageModel = shapes_of(VisionLanguageModel, network).built

    def _run_subcommand(self, subcommand: str) -> None:
        plan, size = self.network.processor.plan, Size.of(self.picture.size)
        shown, (visual, marks) = shown_views(self.network, size), prompt_tokens(self.network, [size])
        title = f"{size} pixels: {len(shown)} views, {visual} visual tokens" + (f", {marks} marks" if marks else "")
        order = in_order((*plan.before(0), *plan.layout(size)), plan.inputs)
        print_views(shown, f"{title}\nin the prompt: {order}")
        path = draw_views(self.picture, plan.cut(self.picture), shown, f"{title}\n{order}", self.output)
        print(f"drawn: {path}")


def print_views(shown: Sequence[Shown], title: str) -> None:
    """Print a row for each view.

    Args:
        shown: the views.
        title: stands above the table.
    """
    print(title)
    table = Table("", "view", "shows x", "shows y", "scale", "padding", "tokens")
    for number, each in enumerate(shown, start=1):
        box = each.box
        table.add_row(
            str(number),
            str(each.view),
            f"{box.left:.0f} to {box.right:.0f}",
            f"{box.top:.0f} to {box.bottom:.0f}",
            each.scales,
            f"{each.padding:.0%}" if each.padding else "",
            "" if each.tokens is None else str(each.tokens),
        )
    Console().print(table)
    print("scale: pixels of the view for each pixel of the picture, across x down")
