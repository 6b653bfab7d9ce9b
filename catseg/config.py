"""Every configuration key of CAT-Seg, with its default and unit. configs/base.yaml is the published v1 L recipe.

Keys that Detectron2 already has keep Detectron2's meaning; keys that mean the same in the authors' code have the
authors' names. Files in the authors' other keys can be read too (`read_config`). Guidance widths are not keys: the head
derives them from the backbone's `output_shape()` and the CLIP model.
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from catseg.config_values import assign, flat
from catseg.errors import InputError
from catseg.official_config import counterpart, is_official, translate

logger = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parent / "configs"  # a link to the configs of the repository, which wheels hold as files


def add_catseg_config(cfg: CfgNode) -> None:
    """Add CAT-Seg's keys to `cfg`, in place, and register the network with Detectron2."""
    import catseg.modeling  # noqa: F401

    _add_model_keys(cfg)
    _add_training_free_keys(cfg)
    _add_head_keys(cfg)
    _add_data_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)
    _add_logging_keys(cfg)


def shipped_config(name: str) -> Path:
    """Return a config file that comes with the package.

    Args:
        name: as in configs/, with or without its suffix: "catseg_v2_large", "backbones/...".

    Raises:
        ValueError: if there is no such file.
    """
    file = _SHIPPED / f"{name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        known = sorted(path.relative_to(_SHIPPED).with_suffix("").as_posix() for path in _SHIPPED.rglob("*.yaml"))
        close = difflib.get_close_matches(name.removesuffix(".yaml"), known)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
        raise InputError(f"no config {name!r} comes with catseg; {hint}")
    return file


@dataclass(frozen=True)
class ConfigReading:
    """A config as it was read.

    Attributes:
        cfg: the config, still mutable.
        notes: for a file that is written for the authors' code, what its keys and values became here, line by line;
            empty for others.
    """

    cfg: CfgNode
    notes: tuple[str, ...]


def load_config(config_file: str | Path, options: Sequence[Any] = ()) -> CfgNode:
    """Read a config file over Detectron2's and CAT-Seg's defaults, and log what `read_config` notes.

    Args:
        config_file: a YAML file, which may name another one under `_BASE_`. It may be written for the authors' code.
        options: overrides as a flat list, `["SOLVER.MAX_ITER", "100", ...]`.

    Returns:
        The config, still mutable.

    Raises:
        FileNotFoundError: if `config_file` does not exist.
        ValueError: if `options` does not hold pairs, the file or `options` names a key that does not exist or gives it
            a value that it cannot take (`catseg.config_values.typed_value` has the rules), or a file that is written
            for the authors' code asks for something that is not possible here.
    """
    reading = read_config(config_file, options)
    for note in reading.notes:
        logger.info("%s", note)
    return reading.cfg


