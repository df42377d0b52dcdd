import base64
import os
import stat

import pytest

from anyfc.errors import StoreUnavailable
from anyfc.store.seal import KEY_FILE, KeyUnusable, Seal, ensure_seal

RAW = bytes(range(224, 256))
KEY = base64.b64encode(RAW).decode()


def test_what_is_sealed_is_not_seen_and_comes_back_the_same():
    seal = Seal(KEY)
    sealed = seal.close("pässword")
    assert "ssword" not in sealed
    assert seal.open(sealed) == "pässword"
    assert seal.close("pässword") != sealed


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_is_the_same_in_both_alphabets(encode):
    assert Seal(encode(RAW).decode() + "\n").open(Seal(KEY).close("a")) == "a"


@pytest.mark.parametrize("key", ["", "x", "a" * 43, KEY[:-4], KEY + KEY, "ä" * 44])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(KeyUnusable, match="32 random bytes in base64"):
        Seal(key)


def test_another_key_and_a_changed_text_are_told():
    sealed = Seal(KEY).close("a")
    other = Seal(base64.b64encode(os.urandom(32)).decode())
    changed = sealed[:30] + ("A" if sealed[30] != "A" else "B") + sealed[31:]
    for seal, text in (
        (other, sealed),
        (Seal(KEY), changed),
        (Seal(KEY), "plain"),
        (Seal(KEY), ""),
    ):
        with pytest.raises(StoreUnavailable, match="was not sealed with this key"):
            seal.open(text)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    sealed = ensure_seal(tmp_path, make=True).close("a")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert ensure_seal(tmp_path, make=True).open(sealed) == "a"
    assert ensure_seal(tmp_path, make=False).open(sealed) == "a"
    assert os.listdir(tmp_path) == [KEY_FILE]


def test_a_key_that_is_missing_is_not_made_anew_where_it_is_needed(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"store\.key is missing"):
        ensure_seal(tmp_path, make=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"word"])
def test_a_damaged_key_is_told_and_left_alone(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"store\.key cannot be used"):
        ensure_seal(tmp_path, make=True)
    assert (tmp_path / KEY_FILE).read_bytes() == content
