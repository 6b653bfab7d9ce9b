"""Sources of the original data sets, and how to unpack them."""

import shlex
from dataclasses import dataclass
from pathlib import Path

_ADE20K = "https://groups.csail.mit.edu/vision/datasets/ADE20K"
_CONTEXT = "https://roozbehm.info/pascal-context"
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that a data set is made of.

    Attributes:
        url: of the file; or of the page where it is asked for, if `on_request`.
        file: where it is saved, relative to the folder of all data sets.
        unpack: shell command that unpacks it, run in the folder of all data sets; empty if it is used as it is.
        gives: path relative to the folder of all data sets that is there when all this was done.
        on_request: whether its authors hand it out themselves, after registration.
    """

    url: str
    file: str
    unpack: str = ""
    gives: str
    on_request: bool = False

    def steps(self, root: Path) -> list[str]:
        """List the shell commands that put it in place under `root`, the folder of all data sets."""
        target, folder, url = (
            shlex.quote(str(part)) for part in (root / self.file, (root / self.file).parent, self.url)
        )
        if self.on_request:
            fetch = f"ask for the file at {self.url} and save it as {target}"
        elif self.url.endswith(f"/{Path(self.file).name}"):
            fetch = f"wget -c -P {folder} {url}"
        else:
            fetch = f"mkdir -p {folder} && wget -c -O {target} {url}"
        return [fetch, *([f"(cd {shlex.quote(str(root))} && {self.unpack})"] if self.unpack else [])]


ADE20K_150_ARCHIVE = Download(
    url="https://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    file="ADEChallengeData2016.zip",
    unpack="unzip -nq ADEChallengeData2016.zip",
    gives="ADEChallengeData2016/annotations",
)
ADE20K_FULL_ARCHIVE = Download(
    url=f"{_ADE20K}/request_data/",
    file="ADE20K_2021_17_01.zip",
    unpack="unzip -nq ADE20K_2021_17_01.zip",
    gives="ADE20K_2021_17_01/index_ade20k.pkl",
    on_request=True,
)
VOC_2010 = Download(
    url=f"{_VOC}/voc2010/VOCtrainval_03-May-2010.tar",
    file="VOCtrainval_03-May-2010.tar",
    unpack="tar -xf VOCtrainval_03-May-2010.tar",
    gives="VOCdevkit/VOC2010/JPEGImages",
)
CONTEXT_59_LABELS = Download(
    url="https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
    file="VOCdevkit/VOC2010/trainval_merged.json",
    gives="VOCdevkit/VOC2010/trainval_merged.json",
)
CONTEXT_459_LABELS = Download(
    url=f"{_CONTEXT}/trainval.tar.gz",
    file="trainval.tar.gz",
    unpack="tar -xzf trainval.tar.gz -C VOCdevkit/VOC2010",
    gives="VOCdevkit/VOC2010/trainval",
)
CONTEXT_459_NAMES = Download(
    url=f"{_CONTEXT}/labels.txt",
    file="VOCdevkit/VOC2010/labels.txt",
    gives="VOCdevkit/VOC2010/labels.txt",
)
CONTEXT_459_VAL = Download(
    url="https://raw.githubusercontent.com/cvlab-kaist/CAT-Seg/main/datasets/pascalcontext_val.txt",
    file="VOCdevkit/VOC2010/pascalcontext_val.txt",
    gives="VOCdevkit/VOC2010/pascalcontext_val.txt",
)
VOC_2012 = Download(
    url=f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
    file="VOCtrainval_11-May-2012.tar",
    unpack="tar -xf VOCtrainval_11-May-2012.tar",
    gives="VOCdevkit/VOC2012/JPEGImages",
)
VOC_2012_LABELS = Download(
    url="https://www.dropbox.com/s/oeu149j8qtbs1x0/SegmentationClassAug.zip?dl=1",
    file="SegmentationClassAug.zip",
    unpack="unzip -nq SegmentationClassAug.zip -d VOCdevkit/VOC2012",
    gives="VOCdevkit/VOC2012/SegmentationClassAug",
)


def coco_stuff(split: str) -> tuple[Download, Download]:
    """Return the images of COCO 2017's split "train2017" or "val2017", and the label maps of both."""
    images = Download(
        url=f"http://images.cocodataset.org/zips/{split}.zip",
        file=f"{split}.zip",
        unpack=f"unzip -nq {split}.zip -d coco-stuff/images",
        gives=f"coco-stuff/images/{split}",
    )
    labels = Download(
        url="http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
        file="stuffthingmaps_trainval2017.zip",
        unpack="unzip -nq stuffthingmaps_trainval2017.zip -d coco-stuff/annotations",
        gives=f"coco-stuff/annotations/{split}",
    )
    return images, labels
