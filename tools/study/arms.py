"""The arms of the study: what is trained, and what the papers claim."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.command_line.configurations import merged

CONFIGURATIONS = Path(__file__).parent / "arms"


@dataclass(frozen=True)
class Stage:
    """One training of an arm.

    Attributes:
        name: of its configuration in `arms/`, and of its folder.
        share: share of the arm's steps.
    """

    name: str
    share: float = 1.0

    @property
    def configuration(self) -> Path:
        """The file of its configuration."""
        return CONFIGURATIONS / f"{self.name}.yaml"

    def steps(self, steps: int) -> int:
        """Its part of the arm's steps."""
        return round(steps * self.share)


@dataclass(frozen=True)
class Arm:
    """A method, trained in one or more stages; the model of the last one is measured.

    Attributes:
        title: in the table and the figure.
        stages: the trainings, one after the other.
        claim: what papers report, each number with its source.
    """

    title: str
    stages: tuple[Stage, ...]
    claim: str


BASELINE = "llava"
"""The arm with which the others are compared."""

DETAIL = {
    "llava": Arm("LLaVA-1.5", (Stage("llava"),), "7B: TextVQA 58.2, DocVQA 28.1 (2406.04334, tables 1 and 2)"),
    "deepstack_l": Arm(
        "DeepStack-L", (Stage("deepstack_l"),), "7B, as many tokens: TextVQA +4.2, DocVQA +11.0 (2406.04334, table 1)"
    ),
    "deepstack_v": Arm(
        "DeepStack-V", (Stage("deepstack_v"),), "7B, as many tokens: TextVQA +5.3, DocVQA +12.9 (2406.04334, table 1)"
    ),
    "uhd": Arm("LLaVA-UHD", (Stage("uhd"),), "13B, with 94 % of the computation: TextVQA +6.4 (2403.11703, table 1)"),
    "mmfuser": Arm("MMFuser", (Stage("mmfuser"),), "7B: TextVQA +0.6, OCRBench 297 to 315 of 1000 (2410.11829)"),
    "dense_connector": Arm(
        "Dense Connector", (Stage("dense_connector"),), "7B: TextVQA 59.2, which is +1.0 (2405.13800, its model zoo)"
    ),
    "vary": Arm(
        "Vary, half of the steps for its vocabulary",
        (Stage("vary_vocabulary", 0.5), Stage("vary", 0.5)),
        "7B, after pretraining on millions of pages: DocVQA 78.2, MM-Vet +2.4 (2312.06109)",
    ),
    "llava_next": Arm(
        "LLaVA-NeXT, more tokens",
        (Stage("llava_next"),),
        "7B, five times the tokens, other data: TextVQA +6.7, DocVQA +46.3 (2406.04334, table 1)",
    ),
}

COMPRESSION = {
    "deco": Arm(
        "averaging (DeCo)",
        (Stage("deco"),),
        "ahead of Q-Former, C- and D-Abstractor, and faster (2405.20985); 60.9 (2407.02392)",
    ),
    "qformer": Arm("Q-Former", (Stage("qformer"),), "far behind an MLP on LLaVA's data (2405.20985)"),
    "c_abstractor": Arm("C-Abstractor", (Stage("c_abstractor"),), "behind averaging (2405.20985); 60.0 (2407.02392)"),
    "d_abstractor": Arm("D-Abstractor", (Stage("d_abstractor"),), "behind averaging (2405.20985)"),
    "perceiver_resampler": Arm("PerceiverResampler", (Stage("perceiver_resampler"),), "60.4 (2407.02392)"),
    "pixel_shuffle": Arm("pixel shuffle", (Stage("pixel_shuffle"),), "60.8 (2407.02392)"),
    "token_packer": Arm("TokenPacker", (Stage("token_packer"),), "62.8, ahead of all (2407.02392, its own table)"),
}

QUESTIONS = {
    "How is detail kept, at about 64 visual tokens?": DETAIL,
    "Which connector loses least when 64 patches become 16 tokens?": COMPRESSION,
}
"""The questions with their arms; the baseline belongs to the first, and is the reference of both."""

ARMS = DETAIL | COMPRESSION


def shared_data() -> dict[str, Any]:
    """The data's settings, which all arms share."""
    found: dict[str, Any] = merged(str(CONFIGURATIONS / "study.yaml"))["data"]["init_args"]
    return found
