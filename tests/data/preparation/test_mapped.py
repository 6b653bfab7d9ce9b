from catseg.data.dataset_specs import COCO_STUFF_171, PASCAL_VOC_20
from catseg.data.preparation.mapped import ade20k_150, coco_stuff, pascal_voc


def test_label_rule_of_ade20k():
    assert ade20k_150().class_of_value == {value: (value - 1) % 256 for value in range(151)}


def test_label_rule_of_coco_stuff():
    rule = coco_stuff().class_of_value
    classes = COCO_STUFF_171[0].classes
    assert sorted(rule) == list(range(256))
    used = [value for value in rule if rule[value] != 255]
    assert [rule[value] for value in used] == list(range(171))
    # COCO's category numbers less one: person 1, stop sign 13, chair 62, toothbrush 90; stuff: banner 92, wood 182.
    named = {0: "person", 12: "stop sign", 61: "chair", 89: "toothbrush", 91: "banner", 181: "wood"}
    assert {value: classes[rule[value]] for value in named} == named
    assert 11 not in used
    assert 182 not in used


def test_label_rules_of_pascal_voc():
    without, with_background = (pascal_voc(background=background) for background in (False, True))
    assert without.class_of_value == {0: 255, 255: 255} | {value: value - 1 for value in range(1, 21)}
    assert with_background.class_of_value == without.class_of_value | {0: 20}
    assert PASCAL_VOC_20[0].classes[without.class_of_value[15]] == "person"
    assert without.skip_unlabelled
    assert not with_background.skip_unlabelled
