"""What lmms-eval asks of its plug-ins: the name of the model and its class."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> "ModelManifest":
    """The registration of the model `foveal`; the entry point of the group `lmms_eval.models` names this function.

    Raises:
        ImportError: if lmms-eval is not installed.
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="foveal", chat_class_path="foveal.lmms_eval.model.Foveal")
