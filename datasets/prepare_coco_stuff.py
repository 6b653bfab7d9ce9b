"""Makes the label maps of COCO-Stuff's 171 classes from COCO 2017 and its stuffthingmaps.

Reads  ROOT/coco-stuff/images/{train2017,val2017}/*.jpg
       ROOT/coco-stuff/annotations/{train2017,val2017}/*.png
Writes ROOT/coco-stuff/annotations_detectron2/{train2017,val2017}/*.png
"""

import sys

from catseg.data.dataset_specs import COCO_STUFF_171
from catseg.data.preparation.command import main
from catseg.data.preparation.mapped import coco_stuff

if __name__ == "__main__":
    sys.exit(main(__doc__, [(spec, coco_stuff()) for spec in COCO_STUFF_171]))
