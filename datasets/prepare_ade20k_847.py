"""Makes images and 16-bit label maps of the validation split of ADE20K-847 from ADE20K_2021_17_01.

Reads  ROOT/ADE20K_2021_17_01/index_ade20k.pkl, without running code that it may hold
       ROOT/ADE20K_2021_17_01/images/ADE/validation/*/*/ADE_val_*.jpg and ADE_val_*_seg.png
Writes ROOT/ADE20K_2021_17_01/images_detectron2/validation/*.jpg
       ROOT/ADE20K_2021_17_01/annotations_detectron2/validation/*.tif

Images of which both sides are longer than 512 pixels become smaller: the shorter side then has 512.
"""

import sys

from catseg.data.dataset_specs import ADE20K_847
from catseg.data.preparation.ade20k_full import FullADE20K
from catseg.data.preparation.command import main

if __name__ == "__main__":
    sys.exit(main(__doc__, [(spec, FullADE20K()) for spec in ADE20K_847]))
