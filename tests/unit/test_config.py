import re

import pytest

from anyfc.config import Config, SettingError, read_config


def test_the_usual_settings_have_no_problem():
    assert read_config({}) == Config()


def test_one_port_cannot_be_for_http_and_https():
    with pytest.raises(SettingError, match="tls_port: 9443 is the port for HTTP; set ANYFC_TLS_P"):
        read_config({}, port=9443)
    with pytest.raises(SettingError, match="tls_port: 9000 "):
        read_config({"ANYFC_TLS_PORT": "9000"})
    assert read_config({"ANYFC_TLS_PORT": "0"}, port=0).tls_port == 0


@pytest.mark.parametrize("region", ["CN-Hangzhou", "cn.hangzhou", "cn_hangzhou", "中", "a" * 64])
def test_a_region_that_is_no_part_of_a_host_name_is_refused(region):
    with pytest.raises(SettingError, match=f"region: '{region}' does not consist of"):
        read_config({"ANYFC_REGION": region})


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


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("WAIT_S", "nan", "wait_s: nan is negative, or no number that can be counted to"),
        ("IDLE_S", "inf", "idle_s: inf is negative, or no number that can be counted to"),
        ("PARALLEL_STARTS", "-1", "parallel_starts: -1 is negative"),
        ("PARALLEL_STARTS", "0", "parallel_starts: nothing could be done with 0"),
        ("MAX_CONNECTIONS", "0", "max_connections: nothing could be done with 0"),
        ("START_S", "0", "start_s: nothing could be done with 0"),
        ("FUNCTION_UID", "0", "function_uid: 0 is not between 1 and 4294967294"),
        ("FUNCTION_UID", "99999999999", "function_uid: 99999999999 is not between"),
        ("WAIT_S", "soon", "ANYFC_WAIT_S: 'soon' is not a number"),
        ("PORT", "9.5", "ANYFC_PORT: '9.5' is not a whole number"),
        ("STRICT_DOMAINS", "yes", "ANYFC_STRICT_DOMAINS: 'yes' is not true or false"),
    ],
)
def test_a_value_that_nothing_can_be_done_with_is_refused(name, text, problem):
    with pytest.raises(SettingError, match=re.escape(problem)):
        read_config({f"ANYFC_{name}": text})
