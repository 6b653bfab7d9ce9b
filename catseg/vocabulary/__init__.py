"""Vocabularies: the classes that an image is segmented into, each with its name and synonyms, from wherever they come.

One rule holds for lists, files and typed lines:

- Each entry of a list, and each line or entry of a file, is one class. Its synonyms are separated by "|", "," or ";",
  or given as a tuple: `"sofa | couch"`, `"sofa, couch"` and `("sofa", "couch")` are the same class.
- In a line as typed in a shell, "," or ";" (one of the two), tabs or line breaks separate classes, and "|" synonyms:
  `"sofa | couch, night sky, cat"`. What stands in double quotes is an entry, as of a list.
- A list or file whose only entry holds "," or ";", such as `["cat, kitten"]`, could mean either and is refused.
"""

from catseg.vocabulary.loading import VocabularySource, load_vocabulary, shipped_vocabularies, typed_line
from catseg.vocabulary.vocabulary import Vocabulary

__all__ = ["Vocabulary", "VocabularySource", "load_vocabulary", "shipped_vocabularies", "typed_line"]
