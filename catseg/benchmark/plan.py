"""Models and data sets named on the command line."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detectron2.data import DatasetCatalog

from catseg.api.registry import NamedModel, find_model
from catseg.benchmark.published import BENCHMARKS, paper_name
from catseg.checkpoint.sources import PUBLISHED
from catseg.errors import InputError

ALL = "all"


@dataclass(frozen=True)
class Pair:
    """A model and the data set, by its registered name, that it is evaluated on."""

    model: NamedModel
    dataset: str

    def __str__(self) -> str:
        return f"{self.model.name} on {paper_name(self.dataset)}"


def find_models(words: Sequence[str]) -> list[NamedModel]:
    """Find the models that words mean.

    Args:
        words: what `catseg.api.registry.find_model` takes, or "all" for the published ones.

    Returns:
        The models, each once, in the order of the words.

    Raises:
        ValueError: if a word is none of these, or two different models have one name.
    """
    names = [name for word in words for name in (PUBLISHED if word.lower() == ALL else [word])]
    models = list(dict.fromkeys(find_model(name) for name in names))
    folders: dict[str, NamedModel] = {}
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


def _suggest(word: str, known: Iterable[str]) -> str:
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=3)
    if close:
        return f"did you mean {' or '.join(names[name] for name in close)}?"
    return f"there are {', '.join(names.values())}"
