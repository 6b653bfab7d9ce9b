import open_clip
import pytest

from catseg.modeling.clip.prompt_templates import TEMPLATE_SETS, prompt_templates


def test_imagenet_templates_are_openai_s_in_their_order():
    assert [template.format("cat") for template in prompt_templates("imagenet")] == [
        function("cat") for function in open_clip.OPENAI_IMAGENET_TEMPLATES
    ]


@pytest.mark.parametrize(("name", "count"), [("imagenet", 80), ("imagenet_select", 7), ("single", 1), ("shapes", 4)])
def test_every_template_is_distinct_and_has_one_place_for_the_name(name, count):
    templates = prompt_templates(name)
    assert len(set(templates)) == len(templates) == count
    assert all(template.count("{}") == 1 for template in templates)


def test_selected_templates_are_imagenet_ones():
    assert set(prompt_templates("imagenet_select")) <= set(prompt_templates("imagenet"))


def test_unknown_set_is_an_error_that_lists_the_sets():
    with pytest.raises(ValueError, match="unknown set of prompt templates 'imagnet'") as error:
        prompt_templates("imagnet")
    assert all(name in str(error.value) for name in TEMPLATE_SETS)
