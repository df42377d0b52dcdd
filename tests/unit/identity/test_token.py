import base64
import hmac
import json
from contextlib import suppress

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from anyfc.errors import AccessDenied, FunctionComputeError, InvalidArgument
from anyfc.identity.token import ALGORITHMS, TOKEN_BYTES, check_keys, read_key, verify_token
from anyfc.model.access import Jwt, Lookup

NOW = 1_700_000_000.0
CLAIMS = {"sub": "bob", "exp": NOW + 60}
LOOKUPS = (Lookup(position="header", name="Authorization", prefix="Bearer"),)
SECRET = b"s" * 64

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = {
    ("RSA", ""): RSA,
    ("EC", "P-256"): ec.generate_private_key(ec.SECP256R1()),
    ("EC", "P-384"): ec.generate_private_key(ec.SECP384R1()),
    ("EC", "P-521"): ec.generate_private_key(ec.SECP521R1()),
    ("OKP", "Ed25519"): ed25519.Ed25519PrivateKey.generate(),
    ("OKP", "Ed448"): ed448.Ed448PrivateKey.generate(),
    ("oct", ""): SECRET,
}
KINDS = [(kind, name) for kind, names in ALGORITHMS.items() for name in names]


def jwk(kind, *, private=False, **more):
    key = PRIVATE[kind]
    if kind[0] != "oct" and not private:
        key = key.public_key()
    name = ALGORITHMS[kind][0]
    return {**get_default_algorithms()[name].to_jwk(key, as_dict=True), **more}


def rsa_jwk(key=RSA, **more):
    found = get_default_algorithms()["RS256"].to_jwk(key.public_key(), as_dict=True)
    return {**found, **more}


def access(*keys):
    return Jwt(keys=keys, lookups=LOOKUPS)


def make(claims=CLAIMS, key=RSA, algorithm="RS256", **head):
    return jwt.encode(claims, key, algorithm, headers=head).encode()


def part(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def by_hand(head, claims, sign):
    """A token as an attacker makes it, whatever the library thinks of it."""
    content = part(json.dumps(head).encode()) + b"." + part(json.dumps(claims).encode())
    return content + b"." + part(sign(content))


def refuse(settings, token, now=NOW):
    with pytest.raises(AccessDenied) as refused:
        verify_token(settings, token, now=now)
    assert refused.value.message == "invalid or expired jwt"


@pytest.mark.parametrize("named", [True, False], ids=["with alg", "without alg"])
@pytest.mark.parametrize("private", [True, False], ids=["pair", "public half"])
@pytest.mark.parametrize(("kind", "name"), KINDS, ids=lambda value: "".join(value))
def test_a_token_is_checked_with_every_documented_algorithm(kind, name, private, named):
    more = {"alg": name} if named else {}
    settings = access(jwk(kind, private=private, **more))
    token = make(key=PRIVATE[kind], algorithm=name)
    assert verify_token(settings, token, now=NOW) == CLAIMS
    content, _, _ = token.rpartition(b".")
    refuse(settings, content + b"." + part(b"x" * 64))
    refuse(settings, content + b".")


def test_the_algorithm_is_the_one_of_the_key():
    token = make(algorithm="RS512")
    assert verify_token(access(rsa_jwk(alg="RS512")), token, now=NOW) == CLAIMS
    for other in ("RS256", "PS512"):
        refuse(access(rsa_jwk(alg=other)), token)


@pytest.mark.parametrize(
    "secret",
    [
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(rsa_jwk()).encode(),
        rsa_jwk()["n"].encode(),
    ],
    ids=["PEM", "DER", "PKCS1", "JWK", "modulus"],
)
@pytest.mark.parametrize("named", [{}, {"alg": "RS256"}, {"alg": "HS256"}], ids=str)
def test_the_public_key_is_no_secret_to_sign_with(secret, named):
    head = {"alg": "HS256", "typ": "JWT"}
    token = by_hand(head, CLAIMS, lambda content: hmac.digest(secret, content, "sha256"))
    refuse(access(rsa_jwk(**named)), token)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, 1, [], {}, ["none"], "XS256"])
def test_a_token_without_an_algorithm_of_the_key_is_refused(name):
    for key in (rsa_jwk(), jwk(("oct", ""))):
        refuse(access(key), by_hand({"alg": name}, CLAIMS, lambda content: b""))
        refuse(access(key), by_hand({}, CLAIMS, lambda content: b""))


def test_a_key_that_the_token_brings_does_not_count():
    forged = make(key=OTHER_RSA, jwk=rsa_jwk(OTHER_RSA), x5c=["x"], jku="https://example.com")
    refuse(access(rsa_jwk()), forged)


