"""Makes the label maps of PASCAL VOC's 20 classes, without and with the background, from VOC 2012.

Reads  ROOT/VOCdevkit/VOC2012/JPEGImages/*.jpg
       ROOT/VOCdevkit/VOC2012/SegmentationClassAug/*.png
       ROOT/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt
Writes ROOT/VOCdevkit/VOC2012/annotations_detectron2/val/*.png      background ignored
       ROOT/VOCdevkit/VOC2012/annotations_detectron2_bg/val/*.png   background is class 20
"""

import sys

from catseg.data.dataset_specs import PASCAL_VOC_20, PASCAL_VOC_20B
from catseg.data.preparation.command import main
from catseg.data.preparation.mapped import pascal_voc

if __name__ == "__main__":
    recipes = [(spec, pascal_voc(background=False)) for spec in PASCAL_VOC_20]
    sys.exit(main(__doc__, [*recipes, *((spec, pascal_voc(background=True)) for spec in PASCAL_VOC_20B)]))
