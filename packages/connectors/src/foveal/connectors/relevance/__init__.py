"""Find the patches that made a model write a word: generic attention explainability (Chefer et al., arXiv 2103.15679,
section 3), composed as in DeCo (arXiv 2405.20985): text to query in the language model, times query to patch in the
connector.

DeCo gives no formula for query to patch through a Q-Former; that composition is our interpretation.
"""

from foveal.connectors.relevance.maps import latent_to_patch, query_to_patch, text_to_query, window_to_patch
from foveal.connectors.relevance.recorded import RecordedAttention
from foveal.connectors.relevance.rules import contribution, contributions, crossed, mixed, normalised, rollout
from foveal.connectors.relevance.traced import TracedCall, patches_of_tokens, relevance_by_gradient, traced

__all__ = [
    "RecordedAttention",
    "TracedCall",
    "contribution",
    "contributions",
    "crossed",
    "latent_to_patch",
    "mixed",
    "normalised",
    "patches_of_tokens",
    "query_to_patch",
    "relevance_by_gradient",
    "rollout",
    "text_to_query",
    "traced",
    "window_to_patch",
]
