from __future__ import annotations

import pytest

from text_classifier.contract.class_weights import given_weights
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.parsing import parse


def test_weights_are_pairs_or_json_and_methods_have_none() -> None:
    assert given_weights("spam:5, fraud : 2e1") == {"spam": 5, "fraud": 20}
    assert given_weights("re: offer:3") == {"re: offer": 3}
    assert given_weights('{"a, b": 2, "c": "0.5"}') == {"a, b": 2, "c": 0.5}
    assert given_weights("none") == given_weights("balanced") == given_weights(" effective ") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "balance",
            "class_weights='balance' is not valid; set it to none, balanced, effective, or weights such as spam:5,fr",
        ),
        ("spam:5,fraud", "class_weights='spam:5,fraud' is not valid; set it to none, balanced, effective, or weights"),
        (":5", "class_weights=':5' is not valid; set it to none"),
        ("spam:0", "class_weights has the weight '0' for the class 'spam'; give a number above 0, 1,000,000 at most"),
        ("spam:-1", "class_weights has the weight '-1' for the class 'spam'; give a number above 0"),
        ("spam:nan", "class_weights has the weight 'nan' for the class 'spam'; give a number above 0"),
        ("spam:1e7", "class_weights has the weight '1e7' for the class 'spam'; give a number above 0"),
        ("spam:much", "class_weights has the weight 'much' for the class 'spam'; give a number above 0"),
        ("spam:1,spam:2", "class_weights names the class 'spam' twice; remove one of them"),
        ('{"spam": 1, "spam": 2}', "class_weights names the class 'spam' twice; remove one of them"),
        ('{"spam": 5', 'class_weights=\'{"spam": 5\' is not a JSON object of weights; write it as in {"spam": 5'),
        ('{"spam": {"ham": 1}}', 'class_weights=\'{"spam": {"ham": 1}}\' is not a JSON object of weights'),
        ("{}", "class_weights='{}' names no class; set it to none, or write it as in {\"spam\": 5"),
        ("spam:1_0", "class_weights has the weight '1_0' for the class 'spam'; give a number above 0"),
        ('{"spam": "1_0"}', "class_weights has the weight '1_0' for the class 'spam'; give a number above 0"),
        ('{"spam": true}', "class_weights='{\"spam\": true}' is not a JSON object of weights"),
    ],
)
def test_what_is_no_weight_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"class_weights": text})
    assert str(caught.value).startswith(sentence)
