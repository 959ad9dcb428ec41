from ._concat import ConcatNet as ConcatNet
from ._concat import densenet as densenet
from ._concat import googlenet as googlenet
from ._concat import shufflenet_v2 as shufflenet_v2
from ._concat import squeezenet as squeezenet
from ._fashion_mnist import fashion_mnist as fashion_mnist
from ._mobilenet import MobileNet as MobileNet
from ._mobilenet import mobilenet_v1 as mobilenet_v1
from ._mobilenet import mobilenet_v2 as mobilenet_v2
from ._mobilenet_v3 import MobileNetV3 as MobileNetV3
from ._mobilenet_v3 import mobilenet_v3_large as mobilenet_v3_large
from ._mobilenet_v3 import mobilenet_v3_small as mobilenet_v3_small
from ._models import MODELS as MODELS
from ._others import LstmClassifier as LstmClassifier
from ._others import UNet as UNet
from ._others import VisionTransformer as VisionTransformer
from ._others import lstm as lstm
from ._others import unet as unet
from ._others import vit as vit
from ._resnet import ResNet as ResNet
from ._resnet import resnet18 as resnet18
from ._resnet import resnet50 as resnet50
from ._tables import ZooTable as ZooTable
from ._tables import add_table as add_table
from ._tables import get_table as get_table
from ._tables import list_tables as list_tables
from ._tables import tables_folder as tables_folder

__all__ = [
    "MODELS",
    "ConcatNet",
    "LstmClassifier",
    "MobileNet",
    "MobileNetV3",
    "ResNet",
    "UNet",
    "VisionTransformer",
    "ZooTable",
    "add_table",
    "densenet",
    "fashion_mnist",
    "get_table",
    "googlenet",
    "list_tables",
    "lstm",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet50",
    "shufflenet_v2",
    "squeezenet",
    "tables_folder",
    "unet",
    "vit",
]
