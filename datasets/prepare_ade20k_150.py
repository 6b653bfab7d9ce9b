"""Makes the label maps of ADE20K-150 from ADEChallengeData2016.

Reads  ROOT/ADEChallengeData2016/images/{training,validation}/*.jpg
       ROOT/ADEChallengeData2016/annotations/{training,validation}/*.png
Writes ROOT/ADEChallengeData2016/annotations_detectron2/{training,validation}/*.png
"""

import sys

from catseg.data.dataset_specs import ADE20K_150
from catseg.data.preparation import main

# 0 is unlabelled, 1..150 are the classes.
CLASS_OF_VALUE = {0: ADE20K_150[0].ignore_label} | {value: value - 1 for value in range(1, 151)}

if __name__ == "__main__":
    sys.exit(main(__doc__, ADE20K_150, CLASS_OF_VALUE))
