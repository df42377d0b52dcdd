import pytest

from anyfc.config import Config, SettingError, read_config


def test_the_usual_settings_have_no_problem():
    assert read_config({}) == Config()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.231.0.0", "has fewer than 8 addresses"),
        ("10.231.0.0/30", "has fewer than 8 addresses"),
        ("10.231.0.1/16", "has host bits set"),
        ("fd00::/64", "Expected 4 octets"),
        ("everything", "Expected 4 octets"),
    ],
)
def test_a_range_that_instances_cannot_be_in_is_refused(text, problem):
    with pytest.raises(SettingError, match=f"network_range: .*{problem}"):
        read_config({"ANYFC_NETWORK_RANGE": text})
