"""The models that can be chosen, and those that are loaded."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

import catseg
from catseg.api.model import CATSegModel
from catseg.api.registry import find_model
from catseg.console import one_line
from catseg.errors import InputError, RunError

_LOADED = 2  # models in memory at a time

logger = logging.getLogger(__name__)

Load = Callable[..., CATSegModel]


@dataclass
class LoadedModel:
    """A model, and the names that it knows.

    Attributes:
        model: the model.
        known: names whose features it has.
    """

    model: CATSegModel
    known: set[str] = field(default_factory=set)


class Shelf:
    """Loads models when they are asked for and keeps the last ones. Callers see names, never paths."""

    def __init__(self, words: Sequence[str], *, device: str | None = None, load: Load = catseg.load) -> None:
        """Name the models; none is loaded yet.

        Args:
            words: what `catseg.load` takes, the default first.
            device: the default; a GPU where there is one, if it is None.
            load: makes a model.
        """
        self.models: Mapping[str, str] = {_public_name(word): word for word in words}
        self.devices = devices()
        self.default_model = next(iter(self.models))
        self.default_device = device or self.devices[0]
        if self.default_device not in self.devices:
            self.devices = [self.default_device, *self.devices]
        self._load = load
        self._loaded: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    def load_default(self) -> None:
        """Load the default model, so that the first caller does not wait for it.

        Raises:
            FileNotFoundError, ValueError: as `catseg.load`, with paths: for those who run the app.
        """
        key = (self.default_model, self.default_device)
        self._loaded[key] = LoadedModel(self._load(self.models[self.default_model], device=self.default_device))

    def get(self, name: str, device: str) -> LoadedModel:
        """Return a model, loaded if need be.

        Raises:
            ValueError: if it, or the device, is not among the choices.
            RuntimeError: if it cannot be loaded; the log says why.
        """
        if name not in self.models:
            raise InputError(f"no model is called {name!r} here; there are {', '.join(self.models)}")
        if device not in self.devices:
            raise InputError(f"no device is called {device!r} here; there are {', '.join(self.devices)}")
        with self._lock:
            key = (name, device)
            if key not in self._loaded:
                while len(self._loaded) >= _LOADED:
                    self._loaded.popitem(last=False)
                try:
                    self._loaded[key] = LoadedModel(self._load(self.models[name], device=device))
                except Exception as error:
                    logger.error("cannot load %s: %s", self.models[name], one_line(error) or repr(error))
                    raise RunError(
                        f"the model {name} cannot be loaded on {device} here, the server's log says why: choose another"
                    ) from error
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def loaded(self, name: str, device: str) -> LoadedModel | None:
        """Return a model if it is loaded."""
        return self._loaded.get((name, device))

    @property
    def names_loaded(self) -> list[str]:
        """The names of the models in memory."""
        return [name for name, _ in self._loaded]


def devices() -> list[str]:
    """Return what models can run on, the quickest first."""
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*found, *["mps"] * torch.backends.mps.is_available(), "cpu"]


def _public_name(word: str) -> str:
    known = {model.name for model in catseg.models()}
    return word if word in known else find_model(word).name
