"""The fixed texts around turns, by template."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

TemplateName = Literal[
    "plain",
    "vicuna_v1",
    "llama_2",
    "mistral_instruct",
    "llama_3",
    "llava_llama_3",
    "chatml",
    "qwen3_vl",
    "internvl",
    "gemma",
    "granite_vision",
    "phi3",
    "vary",
    "vary_tiny",
    "deepseek_ocr2",
    "chat",
]
CHAT = "chat"
"""The tokenizer's own chat template, which has no texts here."""


@dataclass(frozen=True)
class Template:
    """The fixed texts around turns. `{bos}` and `{eos}` are the tokenizer's BOS and EOS tokens.

    A prompt is `before_system` system `after_system`, then for every exchange `before_user` user `after_user` and
    `header` `before_answer` answer `after_answer` `between`. Only answers with `before_answer` and `after_answer` are
    supervised. After a system text, `before_first_user` replaces `before_user` in the first user turn.

    Attributes:
        picture_first: whether a single picture moves to the front of its turn, on a separate line.
        shows_user: whether the user's text is shown. Otherwise only the positions of pictures are, there is no system
            text, and a conversation has one exchange.
        answer_apart: whether answers are tokenised separately. Otherwise blank lines at the start of an answer may
            merge with the template's newline into one token, and the prompt is no prefix of the training sequence.
        picture_inline: whether the line end right after a picture is left out, where the makers' prompts have none.
        trims: whether whitespace around a text is left out, as in the chat template of the model's makers.
        ends: tokens that end an answer, besides EOS and `after_answer`.
        spelt: whether marks that look like special tokens were trained as ordinary text.
    """

    system: str
    before_system: str
    after_system: str
    before_first_user: str
    before_user: str
    after_user: str
    header: str
    before_answer: str
    after_answer: str
    between: str
    picture_first: bool = True
    shows_user: bool = True
    answer_apart: bool = False
    picture_inline: bool = False
    trims: bool = False
    ends: tuple[str, ...] = ()
    spelt: bool = False


LLAMA_3 = Template(
    system="",
    before_system="<|start_header_id|>system<|end_header_id|>\n\n",
    after_system="<|eot_id|>",
    before_first_user="<|start_header_id|>user<|end_header_id|>\n\n",
    before_user="<|start_header_id|>user<|end_header_id|>\n\n",
    after_user="<|eot_id|>",
    header="<|start_header_id|>assistant<|end_header_id|>\n\n",
    before_answer="",
    after_answer="<|eot_id|>",
    between="",
    trims=True,
    ends=("<|end_of_text|>",),
)

CHATML = Template(
    system="You are a helpful assistant.",
    before_system="<|im_start|>system\n",
    after_system="<|im_end|>\n",
    before_first_user="<|im_start|>user\n",
    before_user="<|im_start|>user\n",
    after_user="<|im_end|>\n",
    header="<|im_start|>assistant\n",
    before_answer="",
    after_answer="<|im_end|>",
    between="\n",
)

