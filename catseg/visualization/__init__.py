"""Images of segmentations: overlays with legends, score maps, label maps."""

from catseg.visualization.canvas import side_by_side
from catseg.visualization.heatmap import heatmap, score_grid
from catseg.visualization.overlay import class_shares, overlay, short_names
from catseg.visualization.palette import palette
from catseg.visualization.saving import save_image, save_label_png

__all__ = [
    "class_shares",
    "heatmap",
    "overlay",
    "palette",
    "save_image",
    "save_label_png",
    "score_grid",
    "short_names",
    "side_by_side",
]
