"""MMFuser from pixels to visual tokens, against the reference."""

import torch

from foveal.connectors import Chain, MlpProjector, MMFuser
from foveal.connectors.mlp import LLAVA
from foveal.connectors.mmfuser import MMFUSER
from foveal.core import Size, load_exact
from foveal.encoders import VisionTransformer, clip_weights
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama


@torch.no_grad()
def test_from_pixels_to_tokens(golden):
    meta, tensors = golden("mmfuser/end_to_end").meta, golden("mmfuser/end_to_end").tensors
    clip, fuser = meta["clip"], meta["fuser"]
    model = VisionLanguageModel(
        VisionTransformer(
            clip["hidden_size"],
            clip["num_hidden_layers"],
            clip["num_attention_heads"],
            clip["intermediate_size"],
            clip["patch_size"],
            clip["image_size"],
            layers=tuple(meta["select_layer"]),
        ),
        lambda i, o: Chain(
            i, o, stages=[lambda w: MMFuser(w, heads=fuser["n_heads"], points=fuser["n_points"])], last=MlpProjector
        ),
        llama(260, width=meta["projector"]["out"], depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(clip["image_size"]),
    ).eval()
    tower = clip_weights(golden.strip(tensors, "w.vision_tower.vision_model."), model.encoder, source="reference")
    load_exact(model.encoder, tower, source="reference")
    weights = golden.strip(tensors, "w.mm_projector.")
    of_fuser = {name[2:]: value for name, value in weights.items() if name.startswith("0.")}
    of_mlp = {f"{int(name[0]) - 1}{name[1:]}": value for name, value in weights.items() if name[0] != "0"}
    load_exact(model.connector.stages[0], MMFUSER.read(of_fuser, source="reference"), source="reference")
    load_exact(model.connector.last, LLAVA.read(of_mlp, source="reference"), source="reference")
    # In double precision, so that over 23 blocks only the reference's rounding counts: with ours too it is 1.05e-5.
    model.double()
    maps = torch.stack(model.encoder(tensors["pixel_values"].double())).float()
    torch.testing.assert_close(maps, tensors["selected_features"], atol=meta["tol"], rtol=0)
    tokens = torch.stack(model.visual_tokens(list(tensors["pixel_values"]))).float()
    torch.testing.assert_close(tokens, tensors["output"], atol=meta["tol"], rtol=0)
    assert model.processor.count(Size(*[clip["image_size"]] * 2)) == [tokens.shape[1]]
