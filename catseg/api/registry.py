"""The models that have a name, and what other words mean a model."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download

from catseg.api.folder import CLIP_FILE, CONFIG_FILE, WEIGHTS_FILE
from catseg.atomic import cache_folder
from catseg.benchmark.published import MODELS
from catseg.checkpoint.files import BEST, last_checkpoint
from catseg.checkpoint.hub import SCHEME
from catseg.checkpoint.sources import PUBLISHED, PUBLISHED_SCHEME
from catseg.config import shipped_config
from catseg.errors import InputError
from catseg.modeling.clip.loading import is_clip_name, vision_sizes

SHAPES = "shapes"
TRAINING_FREE = "training-free:"

_PARAMETERS = {"v1-base": 181, "v1-large": 490, "v1-huge": 1049, "v1-giant": 2603, "v2-base": 154, "v2-large": 434}
_OWN_MODEL = re.compile(r"(?:(?P<name>[^=/]+)=)?(?P<config>.+?\.ya?ml)(?::(?P<weights>.+))?")
_HUB_MODEL = re.compile(rf"{SCHEME}(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/]+))?/?")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model that has a name.

    Attributes:
        name: what `catseg.load` takes.
        clip: the CLIP model.
        guidance: where guidance maps come from: a backbone, or "-" for CLIP itself.
        parameters: in millions.
        licence: of the weights.
        miou: published mIoU on the benchmarks, in percent.
        source: where these numbers are.
        needs: what loading it takes.
        config: its config file.
        weights: what MODEL.WEIGHTS takes.
    """

    name: str
    clip: str
    guidance: str
    parameters: int
    licence: str
    miou: Mapping[str, float]
    source: str
    needs: str
    config: str
    weights: str


@dataclass(frozen=True)
class NamedModel:
    """A model that can be built.

    Attributes:
        name: in tables and messages.
        config_file: that describes it.
        weights: what MODEL.WEIGHTS is set to; None leaves that of the config.
        clip: the file that describes CLIP; None leaves what the config says.
        settings: further config keys and their values.
    """

    name: str
    config_file: Path
    weights: str | None
    clip: Path | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> list[str]:
        """Config overrides that choose the weights, and the file that describes CLIP, with all further settings."""
        chosen = {"MODEL.WEIGHTS": self.weights, "MODEL.CLIP.NAME": self.clip, **dict(self.settings)}
        return [str(word) for pair in chosen.items() if pair[1] is not None for word in pair]

    @property
    def folder(self) -> str:
        """A name for a folder, without what file systems may refuse."""
        return re.sub(r"[^\w.+-]+", "_", self.name).lstrip(".") or "_"


def models() -> list[ModelInfo]:
    """Return the models that `catseg.load` knows by name.

    `shapes` is trained on this machine by the demo; all others are the authors' and are downloaded when first used.
    """
    published = [
        ModelInfo(
            name=name,
            clip=MODELS[name].clip,
            guidance=MODELS[name].guidance,
            parameters=_PARAMETERS[name],
            licence="MIT",
            miou=MODELS[name].miou,
            source=MODELS[name].source,
            needs=f"a download from the Hugging Face hub, {4 * _PARAMETERS[name] / 1000:.1f} GB in float32",
            config=model.config,
            weights=f"{PUBLISHED_SCHEME}{name}",
        )
        for name, model in PUBLISHED.items()
    ]
    shapes = ModelInfo(
        name=SHAPES,
        clip="catseg-shapes",
        guidance="Swin of width 16",
        parameters=4,
        licence="Apache-2.0",
        miou={},
        source="",
        needs="about 10 minutes of training on a CPU, by the demo; nothing is downloaded",
        config="catseg_shapes.yaml",
        weights=str(shapes_folder() / WEIGHTS_FILE),
    )
    return [*published, shapes]


