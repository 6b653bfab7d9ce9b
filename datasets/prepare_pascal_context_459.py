"""Makes the 16-bit label maps of PASCAL-Context's 459 classes from VOC 2010 and the .mat files of trainval.tar.gz.

Reads  ROOT/VOCdevkit/VOC2010/JPEGImages/*.jpg
       ROOT/VOCdevkit/VOC2010/trainval/*.mat
       ROOT/VOCdevkit/VOC2010/pascalcontext_val.txt, and labels.txt if it is there
Writes ROOT/VOCdevkit/VOC2010/annotations_detectron2/pc459_val/*.tif
"""

import sys

from catseg.data.dataset_specs import PASCAL_CONTEXT_459
from catseg.data.preparation.command import main
from catseg.data.preparation.pascal_context import ContextLabelMaps

if __name__ == "__main__":
    sys.exit(main(__doc__, [(spec, ContextLabelMaps()) for spec in PASCAL_CONTEXT_459]))
