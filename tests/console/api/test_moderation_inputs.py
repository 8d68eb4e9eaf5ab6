"""What the API says of an input that it can't read."""

from typing import Any

import pytest
from pydantic import ValidationError

from moderation_service.console.api import bodies
from moderation_service.console.api.moderations import ModerationRequest


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "input: String should have at least 1 character"),
        (7, "input: should be a text, a list of texts, or a list of parts"),
        (["a", 1], "input.1: Input should be a valid string"),
        ([{"type": "text"}], "input.0.text.text: Field required"),
        ([{"type": "sound"}], "input.0: Input tag 'sound' found using 'type' does not match any of the expected tags"),
    ],
)
def test_what_is_wrong_is_said_once_and_of_the_form_that_was_sent(given: Any, says: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        ModerationRequest.model_validate({"input": given})
    detail = bodies.refused(wrong.value).detail
    assert detail.startswith(says)
    assert ";" not in detail
