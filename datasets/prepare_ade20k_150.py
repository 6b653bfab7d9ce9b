"""Makes the label maps of ADE20K-150 from ADEChallengeData2016.

Reads  ROOT/ADEChallengeData2016/images/{training,validation}/*.jpg
       ROOT/ADEChallengeData2016/annotations/{training,validation}/*.png
Writes ROOT/ADEChallengeData2016/annotations_detectron2/{training,validation}/*.png
"""

import sys

from catseg.data.dataset_specs import ADE20K_150
from catseg.data.preparation.command import main
from catseg.data.preparation.mapped import ade20k_150

if __name__ == "__main__":
    sys.exit(main(__doc__, [(spec, ade20k_150()) for spec in ADE20K_150]))