def read_config(config_file: str | Path, options: Sequence[Any] = ()) -> ConfigReading:
    """Read a config file. Arguments and errors as `load_config`.

    A file that names any key that only the authors' code has, itself or in its `_BASE_`, is read as that code reads it:
    over the authors' defaults, options included (see `catseg.official_config`).
    """
    path = Path(config_file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no config file {path}; the shipped ones are in configs/")
    if len(options) % 2:
        raise InputError(f"overrides come as KEY VALUE pairs, got {len(options)} words: {list(options)}")
    overrides = dict(zip(options[::2], options[1::2], strict=True))
    cfg = get_cfg()
    add_catseg_config(cfg)
    try:
        # By default, Detectron2 runs code that a config file holds.
        values = dict(flat(CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)))
        if values.get("VERSION", cfg.VERSION) != cfg.VERSION:
            raise InputError(f"VERSION is {values['VERSION']!r}, but only configs of version {cfg.VERSION} can be read")
        if is_official(values):
            translation = translate({**values, **overrides}, known=[key for key, _ in flat(cfg)])
            assign(cfg, translation.values)
            return ConfigReading(cfg, translation.notes)
        assign(cfg, values)
    except Exception as error:  # PyYAML and fvcore raise many kinds, for the file and for those under `_BASE_`
        raise InputError(f"{path} is not a usable config: {error or type(error).__name__}") from error
    for key in overrides:
        if instead := counterpart(key):
            raise InputError(f"{key} is a key of the authors' code, and {path} is not written for it: {instead}")
    try:
        assign(cfg, overrides)
    except ValueError as error:
        raise InputError(f"{error} (overrides: {' '.join(map(str, options))})") from error
    return ConfigReading(cfg, ())


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.META_ARCHITECTURE = "CATSeg"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.280, 103.530]  # RGB, 0..255: what the backbone expects
    cfg.MODEL.PIXEL_STD = [58.395, 57.120, 57.375]
    # Recompute activations in the backward pass instead of keeping them: slower steps, less memory.
    cfg.MODEL.ACTIVATION_CHECKPOINTING = False
    # On several GPUs, let the batch norms that train normalise by the batches of all processes together, as the authors
    # of most backbones that have them do; else each process by its own. Running statistics are the same everywhere.
    cfg.MODEL.SYNC_BATCH_NORM = True
    # torch.compile the blocks of CLIP's image encoder, the aggregation and the decoder: the first image and the first
    # training step then take minutes longer. On a CPU this needs a C++ compiler.
    cfg.MODEL.COMPILE = False

    cfg.MODEL.CLIP = CfgNode()
    cfg.MODEL.CLIP.NAME = "ViT-L-14-336-quickgelu"  # an open_clip model name, or the path of a model JSON file
    cfg.MODEL.CLIP.WEIGHTS = "openai"  # an open_clip pretrained tag or the path of a checkpoint; "" is random
    # Side in pixels of the images that CLIP's position table is made for; 0 keeps the model's own. The table is resized
    # to FEATURE_RESOLUTION in any case; this is the size in which it trains and is stored.
    cfg.MODEL.CLIP.IMAGE_SIZE = 0
    cfg.MODEL.CLIP.PIXEL_MEAN = [122.7709383, 116.7460125, 104.09373615]
    cfg.MODEL.CLIP.PIXEL_STD = [68.5005327, 66.6321579, 70.3231630]
    # What trains of the image encoder: attention, full, prompt or none; or, of both encoders, query_value.
    cfg.MODEL.CLIP.FINETUNE = "attention"
    # The last block adds its values to the class token, for every token, and not to the token itself.
    cfg.MODEL.CLIP.CLASS_TOKEN_RESIDUAL = False
    cfg.MODEL.CLIP.PROMPT_DEPTH = 0  # blocks that get their own learned prompt tokens
    cfg.MODEL.CLIP.PROMPT_LENGTH = 0  # prompt tokens per block
    # Set of prompt templates: imagenet (80), imagenet_select (7), single (1) or shapes (4).
    cfg.MODEL.CLIP.TEMPLATES = "imagenet"
    cfg.MODEL.CLIP.FIRST_SYNONYM_ONLY = False  # else the text features of a class's synonyms are averaged
    # Keep text features on disk, under $CATSEG_CACHE or ~/.cache/catseg: up to $CATSEG_TEXT_CACHE_MIB, by default 2048.
    cfg.MODEL.CLIP.TEXT_CACHE = True

    # MODEL.BACKBONE.NAME is any of Detectron2's or this project's backbones; with "", guidance comes from CLIP's image
    # encoder (CAT-Seg v2). SIZE is one of the sizes of the family, if it has any (D2SwinTransformer has its own keys).
    cfg.MODEL.BACKBONE.SIZE = ""
    cfg.MODEL.BACKBONE.DROP_PATH_RATE = 0.3  # stochastic depth of the last block; it rises linearly from 0

    cfg.MODEL.SWIN = CfgNode()
    cfg.MODEL.SWIN.EMBED_DIM = 128
    cfg.MODEL.SWIN.DEPTHS = [2, 2, 18]
    cfg.MODEL.SWIN.NUM_HEADS = [4, 8, 16]
    cfg.MODEL.SWIN.WINDOW_SIZE = 12
    cfg.MODEL.SWIN.MLP_RATIO = 4.0
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.3
    cfg.MODEL.SWIN.OUT_FEATURES = ["res2", "res3", "res4"]


