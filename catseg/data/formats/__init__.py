"""Own data: reading, checking and converting data sets as annotation tools and trainers write them.

```python
read_dataset(path, *, format=None, unlabelled=None) -> OwnDataset
register_own(path, *, format=None, unlabelled=None, workers=None) -> list[str]              # catseg.data.own
check_data(path, *, format=None, unlabelled=None, workers=None) -> DataReport
convert(path, target, output, *, format=None, unlabelled=None, workers=None) -> Path        # target: one of TARGETS
write_contact_sheet(file, dataset); write_data_page(file, dataset, report)                  # catseg.data_report
```

`path` is a file (`data.yaml`, a COCO or labelme JSON file) or a folder. The format is found by what is there; if that
is none or several, an error says what was looked for and what was found, and `format` (one of `FORMATS`) decides.

`unlabelled` says what becomes of pixels that nobody labelled, among them those of classes called "background" or
"void":

- None: as the format has it. Classes called "void", "unlabelled", "ignore" or the like are ignored, one called
  "background" is a class. Pixels outside all shapes are "background" if there is such a class, and otherwise ignored;
  Ultralytics' polygons alone add that class, as Ultralytics does.
- "ignored": they are ignored in training and evaluation.
- any other name, such as "other": they are the class of that name, which is added if there is none.

`ignore_label` of the data set is 255, or 65535 if there are more than 255 classes; `MODEL.SEM_SEG_HEAD.IGNORE_VALUE`
must be the same. All label maps are upright: shapes and masks are drawn on images as viewers show them, but for COCO,
where the size that the file states for the image decides.
"""

from catseg.data.formats.check import DataReport, check_data
from catseg.data.formats.convert import TARGETS, convert
from catseg.data.formats.dataset import OwnDataset, OwnSample
from catseg.data.formats.detect import FORMATS, read_dataset

__all__ = ["FORMATS", "TARGETS", "DataReport", "OwnDataset", "OwnSample", "check_data", "convert", "read_dataset"]
