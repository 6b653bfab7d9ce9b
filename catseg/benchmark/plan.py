"""Models and data sets named on the command line."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog

import catseg
from catseg.benchmark.published import BENCHMARKS, paper_name
from catseg.checkpoint.sources import PUBLISHED, PUBLISHED_SCHEME
from catseg.errors import InputError

ALL = "all"
CONFIGS = Path(catseg.__file__).parents[1] / "configs"

# [NAME=]CONFIG.yaml[:WEIGHTS]
_OWN_MODEL = re.compile(r"(?:(?P<name>[^=/]+)=)?(?P<config>.+?\.ya?ml)(?::(?P<weights>.+))?")


@dataclass(frozen=True)
class Model:
    """A model to evaluate.

    Attributes:
        name: in tables.
        config_file: that describes it.
        weights: what MODEL.WEIGHTS is set to; None leaves that of the config.
    """

    name: str
    config_file: Path
    weights: str | None

    @property
    def folder(self) -> str:
        """A name for a folder, without what file systems may refuse."""
        return re.sub(r"[^\w.+-]+", "_", self.name).lstrip(".") or "_"


@dataclass(frozen=True)
class Pair:
    """A model and the data set, by its registered name, that it is evaluated on."""

    model: Model
    dataset: str

    def __str__(self) -> str:
        return f"{self.model.name} on {paper_name(self.dataset)}"


def find_models(words: Sequence[str]) -> list[Model]:
    """Find the models that words mean.

    Args:
        words: names of published models, "all" of them, or `[NAME=]CONFIG.yaml[:WEIGHTS]`, whose name is by default the
            config's without suffix.

    Returns:
        The models, each once, in the order of the words.

    Raises:
        ValueError: if a word is none of these, or two different models have one name.
    """
    names = [name for word in words for name in (PUBLISHED if word.lower() == ALL else [word])]
    models = list(dict.fromkeys(_find_model(name) for name in names))
    folders: dict[str, Model] = {}
    for model in models:
        other = folders.setdefault(model.folder.lower(), model)
        if other is not model:
            raise InputError(
                f"two models would be called {model.name!r}: give them names, as in NAME={model.config_file}"
                + f":{model.weights}" * bool(model.weights)
            )
    return models


def find_datasets(words: Sequence[str]) -> list[str]:
    """Find the registered names of the data sets that words mean.

    Args:
        words: names as in papers (upper case or not), registered names, or "all" of the paper's benchmarks.

    Returns:
        Registered names, each once, in the order of the words.

    Raises:
        ValueError: if a word is none of these.
    """
    short = {name.lower(): dataset for name, dataset in BENCHMARKS.items()}
    registered = DatasetCatalog.list()
    found: list[str] = []
    for word in words:
        if word.lower() == ALL:
            found.extend(BENCHMARKS.values())
        elif word.lower() in short or word in registered:
            found.append(short.get(word.lower(), word))
        else:
            raise InputError(f"no data set is called {word!r}; {_suggest(word, [*BENCHMARKS, *registered])}")
    return list(dict.fromkeys(found))


def _find_model(word: str) -> Model:
    if word.lower() in PUBLISHED:
        name = word.lower()
        return Model(name, CONFIGS / PUBLISHED[name].config, f"{PUBLISHED_SCHEME}{name}")
    own = _OWN_MODEL.fullmatch(word)
    if own is None:
        raise InputError(
            f"no published model is called {word!r}; {_suggest(word, PUBLISHED)}; "
            "a model of your own is given as CONFIG.yaml:WEIGHTS"
        )
    config = Path(own["config"]).expanduser()
    if not config.is_file():
        raise InputError(f"the model {word!r} needs the config file {config}, which is not there")
    return Model((own["name"] or config.stem).strip(), config, own["weights"])


def _suggest(word: str, known: Iterable[str]) -> str:
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=3)
    if close:
        return f"did you mean {' or '.join(names[name] for name in close)}?"
    return f"there are {', '.join(names.values())}"