def _add_training_free_keys(cfg: CfgNode) -> None:
    # Of META_ARCHITECTURE TrainingFreeSegmenter, which is CLIP alone. What takes the place of the attention of its last
    # block: vanilla, maskclip, sclip, clearclip, kk, naclip, nonly or proxyclip (docs/training_free.md).
    options = cfg.MODEL.TRAINING_FREE = CfgNode()
    options.METHOD = "naclip"
    options.RESIDUAL = False  # add the last block's input to the attention's output
    options.MLP = False  # let the last block's MLP follow
    options.GAUSSIAN_STD = 5.0  # of naclip and nonly: standard deviation of the prior, in patches
    # Of proxyclip: similarities below BETA times their mean are left out, GAMMA is a factor on the others. PROXY is
    # timm's name of the network whose features are compared, PROXY_WEIGHTS "timm" (downloaded), a file, or "" (random);
    # MODEL.PIXEL_MEAN and PIXEL_STD are its. PROXY_SIZE are the rows and columns of pixels at which it sees a crop, 0 0
    # for those at which CLIP does.
    options.BETA = 1.2
    options.GAMMA = 3.0
    options.PROXY = ""
    options.PROXY_WEIGHTS = "timm"
    options.PROXY_SIZE = [0, 0]
    options.LOGIT_SCALE = 40.0  # factor on the cosines in the softmax over all classes
    # Pixels whose most probable class is less probable than the threshold get the class that is called so, if there is
    # one; 0 for none.
    options.BACKGROUND = "background"
    options.BACKGROUND_THRESHOLD = 0.0


def _add_head_keys(cfg: CfgNode) -> None:
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "CATSegHead"
    head.IN_FEATURES = ["res2", "res3", "res4"]  # finest first
    head.IGNORE_VALUE = 255
    head.FEATURE_RESOLUTION = [24, 24]  # rows and columns of the cost volume
    head.NUM_LAYERS = 2
    head.NUM_HEADS = 4
    head.HIDDEN_DIMS = 128
    head.WINDOW_SIZES = 12  # of the spatial aggregation, in tokens
    head.ATTENTION_TYPE = "linear"  # of the class aggregation: linear or full
    # Tokens that the class aggregation sees: fewer classes are padded, and of more the best of a crop are taken; 0 for
    # the classes as they are.
    head.CLASS_TOKENS = 0
    # Rows and columns of the kernel of the average pooling before each class aggregation, in training and in inference.
    # (In the authors' code, POOLING_SIZES is both.)
    head.POOLING_SIZES = [2, 2]
    head.POOLING_SIZES_TEST = [1, 1]
    head.TEXT_GUIDANCE_PROJ_DIM = 128
    head.APPEARANCE_GUIDANCE_PROJ_DIM = 128
    head.DECODER_DIMS = [64, 32]
    head.DECODER_GUIDANCE_PROJ_DIMS = [32, 16]
    # Share of pixels that a class is expected to cover at the start, which sets the last bias; 0 keeps PyTorch's.
    head.PRIOR_PROB = 0.0


def _add_data_keys(cfg: CfgNode) -> None:
    # Data sets of one's own, files or folders as `catseg.data.formats` has them, which are registered as
    # own_NAME_train and so on; of which format they are, "" to find out; and what becomes of the pixels that nobody
    # labelled in them: "" for what their format says, "ignored", or the name of a class.
    cfg.DATASETS.OWN = ()
    cfg.DATASETS.OWN_FORMAT = ""
    cfg.DATASETS.OWN_UNLABELLED = ""
    # Class names in place of the data sets' own, in the same order, as `catseg.vocabulary` takes them: the name of a
    # shipped vocabulary, or a .json or .txt file. "" for the data sets' own.
    cfg.DATASETS.TRAIN_CLASSES = ""
    cfg.DATASETS.TEST_CLASSES = ""
    # Classes that the network sees beside those of a user, so that "none of these" can be told: see
    # `CATSegModel.segment`. "" for those of the training.
    cfg.DATASETS.CONTEXT_CLASSES = ""
    cfg.INPUT.FORMAT = "RGB"  # the only one: MODEL.PIXEL_MEAN and MODEL.CLIP.PIXEL_MEAN are for it
    cfg.INPUT.COLOR_AUG_SSD = True
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0


