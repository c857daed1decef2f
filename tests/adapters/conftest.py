"""torchvision, which Olive imports by way of torchmetrics where it is installed; its compiled operators are not needed."""

import importlib.util

if importlib.util.find_spec("torchvision") is not None:
    from models.torch_networks import declare_torchvision_operators

    declare_torchvision_operators()
