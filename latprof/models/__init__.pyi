from ._decoding import decoding_step as decoding_step
from ._decoding import graph_of_step as graph_of_step
from ._head import outputs_of as outputs_of
from ._load import is_named as is_named
from ._load import load_model as load_model
from ._models import at_batch as at_batch
from ._models import model_workloads as model_workloads
from ._shrunk import load_shrunk as load_shrunk
from ._tokens import with_tokens as with_tokens
from ._weights import load_weights as load_weights

__all__ = [
    "at_batch",
    "decoding_step",
    "graph_of_step",
    "is_named",
    "load_model",
    "load_shrunk",
    "load_weights",
    "model_workloads",
    "outputs_of",
    "with_tokens",
]