def find_model(word: str) -> NamedModel:
    """Find the model that a word means.

    Args:
        word: the name of a published model or "shapes"; `[NAME=]CONFIG.yaml[:WEIGHTS]`; a folder that holds
            `config.yaml` and weights, as a training run or `CATSegModel.save_pretrained` leaves it;
            `hf://OWNER/REPO[@REVISION]`, such a folder on the Hugging Face hub; or `training-free:CLIP/WEIGHTS`, a CLIP
            model and its weights, as MODEL.CLIP.NAME and MODEL.CLIP.WEIGHTS have them, by NACLIP.

    Raises:
        FileNotFoundError: if the folder or repository lacks a file, or "shapes" was not trained.
        ValueError: if the word is none of these.
    """
    if word.lower() in PUBLISHED:
        name = word.lower()
        return NamedModel(name, shipped_config(PUBLISHED[name].config), f"{PUBLISHED_SCHEME}{name}")
    if word.lower() == SHAPES:
        return _shapes()
    if _HUB_MODEL.fullmatch(word):
        return _from_hub(word)
    if word.startswith(TRAINING_FREE):
        return _training_free(word)
    folder = Path(word).expanduser()
    if folder.is_dir():
        return _in_folder(folder.resolve().name, folder)
    own = _OWN_MODEL.fullmatch(word)
    if own is None:
        raise InputError(
            f"no model is called {word!r}; {_suggest(word, [*PUBLISHED, SHAPES])}; a model of your own is given as "
            "CONFIG.yaml:WEIGHTS, or as a folder that holds config.yaml and weights, and CLIP alone as "
            f"{TRAINING_FREE}CLIP/WEIGHTS"
        )
    config = Path(own["config"]).expanduser()
    if not config.is_file():
        raise InputError(f"the model {word!r} needs the config file {config}, which is not there")
    return NamedModel((own["name"] or config.stem).strip(), config, own["weights"])


def shapes_folder() -> Path:
    """Return where the demo leaves the trained `shapes` model of this machine."""
    return cache_folder("models") / SHAPES


def _shapes() -> NamedModel:
    folder = shapes_folder()
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"the model shapes is trained on this machine and not there yet ({folder}): run catseg demo, which takes "
            "about 10 minutes on a CPU"
        )
    return _in_folder(SHAPES, folder)


def _in_folder(name: str, folder: Path) -> NamedModel:
    config, clip = folder / CONFIG_FILE, folder / CLIP_FILE
    if not config.is_file():
        raise FileNotFoundError(f"{folder} holds no {CONFIG_FILE}: give a run's folder, or CONFIG.yaml:WEIGHTS")
    weights = next((file for file in (folder / WEIGHTS_FILE, folder / f"{BEST}.pth") if file.is_file()), None)
    weights = weights or last_checkpoint(folder)
    if weights is None:
        raise FileNotFoundError(f"{folder} holds no weights: neither {WEIGHTS_FILE} nor a checkpoint")
    return NamedModel(name, config, str(weights), clip if clip.is_file() else None)


def _from_hub(word: str) -> NamedModel:
    match = _HUB_MODEL.fullmatch(word)
    repo, revision = (match["repo"], match["revision"]) if match else ("", None)
    try:
        config = Path(hf_hub_download(repo, CONFIG_FILE, revision=revision))
        names_clip_file = CLIP_FILE in config.read_text(encoding="utf-8")
        clip = Path(hf_hub_download(repo, CLIP_FILE, revision=revision)) if names_clip_file else None
    except Exception as error:  # the client raises its own kinds, those of its HTTP library, and OSError
        raise FileNotFoundError(f"cannot get {word} from the Hugging Face hub: {error}") from error
    at = f"@{revision}" * bool(revision)
    return NamedModel(repo, config, f"{SCHEME}{repo}{at}/{WEIGHTS_FILE}", clip)


def _training_free(word: str) -> NamedModel:
    """CLIP alone, looking at windows of the size that it was trained with, on images half as large again."""
    parts = word.removeprefix(TRAINING_FREE).split("/")
    names = ["/".join(parts[:count]) for count in range(1, len(parts))]
    clip = next((name for name in names if is_clip_name(name)), None)
    weights = "" if clip is None else word.removeprefix(f"{TRAINING_FREE}{clip}/")
    if clip is None or not weights:
        raise InputError(
            f"{word!r} names no CLIP model and weights: expected {TRAINING_FREE}CLIP/WEIGHTS, such as "
            f"{TRAINING_FREE}ViT-B-16-quickgelu/openai: a model of open_clip or a .json file, and a tag or a file"
        )
    sizes = vision_sizes(clip)
    side, patch = sizes.image, sizes.patch
    settings = {
        "MODEL.CLIP.NAME": clip,
        "MODEL.CLIP.WEIGHTS": weights,
        "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION": f"[{side // patch}, {side // patch}]",
        "INPUT.MIN_SIZE_TEST": f"{side + side // 2}",
        "TEST.SLIDING_KERNEL": f"{side}",
    }
    return NamedModel(word, shipped_config("training_free_naclip"), None, settings=tuple(settings.items()))


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
