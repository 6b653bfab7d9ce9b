"""Makes the label maps of PASCAL-Context's 59 classes from VOC 2010 and trainval_merged.json.

Reads  ROOT/VOCdevkit/VOC2010/JPEGImages/*.jpg
       ROOT/VOCdevkit/VOC2010/trainval_merged.json
Writes ROOT/VOCdevkit/VOC2010/annotations_detectron2/pc59_val/*.png
"""

import sys

from catseg.data.dataset_specs import PASCAL_CONTEXT_59
from catseg.data.preparation.command import main
from catseg.data.preparation.pascal_context import ContextAnnotations

if __name__ == "__main__":
    sys.exit(main(__doc__, [(spec, ContextAnnotations(ignore_label=spec.ignore_label)) for spec in PASCAL_CONTEXT_59]))
