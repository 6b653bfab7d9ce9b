"""Named sets of prompt templates. Their order matters: the templates are the cost embedding's input channels."""

from collections.abc import Sequence

from open_clip import OPENAI_IMAGENET_TEMPLATES

from catseg.errors import InputError

# open_clip keeps OpenAI's 80 templates as functions of the class name.
_IMAGENET = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)

# The subset that OpenAI's notebook "Prompt Engineering for ImageNet" found by forward selection.
_IMAGENET_SELECT = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "imagenet": _IMAGENET,
    "imagenet_select": _IMAGENET_SELECT,
    "single": ("A photo of a {} in the scene",),
    "shapes": ("a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a {}."),
}


def prompt_templates(name: str | Sequence[str]) -> tuple[str, ...]:
    """Look up a set of prompt templates.

    Args:
        name: `imagenet` (OpenAI's 80, in their order), `imagenet_select` (7), `single` (1) or `shapes` (4 short ones,
            for the generated data set); or the templates themselves.

    Returns:
        The templates; `{}` stands for the class name.

    Raises:
        ValueError: if there is no such set.
    """
    if not isinstance(name, str):
        return tuple(name)
    if name not in TEMPLATE_SETS:
        raise InputError(
            f"MODEL.CLIP.TEMPLATES: unknown set of prompt templates {name!r}; "
            f"expected one of {', '.join(TEMPLATE_SETS)}"
        )
    return TEMPLATE_SETS[name]
