"""The data sets that a run trains on, and the loader of its batches."""

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MetadataCatalog, build_detection_train_loader
from detectron2.utils import comm
from torch.utils.data import DataLoader

from catseg.config_checks import check_at_least
from catseg.data.checks import check_datasets
from catseg.data.dataset_mapper import SemSegDatasetMapper
from catseg.data.records import dataset_records
from catseg.engine.training_stream import TrainingStream
from catseg.errors import InputError


def check_batches(cfg: CfgNode, *, processes: int) -> None:
    """Check that training batches can be made in so many processes, without looking at the data.

    Raises:
        ValueError: if SOLVER.IMS_PER_BATCH is no multiple of `processes`, images of different sizes would be in a
            batch, or SOLVER.REFERENCE_WORLD_SIZE or DATALOADER cannot be used.
    """
    check_reference(cfg)
    check_at_least(0, {"DATALOADER.NUM_WORKERS": cfg.DATALOADER.NUM_WORKERS})
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise InputError(f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}, expected 'TrainingSampler'")
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    if not cfg.INPUT.CROP.ENABLED and processes < batch_size:
        raise InputError(
            "INPUT.CROP.ENABLED False leaves images at their own sizes, of which no batch can be made: enable it, or "
            f"set SOLVER.IMS_PER_BATCH to {processes}, one image per process, and SOLVER.ACCUMULATION_STEPS higher"
        )
    if batch_size < 1 or batch_size % processes:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH, the batch of all processes together, is {batch_size}: "
            f"choose a multiple of the {processes} processes"
        )


def check_reference(cfg: CfgNode) -> None:
    """Check what Detectron2 scales a config by for another number of processes.

    Raises:
        ValueError: if SOLVER.REFERENCE_WORLD_SIZE does not divide SOLVER.IMS_PER_BATCH.
    """
    size, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if size < 0 or (size and batch % size):
        raise InputError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {size}, expected 0 or a number of processes that divides "
            f"SOLVER.IMS_PER_BATCH {batch}"
        )


def check_training_sets(cfg: CfgNode) -> None:
    """Check the data sets of DATASETS.TRAIN, which must be registered, and how images are augmented.

    Raises:
        FileNotFoundError: if files of theirs do not exist.
        ValueError: if there are none, they cannot be used or not together, or the augmentation has no sense.
    """
    names = cfg.DATASETS.TRAIN
    if not names:
        raise InputError("DATASETS.TRAIN is empty: name the dataset to train on")
    check_datasets(names, cfg.DATASETS.TRAIN_CLASSES)
    first, *others = names
    for other in others:
        if MetadataCatalog.get(other).stuff_classes != MetadataCatalog.get(first).stuff_classes:
            raise InputError(f"DATASETS.TRAIN mixes {first} and {other}, whose lists of classes differ")
    SemSegDatasetMapper(cfg, is_train=True)  # for its own checks


def build_train_loader(cfg: CfgNode) -> DataLoader:
    """Build the loader of endless training batches; its `dataset` is a `TrainingStream`."""
    check_batches(cfg, processes=comm.get_world_size())
    stream = TrainingStream(
        records=DatasetFromList(dataset_records(cfg.DATASETS.TRAIN), copy=False),
        mapper=SemSegDatasetMapper(cfg, is_train=True),
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )
    loader = build_detection_train_loader(
        stream,
        mapper=None,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=False,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    loader.pin_memory = cfg.MODEL.DEVICE.startswith("cuda")  # Detectron2 has no argument for it
    return loader
