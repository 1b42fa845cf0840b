"""Published weight names of DeepSeek-OCR 2's encoder."""

from collections.abc import Mapping

from torch import Tensor

from foveal.core import KeyMap
from foveal.encoders.causal_flow import CausalFlowEncoder
from foveal.encoders.sam import SamViTDet
from foveal.encoders.sam_weights import sam_weights

TOWERS = ("sam_model.", "vision_tower.sam_encoder.")
"""Where the tower is in the released code, and in transformers."""
READERS = ("qwen2_model.model.model.", "vision_tower.vision_encoder.", "qwen2_model.", "vision_tower.")
"""Where the language model is, and its queries."""
SIDES = {12: 768, 16: 1024}
"""Rows of the tower's grid, and the pixels of the view that queries are named by."""
LINEAR = {
    "self_attn.q_proj": "query",
    "self_attn.k_proj": "key",
    "self_attn.v_proj": "value",
    "self_attn.o_proj": "out",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "mlp_norm",
}
NAMES = KeyMap(
    {
        **{f"layers.{{}}.{theirs}.weight": f"blocks.{{}}.{ours}.weight" for theirs, ours in LINEAR.items()},
        **{
            f"layers.{{}}.self_attn.{part[0]}_proj.bias": f"blocks.{{}}.{part}.bias"
            for part in ("query", "key", "value")
        },
        "norm.weight": "norm.weight",
        **{f"query_{pixels}.weight": f"queries.{side}.weight" for side, pixels in SIDES.items()},
        **{f"query_{pixels}_resolution.weight": f"queries.{side}.weight" for side, pixels in SIDES.items()},
    }
)


def causal_flow_weights(tensors: Mapping[str, Tensor], model: CausalFlowEncoder, *, source: str) -> dict[str, Tensor]:
    """Rename the weights of DeepSeek-OCR 2's encoder to our names.

    Args:
        tensors: under the names of the released code or of transformers, without `model.`.
        model: the model that the weights are for; its tower is a `SamViTDet`.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    if not isinstance(model.tower, SamViTDet):
        raise ValueError(f"{source}: the tower is a {type(model.tower).__name__}, these weights are for a SamViTDet")
    tower, rest = {}, {}
    for name, tensor in tensors.items():
        inside = next((name.removeprefix(prefix) for prefix in TOWERS if name.startswith(prefix)), None)
        if inside is not None:
            tower[inside] = tensor
            continue
        prefix = next((prefix for prefix in READERS if name.startswith(prefix)), "")
        rest[name.removeprefix(prefix)] = tensor
    found = {f"tower.{name}": tensor for name, tensor in sam_weights(tower, model.tower, source=source).items()}
    for name, tensor in NAMES.read(rest, source=source).items():
        if name.startswith("queries."):
            side = name.split(".")[1]
            if int(side) not in model.query_sides:
                raise ValueError(f"{source}: there are queries for grids of {side} rows, the model has none")
            name = f"queries.{model.query_sides.index(int(side))}.weight"
        found[name] = tensor
    return found
