from ._attach import Attachment as Attachment
from ._attach import fold as fold
from ._compressor import Compressor as Compressor
from ._status import status as status
from .cost import Latency as Latency
from .cost import largest as largest
from .cost import uniform_counts as uniform_counts
from .cost._goals import Goals as Goals
from .export import Check as Check
from .export import Int8Export as Int8Export
from .export import Int8Warning as Int8Warning
from .export import export as export
from .export import export_int8 as export_int8
from .export import load_check as load_check
from .graph import Graph as Graph
from .graph import Group as Group
from .graph import ParameterSlice as ParameterSlice
from .graph import Stats as Stats
from .methods import LC as LC
from .methods import Gradual as Gradual
from .methods import Masks as Masks
from .methods import Method as Method
from .methods import OneShot as OneShot
from .methods import Threshold as Threshold
from .methods import paper as paper
from .read import workloads_of_file as workloads_of_file
from .shrink import is_saved as is_saved
from .shrink import load_saved as load_saved
from .shrink import load_shrunk as load_shrunk
from .shrink import read_recipe as read_recipe
from .shrink import recalibrate as recalibrate
from .shrink import recipe_of as recipe_of
from .shrink import save_shrunk as save_shrunk
from .shrink import shrink as shrink
from .shrink import variant as variant
from .space import Block as Block
from .space import Depth as Depth
from .space import LayerInfo as LayerInfo
from .space import Layers as Layers
from .space import LowRank as LowRank
from .space import Prune as Prune
from .space import Quantise as Quantise
from .space import Quantize as Quantize
from .space import Scheme as Scheme
from .space import SchemeTarget as SchemeTarget
from .space import Sparse as Sparse
from .space import layers as layers
from .trace import trace as trace
from .train import Batches as Batches
from .train import Classification as Classification
from .train import DatasetBatches as DatasetBatches
from .train import Distillation as Distillation
from .train import Judgment as Judgment
from .train import OwnLoss as OwnLoss
from .train import Regression as Regression
from .train import Task as Task
from .train import TensorBatches as TensorBatches
from .train import Tick as Tick
from .train import TrainSettings as TrainSettings
from .train import accuracy as accuracy
from .train import check_trainable as check_trainable
from .train import evaluate as evaluate
from .train import judge as judge
from .train import train as train
from .train import with_functions as with_functions

__all__ = [
    "LC",
    "Attachment",
    "Batches",
    "Block",
    "Check",
    "Classification",
    "Compressor",
    "DatasetBatches",
    "Depth",
    "Distillation",
    "Goals",
    "Gradual",
    "Graph",
    "Group",
    "Int8Export",
    "Int8Warning",
    "Judgment",
    "Latency",
    "LayerInfo",
    "Layers",
    "LowRank",
    "Masks",
    "Method",
    "OneShot",
    "OwnLoss",
    "ParameterSlice",
    "Prune",
    "Quantise",
    "Quantize",
    "Regression",
    "Scheme",
    "SchemeTarget",
    "Sparse",
    "Stats",
    "Task",
    "TensorBatches",
    "Threshold",
    "Tick",
    "TrainSettings",
    "accuracy",
    "check_trainable",
    "evaluate",
    "export",
    "export_int8",
    "fold",
    "is_saved",
    "judge",
    "largest",
    "layers",
    "load_check",
    "load_saved",
    "load_shrunk",
    "paper",
    "read_recipe",
    "recalibrate",
    "recipe_of",
    "save_shrunk",
    "shrink",
    "status",
    "trace",
    "train",
    "uniform_counts",
    "variant",
    "with_functions",
    "workloads_of_file",
]