def _add_solver_keys(cfg: CfgNode) -> None:
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # weight decay of embeddings
    # Share of the trained weights in those that are evaluated and kept as the best; the rest are those that the run
    # started from, so that classes outside the training set suffer less (WiSE-FT, arXiv 2109.01903).
    cfg.SOLVER.WISE_FT_ALPHA = 1.0
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.0  # learning rate of the backbone over BASE_LR; 0 freezes it
    cfg.SOLVER.CLIP_MULTIPLIER = 0.01  # learning rate of CLIP's trained parameters over BASE_LR; 0 freezes it
    # How many of the newest checkpoints a run keeps, beside the best weights; older ones are removed. 0 keeps all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 3
    cfg.SOLVER.ACCUMULATION_STEPS = 1  # batches of IMS_PER_BATCH whose gradients make one step
    cfg.SOLVER.AMP.DTYPE = "bfloat16"  # of SOLVER.AMP.ENABLED: bfloat16 or float16


def _add_test_keys(cfg: CfgNode) -> None:
    cfg.TEST.SLIDING_WINDOW = True  # else the image, resized as below, is squeezed into one crop
    # In every kind of inference, Detectron2 first resizes images, with averaging, to INPUT.MIN_SIZE_TEST (length of the
    # shorter side; 0 for none) and at most INPUT.MAX_SIZE_TEST. SLIDING_SIZE are the rows and columns to which the
    # network resizes the outcome, without averaging; 0 0 keeps its size.
    cfg.TEST.SLIDING_SIZE = [640, 640]
    cfg.TEST.SLIDING_KERNEL = 384  # side of a window, in pixels
    cfg.TEST.SLIDING_OVERLAP = 0.333  # share of a window that it has in common with the next one
    # Average what the windows give with what the whole image gives, squeezed into one window.
    cfg.TEST.SLIDING_WHOLE_IMAGE = True
    cfg.TEST.IMS_PER_BATCH = 1  # images that a process evaluates at once: their windows share the chunks below
    # Crops that go through CLIP and the backbone at once. 0 is 4 on a CPU and 16 on a GPU.
    cfg.TEST.CROPS_PER_CHUNK = 0
    # Class maps (one for each crop and class) that are aggregated, decoded and merged at once, in training too. 0 is 4
    # on a CPU and 64 on a GPU where a map has 24 x 24 cells, and more of smaller maps.
    cfg.TEST.CLASS_MAPS_PER_CHUNK = 0
    # Aggregate this many classes of each window alone, those with the highest cosine in it, and hold the others absent:
    # quicker with large vocabularies, but not exact. 0 aggregates all, as the paper does.
    cfg.TEST.MAX_CLASSES = 0
    cfg.TEST.DTYPE = "float32"  # computing type of inference: float32, bfloat16 or float16
    # With TEST.AUG.ENABLED, the network resizes the same outcome to each of these in place of SLIDING_SIZE, and in the
    # aspect of SLIDING_SIZE: lengths of the shorter side, in pixels. Without SLIDING_WINDOW there is one size. AUG.FLIP
    # has each looked at mirrored, too.
    cfg.TEST.AUG.MIN_SIZES = (512, 640, 768)
    # What the best checkpoint is chosen by: <task>/<metric> on the first test set, or <dataset>/<task>/<metric>.
    cfg.TEST.BEST_METRIC = "sem_seg/mIoU"
    # Training ends after this many evaluations in a row that bring no better BEST_METRIC; 0: never before MAX_ITER.
    cfg.TEST.PATIENCE = 0
    cfg.TEST.SAVE_PREDICTIONS = ""  # write, under OUTPUT_DIR/evaluation, "labels" (PNG), "overlays" or "both"


def _add_logging_keys(cfg: CfgNode) -> None:
    cfg.LOGGING = CfgNode()
    # Project of Weights & Biases that a training's scalars are sent to, by the package wandb; "" for none.
    cfg.LOGGING.WANDB_PROJECT = ""