def test_a_named_key_is_the_only_one_that_is_tried():
    settings = access(rsa_jwk(kid="a"), rsa_jwk(OTHER_RSA, kid="b"), jwk(("oct", "")))
    assert verify_token(settings, make(kid="a"), now=NOW) == CLAIMS
    assert verify_token(settings, make(key=OTHER_RSA, kid="b"), now=NOW) == CLAIMS
    refuse(settings, make(kid="b"))
    refuse(settings, make(kid="c"))
    refuse(settings, make(key=SECRET, algorithm="HS256", kid="a"))


def test_keys_without_a_name_are_tried_for_names_that_no_key_has():
    settings = access(rsa_jwk(kid="a"), rsa_jwk(OTHER_RSA))
    assert verify_token(settings, make(key=OTHER_RSA, kid="x"), now=NOW) == CLAIMS
    refuse(settings, make(kid="x"))


def test_all_keys_are_tried_for_a_token_that_names_none():
    settings = access(rsa_jwk(OTHER_RSA, kid="a"), rsa_jwk(kid="b"))
    assert verify_token(settings, make(), now=NOW) == CLAIMS


@pytest.mark.parametrize("kid", [1, [], {}, None, True])
def test_a_name_of_a_key_that_is_no_text_finds_none(kid):
    def sign(content):
        return get_default_algorithms()["RS256"].sign(content, RSA)

    token = by_hand({"alg": "RS256", "kid": kid}, CLAIMS, sign)
    refuse(access(rsa_jwk(kid="a")), token)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, True),
        ({"exp": NOW + 1}, True),
        ({"exp": NOW}, False),
        ({"exp": NOW - 1}, False),
        ({"exp": int(NOW) + 1}, True),
        ({"nbf": NOW}, True),
        ({"nbf": NOW + 1}, False),
        ({"iat": NOW + 100}, True),
        ({"exp": str(NOW + 1)}, False),
        ({"exp": None}, False),
        ({"exp": True}, False),
        ({"nbf": False}, False),
        ({"exp": [NOW + 1]}, False),
        ({"exp": 10**30}, True),
        ({"exp": float("inf")}, False),
        ({"exp": float("nan")}, False),
        ({"aud": 1, "iss": 2, "sub": 3, "jti": 4}, True),
    ],
    ids=str,
)
def test_a_token_counts_from_nbf_until_exp(claims, good):
    def sign(content):
        return hmac.digest(SECRET, content, "sha256")

    token = by_hand({"alg": "HS256"}, claims, sign)
    settings = access(jwk(("oct", "")))
    if good:
        assert verify_token(settings, token, now=NOW) == claims
    else:
        refuse(settings, token)


@pytest.mark.parametrize("content", [b"[]", b"1", b"", b"{", b"[" * 5000, b'"\\ud800"', b"\xff"])
def test_signed_content_that_is_no_set_of_claims_is_refused(content):
    signed = part(b'{"alg":"HS256"}') + b"." + part(content)
    token = signed + b"." + part(hmac.digest(SECRET, signed, "sha256"))
    refuse(access(jwk(("oct", ""))), token)


def test_a_token_has_a_largest_size():
    def sign(content):
        return hmac.digest(SECRET, content, "sha256")

    settings = access(jwk(("oct", "")))
    head = {"alg": "HS256"}
    fits = by_hand(head, {"a": "x" * 6000}, sign)
    assert len(fits) < TOKEN_BYTES
    assert verify_token(settings, fits, now=NOW)
    refuse(settings, by_hand(head, {"a": "x" * 6200}, sign))
    refuse(settings, b"a" * 10**7)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"...",
        b"a.b.c",
        b"\xff.\xff.\xff",
        make() + b".x",
        make() + b"=",
        make().replace(b".", b".\n"),
        b"Bearer " + make(),
        part(b"[" * 4000) + b"..",
        part(b'{"alg":"RS256","crit":["exp"]}') + b".e30.x",
        part(b'{"alg":"RS256","b64":false,"crit":["b64"]}') + b"..x",
    ],
)
def test_garbage_is_refused(token):
    refuse(access(rsa_jwk()), token)


def test_without_keys_nobody_is_let_in():
    refuse(access(), make())


def test_keys_are_read_once_for_the_same_settings(monkeypatch):
    reads = []

    def count(key):
        reads.append(key)
        return read_key(key)

    monkeypatch.setattr("anyfc.identity.token.read_key", count)
    one, other = access(rsa_jwk()), access(rsa_jwk())
    for settings in (one, one, other, one):
        assert verify_token(settings, make(), now=NOW) == CLAIMS
    assert len(reads) == 2


