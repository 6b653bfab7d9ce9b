"""Class names to text features: every prompt template with every synonym, through CLIP's text transformer.

Shapes: T classes, P prompt templates, C embedding width, N prompts, L tokens per prompt.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool
from torch import Tensor
from tqdm import tqdm

from catseg.errors import InputError
from catseg.modeling.clip.blocks import run_transformer
from catseg.modeling.clip.loading import Tokenizer
from catseg.modeling.clip.text_cache import TextCache, fingerprint
from catseg.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_CLASSES_PER_CHUNK = 64  # classes between two visits to the cache: what an interrupted first start loses at most
_RECENT_VOCABULARIES = 2  # kept ready on the device: that of training and that of evaluation
_LONG_WORK = 2000  # prompts from which on a progress bar is shown


def text_parameters(clip: CLIP) -> list[tuple[str, torch.nn.Parameter]]:
    """The named parameters of a CLIP model that its text features depend on."""
    own = [
        (name, parameter) for name, parameter in clip.named_parameters(recurse=False) if not name.startswith("logit_")
    ]
    for module in ("token_embedding", "transformer", "ln_final", "text_projection"):
        if isinstance(getattr(clip, module), torch.nn.Module):
            own += getattr(clip, module).named_parameters(prefix=module)
    return own


class TextEncoder:
    """Text features of class names.

    The CLIP model is referred to, not owned: this is no `nn.Module`, so a model that holds both has each CLIP
    parameter once in its state dict.

    Attributes:
        templates: the prompt templates.
        channels: length of the features' second axis. There is one for each template, in their order, or else all
            templates are averaged and each channel is the same.
        encoded_prompts: how many prompts have gone through the text transformer so far.
    """

    def __init__(
        self,
        *,
        clip: CLIP,
        tokenizer: Tokenizer,
        templates: Sequence[str],
        first_synonym_only: bool = False,
        cache: TextCache | None = None,
        batch_size: int = 256,
        dtype: torch.dtype | None = None,
        channels: int | None = None,
    ) -> None:
        """Refer to a model; nothing is computed yet.

        Args:
            clip: the model whose text transformer is used, wherever its parameters are at the time.
            tokenizer: the model's tokenizer.
            templates: prompt templates with `{}` for the class name.
            first_synonym_only: encode the first synonym of a class, and not the mean of all (CAT-Seg v2).
            cache: where features are kept that need no gradient; by default a new one, in memory only.
            batch_size: prompts per pass.
            dtype: computing type for autocast (`torch.bfloat16`, `torch.float16`); None computes in the type of the
                weights, whatever autocast is on outside.
            channels: as the attribute; by default one for each template.

        Raises:
            ValueError: if a template lacks its `{}`, or the model does not pool its tokens into one.
        """
        wrong = [template for template in templates if template.count("{}") != 1]
        if wrong or not templates:
            raise InputError(f"every prompt template needs one {{}} for the class name, got {wrong or templates}")
        if clip.text_pool_type not in ("argmax", "eos", "first", "last"):
            raise InputError(f"the text encoder gives one vector per token (pool_type {clip.text_pool_type!r})")
        self.templates = tuple(templates)
        self.channels = channels or len(self.templates)
        self.first_synonym_only = first_synonym_only
        self.encoded_prompts = 0
        self._clip = clip
        self._tokenizer = tokenizer
        self._cache = TextCache() if cache is None else cache
        self._batch_size = batch_size
        self._dtype = dtype
        self._known_fingerprint: tuple[object, str] | None = None
        self._recent: OrderedDict[tuple[str, Vocabulary, torch.device], Tensor] = OrderedDict()

    def with_templates(self, templates: Sequence[str]) -> "TextEncoder":
        """Return an encoder with other templates and as many channels, which shares the model and the cache.

        Raises:
            ValueError: as the constructor.
        """
        return TextEncoder(
            clip=self._clip,
            tokenizer=self._tokenizer,
            templates=templates,
            first_synonym_only=self.first_synonym_only,
            cache=self._cache,
            batch_size=self._batch_size,
            dtype=self._dtype,
            channels=self.channels,
        )

    def encode(self, vocabulary: Vocabulary) -> Tensor:
        """Compute, or look up, the features of classes.

        Every template is encoded with every synonym of a class and L2-normalised; the synonyms of a template are
        averaged and the mean L2-normalised again (as the authors' code does).

        Where gradients are enabled and a parameter of the text encoder requires one, the features are always computed,
        differentiably, and what is computed without gradients afterwards is kept in memory only. Otherwise they come
        from the cache where it has them, for the weights as they are.

        Args:
            vocabulary: T classes.

        Returns:
            float32 (T, P, C) on the model's device; each C-vector has length 1. Not to be changed in place: the same
            tensor is given again for the same names.

        Raises:
            ValueError: if there are no classes, or a prompt has more tokens than the model can read.
        """
        if not vocabulary:
            raise InputError("there are no classes to encode")
        if self.first_synonym_only:
            vocabulary = vocabulary.first_synonyms()
        if torch.is_grad_enabled() and any(parameter.requires_grad for _, parameter in text_parameters(self._clip)):
            self._known_fingerprint = None  # a training step follows, and fused optimizers do not count their changes
            self._cache = TextCache()  # features of weights that change again soon are not worth files
            return self._in_channels(self._encode_classes(vocabulary.synonyms, self._progress_bar(0)))
        # Never an inference tensor: a later training step must be able to save the features for backward.
        with torch.inference_mode(False), torch.no_grad():
            return self._encode_cached(vocabulary)

    def reads_whole(self, phrase: str) -> bool:
        """Tell whether a synonym has no more tokens, in any template, than the model can read."""
        # A token is a byte or more, and two mark start and end: most names need no tokenizer.
        longest = max(len(template.format(phrase).encode()) for template in self.templates)
        if longest + 2 <= self._clip.context_length:
            return True
        try:
            self._tokenize([template.format(phrase) for template in self.templates])
        except InputError:
            return False
        return True

    def fingerprint(self) -> str:
        """A hash of all that the features depend on besides the class names.

        It is computed anew only after the parameters were moved, replaced, changed in place (not through `.data`) or
        trained, and takes about a second per gigabyte of weights then, microseconds otherwise.
        """
        weights = text_parameters(self._clip)
        state = [(p.data_ptr(), 0 if p.is_inference() else p._version) for _, p in weights]
        if self._known_fingerprint is None or self._known_fingerprint[0] != state:
            start = time.perf_counter()
            self._known_fingerprint = (state, fingerprint(weights, self._settings()))
            logger.debug("hashed the text encoder in %.2f s", time.perf_counter() - start)
        return self._known_fingerprint[1]

    def _settings(self) -> dict[str, object]:
        transformer = self._clip.transformer
        return {
            "architecture": repr(transformer),  # layers, activation, normalisation
            "heads": transformer.resblocks[0].attn.num_heads,
            "causal": self._clip.attn_mask is not None,
            "pool": [self._clip.text_pool_type, self._clip.text_eos_id],
            "templates": self.templates,
            "tokens": self._tokenizer([template.format("night table") for template in self.templates]).tolist(),
            "dtype": str(self._dtype),
        }

    def _encode_cached(self, vocabulary: Vocabulary) -> Tensor:
        """As `encode`, quick enough to be called in every step with the same vocabulary."""
        fingerprint = self.fingerprint()
        key = (fingerprint, vocabulary, self._clip.positional_embedding.device)
        if key not in self._recent:
            self._recent[key] = self._in_channels(self._look_up(fingerprint, vocabulary)).to(key[2])
            if len(self._recent) > _RECENT_VOCABULARIES:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]

    def _in_channels(self, features: Tensor) -> Tensor:
        """Bring features (T, templates, C) to (T, P, C)."""
        if len(self.templates) == self.channels:
            return features
        mean = F.normalize(features.mean(dim=1, keepdim=True), dim=-1)
        return mean.expand(-1, self.channels, -1).contiguous()

    def _look_up(self, key: str, vocabulary: Vocabulary) -> Tensor:
        """The features of all classes (T, templates, C) on the CPU, from the cache where it has them."""
        synonyms = dict(zip(vocabulary, vocabulary.synonyms, strict=True))
        stored = {name: self._cache.get(key, name) for name in synonyms}
        features = {name: tensor for name, tensor in stored.items() if tensor is not None}
        missing = [name for name in stored if name not in features]
        chunks = [missing[i : i + _CLASSES_PER_CHUNK] for i in range(0, len(missing), _CLASSES_PER_CHUNK)]
        prompts = sum(len(_phrases([synonyms[name] for name in chunk])) for chunk in chunks) * len(self.templates)
        with self._progress_bar(prompts) as progress:
            for chunk in chunks:
                found = self._encode_classes([synonyms[name] for name in chunk], progress).cpu()
                for name, encoded in zip(chunk, found, strict=True):
                    features[name] = encoded.clone()  # on its own, so that it does not keep the chunk alive
                    self._cache.put(key, name, features[name])
        if missing:
            logger.info("encoded %d of %d classes, the others were cached", len(missing), len(stored))
        return torch.stack([features[name] for name in vocabulary])

    def _encode_classes(self, classes: Sequence[Sequence[str]], progress: tqdm) -> Tensor:
        """Synonyms of classes -> features (T, templates, C), computed."""
        phrases = _phrases(classes)
        embedded = self._encode_phrases(phrases, progress)
        position = {phrase: i for i, phrase in enumerate(phrases)}
        means = [embedded[[position[synonym] for synonym in synonyms]].mean(dim=0) for synonyms in classes]
        return F.normalize(torch.stack(means), dim=-1)

    def _encode_phrases(self, phrases: Sequence[str], progress: tqdm) -> Tensor:
        """Single synonyms -> normalised features (len(phrases), templates, C)."""
        prompts = [template.format(phrase) for phrase in phrases for template in self.templates]
        tokens = self._tokenize(prompts)
        lengths = self._lengths(tokens)
        order = lengths.argsort(stable=True)
        outputs = []
        for batch in order.split(self._batch_size):
            outputs.append(self._forward(tokens[batch, : int(lengths[batch].max())]))
            progress.update(len(batch))
        self.encoded_prompts += len(prompts)
        features = torch.cat(outputs)[order.argsort()]
        return F.normalize(features.float(), dim=-1).unflatten(0, (len(phrases), len(self.templates)))

    def _forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) -> features (N, C), not normalised. The first L positions of the model are used."""
        clip = self._clip
        device = clip.positional_embedding.device
        tokens = tokens.to(device)
        length = tokens.shape[1]
        mask = None if clip.attn_mask is None else clip.attn_mask[:length, :length]
        with torch.autocast(device.type, dtype=self._dtype, enabled=self._dtype is not None):
            x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
            x = run_transformer(clip.transformer, x, mask)
            x = clip.ln_final(text_global_pool(x, tokens, clip.text_pool_type, eos_token_id=clip.text_eos_id))
            if isinstance(clip.text_projection, torch.nn.Linear):
                return clip.text_projection(x)
            return x if clip.text_projection is None else x @ clip.text_projection

    def _tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> token ids (N, context length).

        Raises:
            ValueError: if a prompt has more tokens than the model can read: its end would be lost.
        """
        context = self._clip.context_length
        tokens = self._tokenizer(list(prompts), context_length=context)
        padding = self._tokenizer([""], context_length=context)[0, -1]
        for row in (tokens[:, -1] != padding).nonzero().flatten().tolist():  # full: exactly enough tokens, or cut
            if (self._tokenizer([prompts[row]], context_length=context + 1)[0, :-1] != tokens[row]).any():
                raise InputError(
                    f"the prompt {prompts[row]!r} has more tokens than the {context} that the text encoder reads: "
                    "shorten the class name, or split it into synonyms"
                )
        return tokens

    def _lengths(self, tokens: Tensor) -> Tensor:
        """Tokens to keep of each prompt (N,): up to the end of the text where what follows cannot matter."""
        if self._clip.attn_mask is not None and self._clip.text_pool_type == "argmax":
            return tokens.argmax(dim=1) + 1
        if self._clip.attn_mask is not None and self._clip.text_pool_type == "eos":
            return (tokens == self._clip.text_eos_id).int().argmax(dim=1) + 1
        return torch.full((len(tokens),), tokens.shape[1])

    def _progress_bar(self, prompts: int) -> tqdm:
        return tqdm(total=prompts, desc="Encoding text", unit="prompt", disable=prompts < _LONG_WORK or None)


def _phrases(classes: Sequence[Sequence[str]]) -> list[str]:
    """The distinct synonyms of all classes, in order of appearance."""
    return list(dict.fromkeys(synonym for synonyms in classes for synonym in synonyms))
