from ._head import outputs_of as outputs_of
from ._load import load_model as load_model
from ._models import at_batch as at_batch
from ._models import model_workloads as model_workloads
from ._weights import load_weights as load_weights

__all__ = [
    "at_batch",
    "load_model",
    "load_weights",
    "model_workloads",
    "outputs_of",
]