def test_a_key_that_cannot_be_read_does_not_shut_out_the_others():
    settings = access({"kty": "RSA", "n": "!", "e": "AQAB"}, rsa_jwk())
    assert verify_token(settings, make(), now=NOW) == CLAIMS


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({}, "no algorithm for kty ''"),
        ({"kty": "PQ"}, "no algorithm for kty 'PQ'"),
        ({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, "crv 'secp256k1'"),
        (rsa_jwk(alg="HS256"), "alg 'HS256'"),
        (rsa_jwk(alg="none"), "alg 'none'"),
        (jwk(("oct", ""), alg="RS256"), "alg 'RS256'"),
        (jwk(("EC", "P-256"), alg="ES384"), "alg 'ES384'"),
        (rsa_jwk(use="enc"), "for another use than 'sig'"),
        (rsa_jwk(kid=1), "must be texts"),
        ({"kty": "RSA"}, "cannot be read"),
        ({"kty": "oct"}, "k is missing"),
        ({"kty": "oct", "k": ""}, "cannot be read"),
        ({"kty": "oct", "k": 1}, "k must be text in base64url"),
        ({"kty": "oct", "k": "not base64"}, "k must be text in base64url"),
        ({**jwk(("EC", "P-256")), "y": "ä"}, "y must be text in base64url"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "cannot be read"),
        ({**jwk(("EC", "P-256")), "x": part(b"\0" * 32).decode()}, "cannot be read"),
        ({"kty": "RSA", "n": "AA", "e": "AA"}, "cannot be read"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_when_it_is_configured(key, message):
    with pytest.raises(InvalidArgument, match=message) as refused:
        check_keys([rsa_jwk(), key], "jwks.keys")
    assert refused.value.message.startswith("jwks.keys[1]: ")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": ["a-secret"]},
        {"kty": "oct", "k": "a-secret", "alg": "a-secret" * 3},
        {"kty": "oct", "k": "a-secret", "use": "enc"},
        {"kty": "oct", "k": "a-secret!ä"},
        {"kty": "RSA", "n": "a-secret!ä", "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": "a-secret"},
        {"kty": "EC", "crv": "P-256", "x": "a-secret", "y": "a-secret"},
    ],
)
def test_a_refusal_does_not_show_the_key(key):
    with pytest.raises(InvalidArgument) as refused:
        check_keys([key], "keys")
    assert "a-secret" not in refused.value.message.replace(key.get("alg", "-")[:20], "")


def test_keys_that_can_all_be_used_are_accepted():
    check_keys([jwk(kind, kid="k", use="sig", key_ops=["verify"]) for kind in PRIVATE], "keys")


def test_of_a_pair_no_private_half_is_kept():
    for kind in PRIVATE:
        key = read_key(jwk(kind, private=True))
        for _, prepared in key.algorithms.values():
            assert kind[0] == "oct" or not hasattr(prepared, "private_bytes")


SETTINGS = access(*(jwk(kind) for kind in PRIVATE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
MEMBERS = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"])},
    optional={
        **dict.fromkeys(("n", "e", "x", "y", "k", "kid", "use", "d"), JSON),
        "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "Ed448"]),
        "alg": st.sampled_from([name for _, name in KINDS] + ["none"]),
    },
)


@given(token=st.binary(max_size=100))
def test_random_bytes_are_refused(token):
    refuse(SETTINGS, token)


@given(
    head=st.fixed_dictionaries(
        {"alg": st.sampled_from([name for _, name in KINDS]) | JSON},
        optional={"kid": JSON, "crit": JSON, "b64": JSON, "typ": JSON},
    ),
    claims=JSON,
    signature=st.binary(max_size=140),
)
def test_a_forged_token_is_refused_whatever_it_says(head, claims, signature):
    refuse(SETTINGS, by_hand(head, claims, lambda content: signature))


@given(position=st.integers(0, 10**6), noise=st.binary(max_size=5))
def test_damage_to_a_good_token_raises_nothing_but_a_documented_error(position, noise):
    token = make()
    cut = position % (len(token) + 1)
    with suppress(FunctionComputeError):
        verify_token(SETTINGS, token[:cut] + noise + token[cut + len(noise) :], now=NOW)


@given(key=MEMBERS)
def test_reading_a_key_raises_nothing_but_a_documented_error(key):
    with suppress(InvalidArgument):
        read_key(key)
