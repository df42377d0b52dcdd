import base64
import json
import stat
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyfc.errors import AccessDenied, FunctionComputeError, InvalidAccessKeyID
from anyfc.identity.key import (
    FILE_NAME,
    ROLE_CREDENTIALS_S,
    AccessKey,
    Caller,
    Credentials,
    Keys,
    PairUnreadable,
    ensure_pair,
    mark_shown,
    open_keys,
    read_pair,
)

NOW = 1_700_000_000.0
ROLE = "acs:ram::123456:role/reader"
LONG_LIVED = AccessKey(Caller("123456", "long"), b"secret")
KEYS = Keys([LONG_LIVED], signing_key=b"k" * 32)


def test_a_long_lived_key_is_found_by_its_id():
    assert KEYS.find("long", "", NOW) is LONG_LIVED


@pytest.mark.parametrize("access_key_id", ["", "other", "LONG", "é"])
def test_an_unknown_id_is_named(access_key_id):
    with pytest.raises(InvalidAccessKeyID, match=f"'{access_key_id}'"):
        KEYS.find(access_key_id, "", NOW)


def test_a_long_lived_key_does_not_go_with_a_token():
    token = KEYS.derive(ROLE, "123456", NOW).security_token
    with pytest.raises(AccessDenied, match="does not belong to this access key"):
        KEYS.find("long", token, NOW)


def test_a_function_without_a_role_gets_empty_texts():
    assert KEYS.derive("", "123456", NOW) == Credentials(
        access_key_id="", access_key_secret="", security_token=""
    )


def test_derived_credentials_speak_for_their_role():
    derived = KEYS.derive(ROLE, "123456", NOW)
    assert derived.access_key_id.startswith("STS.")
    key = KEYS.find(derived.access_key_id, derived.security_token, NOW)
    assert key.caller == Caller("123456", derived.access_key_id, ROLE)
    assert key.secret.decode() == derived.access_key_secret


def test_derived_credentials_are_verified_by_all_who_share_the_signing_key():
    derived = KEYS.derive(ROLE, "123456", NOW)
    other_node = Keys([], signing_key=b"k" * 32)
    found = other_node.find(derived.access_key_id, derived.security_token, NOW)
    assert found.secret.decode() == derived.access_key_secret
    stranger = Keys([], signing_key=b"x" * 32)
    with pytest.raises(AccessDenied, match="not valid"):
        stranger.find(derived.access_key_id, derived.security_token, NOW)


def test_derived_credentials_end_after_36_hours():
    derived = KEYS.derive(ROLE, "123456", NOW)
    KEYS.find(derived.access_key_id, derived.security_token, NOW + ROLE_CREDENTIALS_S - 1)
    with pytest.raises(AccessDenied, match="has expired"):
        KEYS.find(derived.access_key_id, derived.security_token, NOW + ROLE_CREDENTIALS_S)


def test_a_derived_key_needs_its_own_token():
    one = KEYS.derive(ROLE, "123456", NOW)
    other = KEYS.derive(ROLE + "-2", "123456", NOW)
    with pytest.raises(AccessDenied, match="its security token is missing"):
        KEYS.find(one.access_key_id, "", NOW)
    with pytest.raises(AccessDenied, match="does not belong"):
        KEYS.find(one.access_key_id, other.security_token, NOW)


def test_a_token_cannot_be_given_another_role():
    derived = KEYS.derive(ROLE, "123456", NOW)
    raw = base64.urlsafe_b64decode(derived.security_token)
    forged = base64.urlsafe_b64encode(raw.replace(b"reader", b"writer")).decode()
    with pytest.raises(AccessDenied, match="not valid"):
        KEYS.find(derived.access_key_id, forged, NOW)


@given(bit=st.integers(0, 10**6))
def test_one_flipped_bit_of_a_token_is_refused(bit):
    derived = KEYS.derive(ROLE, "123456", NOW)
    token = bytearray(derived.security_token.encode())
    token[bit // 8 % len(token)] ^= 1 << bit % 8
    with pytest.raises(AccessDenied):
        KEYS.find(derived.access_key_id, token.decode("latin-1"), NOW)


@given(access_key_id=st.text() | st.just("STS.x"), token=st.text())
def test_random_texts_are_refused_with_a_documented_error(access_key_id, token):
    with pytest.raises(FunctionComputeError):
        KEYS.find(access_key_id, token, NOW)


def test_secrets_do_not_show_when_printed(tmp_path):
    derived = KEYS.derive(ROLE, "123456", NOW)
    assert derived.access_key_secret not in repr(derived)
    assert derived.security_token not in repr(derived)
    assert "secret" not in repr(LONG_LIVED)
    pair = ensure_pair(tmp_path)
    assert pair.access_key_secret not in repr(pair)
    assert pair.signing_key not in repr(pair)


def test_a_pair_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    folder = tmp_path / "data"
    assert read_pair(folder) is None
    pair = ensure_pair(folder)
    assert pair.access_key_id.startswith("anyfc")
    assert len(pair.access_key_secret) >= 30
    assert not pair.shown
    assert ensure_pair(folder) == read_pair(folder) == pair
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_every_pair_is_another(tmp_path):
    one, other = ensure_pair(tmp_path / "one"), ensure_pair(tmp_path / "other")
    assert one.access_key_id != other.access_key_id
    assert one.access_key_secret != other.access_key_secret
    assert one.signing_key != other.signing_key


def test_programs_that_start_at_once_agree_on_one_pair(tmp_path):
    starters = 8
    barrier, pairs = Barrier(starters), []

    def start():
        barrier.wait()
        pairs.append(ensure_pair(tmp_path))

    threads = [Thread(target=start) for _ in range(starters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pairs) == starters
    assert len({pair.access_key_id for pair in pairs}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_pair_stays_the_same_when_it_is_marked_as_shown(tmp_path):
    pair = ensure_pair(tmp_path)
    mark_shown(tmp_path)
    mark_shown(tmp_path)
    shown = read_pair(tmp_path)
    assert shown.shown
    assert (shown.access_key_id, shown.access_key_secret) == (
        pair.access_key_id,
        pair.access_key_secret,
    )
    assert shown.signing_key == pair.signing_key
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_nothing_is_marked_where_there_is_no_pair(tmp_path):
    mark_shown(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", json.dumps({"access_key_id": 1}), "\xff", '{"signing_key":"x"}'],
)
def test_a_damaged_file_is_named_and_kept(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content, encoding="latin-1")
    with pytest.raises(PairUnreadable, match=FILE_NAME):
        ensure_pair(tmp_path)
    assert (tmp_path / FILE_NAME).read_text(encoding="latin-1") == content


def test_keys_given_by_settings_win_over_the_generated_pair(tmp_path):
    pair = ensure_pair(tmp_path)
    keys = open_keys(pair, account_id="1", access_key_id="mine", access_key_secret="s")
    assert keys.find("mine", "", NOW).secret == b"s"
    with pytest.raises(InvalidAccessKeyID):
        keys.find(pair.access_key_id, "", NOW)


def test_the_generated_pair_is_used_when_no_keys_are_given(tmp_path):
    pair = ensure_pair(tmp_path)
    key = open_keys(pair, account_id="1").find(pair.access_key_id, "", NOW)
    assert key.caller == Caller("1", pair.access_key_id)
    assert key.secret.decode() == pair.access_key_secret