TEMPLATES: dict[TemplateName, Template] = {
    # Stage 1 of LLaVA: the picture and its caption, nothing else; the user's text is not shown.
    "plain": Template("", "", "", "", "", "", "", "", "\n", "", shows_user=False),
    "vicuna_v1": Template(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        before_system="",
        after_system=" ",
        before_first_user="USER: ",
        before_user="USER: ",
        after_user=" ",
        header="ASSISTANT:",
        before_answer=" ",
        after_answer="{eos}",
        between="",
    ),
    "llama_2": Template(
        system="You are a helpful language and vision assistant. You are able to understand the visual content that "
        "the user provides, and assist the user with a variety of tasks using natural language.",
        before_system="[INST] <<SYS>>\n",
        after_system="\n<</SYS>>\n\n",
        before_first_user="",
        before_user="{bos}[INST] ",
        after_user=" [/INST]",
        header="",
        before_answer=" ",
        after_answer=" {eos}",
        between="",
    ),
    # LLaVA-1.6-Mistral: as llama_2, but without a system text, and BOS stands only at the start.
    "mistral_instruct": Template(
        system="",
        before_system="[INST] <<SYS>>\n",
        after_system="\n<</SYS>>\n\n",
        before_first_user="",
        before_user="[INST] ",
        after_user=" [/INST]",
        header="",
        before_answer=" ",
        after_answer=" {eos}",
        between="",
    ),
    # LLaMA 3's own chat template, as in xtuner's LLaVA. The tokenizer adds BOS.
    "llama_3": LLAMA_3,
    # LLaVA-NeXT with LLaMA 3 (`llava_llama_3` there).
    "llava_llama_3": replace(
        LLAMA_3,
        system="You are a helpful language and vision assistant. You are able to understand the visual content that "
        "the user provides, and assist the user with a variety of tasks using natural language.",
    ),
    # Gemma 1 to 3: there is no turn for a system text, which stands before the first question.
    "gemma": Template(
        system="",
        before_system="<start_of_turn>user\n",
        after_system="\n\n",
        before_first_user="",
        before_user="<start_of_turn>user\n",
        after_user="<end_of_turn>\n",
        header="<start_of_turn>model\n",
        before_answer="",
        after_answer="<end_of_turn>",
        between="\n",
        trims=True,
    ),
    # Granite Vision, as its makers and transformers' page on it write it; an answer ends with EOS, <|end_of_text|>.
    # The marks of roles are ordinary text there: Granite's own special tokens are others, such as <|start_of_role|>.
    "granite_vision": Template(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        before_system="<|system|>\n",
        after_system="\n",
        before_first_user="<|user|>\n",
        before_user="<|user|>\n",
        after_user="\n",
        header="<|assistant|>\n",
        before_answer="",
        after_answer="{eos}",
        between="",
        spelt=True,
    ),
    # Also Qwen's, as in LLaVA-OneVision (`qwen_1_5` and `qwen_2` there).
    "chatml": CHATML,
    # InternVL 2.5 to 3.5 (`internvl2_5` in its code); the system text is the release's: "You are InternVL, a multimodal
    # large language model by Shanghai AI Laboratory, Tsinghua University and others". Pictures stay where they are.
    "internvl": replace(
        CHATML,
        system="你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。",
        picture_first=False,
    ),
    # Qwen3-VL's own chat template, without a system text; what is said stands right after a picture.
    "qwen3_vl": replace(CHATML, system="", picture_first=False, picture_inline=True, ends=("<|endoftext|>",)),
    # DeepStack with Phi-3 (arXiv 2406.04334); the system text is the release's.
    "phi3": Template(
        system="You are a helpful AI assistant.",
        before_system="<|system|>\n",
        after_system="<|end|>\n",
        before_first_user="<|user|>\n",
        before_user="\n<|user|>\n",
        after_user="<|end|>\n",
        header="<|assistant|>\n",
        before_answer="",
        after_answer="<|end|>",
        between="",
    ),
    # Vary-base and Vary-toy with Qwen (arXiv 2312.06109): ChatML whose turns end without a newline.
    "vary": Template(
        system="You should follow the instructions carefully and explain your answers in detail.",
        before_system="<|im_start|>system\n",
        after_system="<|im_end|>",
        before_first_user="<|im_start|>user\n",
        before_user="<|im_start|>user\n",
        after_user="<|im_end|>",
        header="<|im_start|>assistant\n",
        before_answer="",
        after_answer="<|im_end|>",
        between="",
        picture_first=False,
        answer_apart=True,
    ),
    # DeepSeek-OCR 2 (arXiv 2601.20552; `plain` in its released code): the question alone, without roles.
    "deepseek_ocr2": Template("", "", "", "", "", "", "", "", "{eos}", "", picture_first=False, answer_apart=True),
    # Stage 1 of Vary: a page and its text. At inference the reference omits the newline, although it was trained only
    # on texts after one.
    "vary_tiny": Template(
        "", "", "", "", "", "\n", "", "", "\n{eos}", "", picture_first=False, shows_user=False, answer_apart=True
    ),
}


def shows_user(name: str) -> bool:
    """Whether the template of that name shows what the user says.

    Raises:
        ValueError: if there is none.
    """
    return name == CHAT or find_template(name).shows_user


def find_template(name: str) -> Template:
    """The texts of the template with the given name.

    Raises:
        ValueError: if there are none.
    """
    for known, template in TEMPLATES.items():
        if known == name:
            return template
    raise ValueError(f"there is no prompt template {name!r}: {', '.join(get_args(TemplateName))}")
