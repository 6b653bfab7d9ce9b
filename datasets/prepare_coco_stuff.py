"""Makes the label maps of COCO-Stuff's 171 classes from COCO 2017 and its stuffthingmaps.

Reads  ROOT/coco-stuff/images/{train2017,val2017}/*.jpg
       ROOT/coco-stuff/annotations/{train2017,val2017}/*.png
Writes ROOT/coco-stuff/annotations_detectron2/{train2017,val2017}/*.png
"""

import sys

from catseg.data.dataset_specs import COCO_STUFF_171
from catseg.data.preparation import main

# The original values are COCO's category numbers less one, with gaps where COCO gave a number to no class.
UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
USED = [value for value in range(182) if value not in UNUSED]

# Unused numbers and 255, which is unlabelled, have no class.
CLASS_OF_VALUE = dict.fromkeys(range(256), COCO_STUFF_171[0].ignore_label)
CLASS_OF_VALUE |= {value: index for index, value in enumerate(USED)}

if __name__ == "__main__":
    sys.exit(main(__doc__, COCO_STUFF_171, CLASS_OF_VALUE))
