"""The heat map of a segment of speech over a picture."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fairseq_parp.errors import ImagesError
from fairseq_parp.figures import blank, write
from fairseq_parp.kinds import misread


def draw(found: Tensor, boxes: Tensor, path: str | Path, picture: str | Path | None = None) -> None:
    """Draw each region (R, 4) in the colour of its relevance (R,), the least relevant first.

    Args:
        found: relevance of the regions.
        boxes: left, top, right and bottom as fractions of the picture.
        path: path of the PNG to write.
        picture: picture under the regions.

    Raises:
        ImagesError: the picture cannot be read.
    """
    figure = blank(5, 4)
    from matplotlib import colormaps, image
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    axes = figure.add_subplot()
    if picture is not None:
        try:
            axes.imshow(image.imread(picture), extent=(0, 1, 1, 0), aspect="auto")
        except (OSError, ValueError, SyntaxError) as error:
            raise ImagesError(picture, misread("a picture", picture, error)) from None
    scale = Normalize(float(found.min()), float(found.max()))
    for row in found.argsort().tolist():
        left, top, right, bottom = boxes[row].tolist()
        colour = colormaps["viridis"](scale(float(found[row])))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor=colour, alpha=0.6))
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_axis_off()
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes, label="relevance")
    write(figure, path)
