"""Archives are made with `zipfile` where it can, and by patching its bytes where it would not."""

import io
import stat
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyfc.errors import InvalidArgument
from anyfc.instance import archive
from anyfc.instance.archive import read_content, read_tree

GENEROUS = 1 << 30
LINK = stat.S_IFLNK | 0o777


def entry(name, mode=stat.S_IFREG | 0o644, *, system=archive.UNIX):
    made = zipfile.ZipInfo(name, (2024, 2, 29, 12, 30, 58))
    made.create_system = system
    made.external_attr = mode << 16 | 0x20  # and the DOS attribute of an ordinary file
    return made


def packed(*members, method=zipfile.ZIP_DEFLATED):
    """Pack (name or entry, content) pairs, in this order, repeats included."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            info = entry(name) if isinstance(name, str) else name
            info.compress_type = method
            made.NameToInfo.pop(info.filename, None)  # or zipfile would warn of a repeat
            made.writestr(info, content)
    return file.getvalue()


def renamed(data, old, new):
    """Give an entry a name that `zipfile` would not write, of the same length."""
    assert len(old) == len(new)
    assert data.count(old) == 2
    return data.replace(old, new)


def patched(data, magic, offset, value):
    """Overwrite bytes of the first header that begins with `magic`."""
    at = data.index(magic) + offset
    return data[:at] + value + data[at + len(value) :]


def unpacked(data, limit_bytes=GENEROUS):
    """Read everything, as the way to the disk does."""
    tree = read_tree(data, limit_bytes=limit_bytes)
    return tree, {path: b"".join(read_content(data, e)) for path, e in tree.files.items()}


def refusal(data, limit_bytes=GENEROUS):
    with pytest.raises(InvalidArgument) as caught:
        unpacked(data, limit_bytes)
    assert str(caught.value).startswith("the code package cannot be used: ")
    return str(caught.value)


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


# What is good


def test_an_empty_archive_is_an_empty_tree():
    tree, files = unpacked(END + bytes(18))
    assert (tree.folders, files, tree.links) == ({}, {}, {})


names = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters='/\\\0:"'),
        min_size=1,
        max_size=9,
    ).filter(lambda part: part not in (".", "..")),
    min_size=1,
    max_size=4,
).map("/".join)
contents = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda piece, times: piece * times, st.binary(min_size=1, max_size=9), st.integers(0, 9999)
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    files=st.dictionaries(names, contents, max_size=8).filter(
        lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files)
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    comment=st.binary(max_size=30),
    before=st.binary(max_size=30),
    after=st.binary(max_size=30),
)
def test_whatever_zipfile_writes_is_read_as_it_was(files, method, comment, before, after):
    file = io.BytesIO(before)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.comment = comment
    tree, found = unpacked(file.getvalue() + after)
    assert found == files
    assert set(tree.folders) == {
        name[:at] for name in files for at, char in enumerate(name) if char == "/"
    }


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless_but_never_an_accident(draw):
    data = bytearray(packed(("a/b.py", b"print(1)" * 9), ("c", b""), (entry("l", LINK), b"c")))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at : at + 1] = draw.draw(st.binary(max_size=2))
    try:
        tree, _ = unpacked(bytes(data))
    except InvalidArgument:
        return
    for path in (*tree.folders, *tree.files, *tree.links):
        assert ".." not in path.split("/")
        assert not path.startswith("/")


def test_every_prefix_of_an_archive_is_refused():
    data = packed(("a.py", b"content" * 20), ("b.py", b"more"))
    for end in range(len(data)):
        refusal(data[:end])


def test_folders_come_before_what_is_in_them():
    tree, _ = unpacked(packed(("a/b/c.py", b""), ("a/b/", b""), ("d/", b""), ("./", b"")))
    assert list(tree.folders) == ["a", "a/b", "d"]


def test_needless_dots_and_slashes_in_names_do_not_count():
    _, files = unpacked(packed(("./a.py", b"1"), ("b//c/./d.py", b"2")))
    assert files == {"a.py": b"1", "b/c/d.py": b"2"}


@pytest.mark.parametrize(
    ("info", "mode"),
    [
        (entry("f", stat.S_IFREG | 0o750), 0o750),
        (entry("f", stat.S_IFREG | 0o7755), 0o755),
        (entry("f", 0o600), 0o600),
        (entry("f", stat.S_IFREG | 0o000), 0o400),
        (entry("f", 0), 0o644),
        (entry("f", stat.S_IFREG | 0o755, system=archive.DARWIN), 0o755),
        (entry("f", stat.S_IFREG | 0o666, system=0), 0o644),
    ],
    ids=["kept", "no setuid", "no type", "readable", "none", "macOS", "Windows"],
)
def test_permissions_survive_but_for_what_is_dangerous_or_useless(info, mode):
    assert stat.S_IMODE(unpacked(packed((info, b"")))[0].files["f"].mode) == mode


@pytest.mark.parametrize(
    ("info", "mode"),
    [
        (entry("d/", stat.S_IFDIR | 0o1750), 0o750),
        (entry("d/", stat.S_IFDIR | 0o055), 0o755),
        (entry("d", stat.S_IFDIR | 0o755), 0o755),
        (entry("d/", 0, system=0), 0o755),
    ],
    ids=["no sticky bit", "usable", "no slash", "Windows"],
)
def test_a_folder_keeps_its_permissions_and_can_be_entered(info, mode):
    assert unpacked(packed((info, b""), ("d/f", b"")))[0].folders == {"d": mode}


def test_the_time_of_a_file_is_kept():
    assert unpacked(packed(("f", b"")))[0].files["f"].modified_s == 1709209858


def test_the_exact_time_is_preferred():
    info = entry("f")
    info.extra = struct.pack("<HHBl", 0x5455, 5, 1, 1700000001)
    assert unpacked(packed((info, b"")))[0].files["f"].modified_s == 1700000001


def test_a_time_that_does_not_exist_is_no_time():
    data = patched(packed(("f", b"")), CENTRAL, 14, b"\0\0")
    assert unpacked(data)[0].files["f"].modified_s is None


def test_a_file_that_comes_twice_is_taken_from_its_last_entry():
    assert unpacked(packed(("f", b"old"), ("f", b"new")))[1] == {"f": b"new"}


def test_a_name_without_the_utf_8_flag_is_utf_8_if_it_can_be_and_else_what_the_format_says():
    data = packed(("abcd", b""))
    assert list(unpacked(renamed(data, b"abcd", "äö".encode()))[0].files) == ["äö"]
    assert list(unpacked(renamed(data, b"abcd", b"\x84\x94cd"))[0].files) == ["äöcd"]


def test_large_archives_keep_their_numbers_in_the_zip64_fields(monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = packed(("a", b"x" * 1000), ("b", b"y" * 1000))
    assert b"PK\x06\x06" in data
    assert unpacked(data)[1] == {"a": b"x" * 1000, "b": b"y" * 1000}


def test_more_entries_than_an_old_directory_can_count_are_fine():
    data = packed(*((str(n), b"") for n in range(65_536)), method=zipfile.ZIP_STORED)
    assert len(unpacked(data)[1]) == 65_536


def test_exactly_the_limits_are_allowed(monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    assert len(unpacked(packed(("a", b"12"), ("b", b"34"), ("c", b"")), 4)[1]) == 3
    deep = "/".join(["d" * 20] * archive.MAX_DEPTH)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 1000)
    assert list(unpacked(packed((deep, b"")))[1]) == [deep]
    assert list(unpacked(packed(("n" * 255, b"")))[1]) == ["n" * 255]


# Links


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "f"),
        ("l", "./f"),
        ("l", "missing"),
        ("l", "."),
        ("l", "l"),
        ("a/b/l", "../../f"),
        ("a/b/l", "../../a/b/../b/x"),
        ("a/l", "..//other"),
        ("l", "other/f"),
    ],
)
def test_a_link_that_stays_inside_is_kept(path, target):
    tree, _ = unpacked(
        packed(("f", b""), (entry("other", LINK), b"a"), (entry(path, LINK), target))
    )
    assert tree.links[path] == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../x"),
        ("l", "a/../../x"),
        ("a/b/l", "../../.."),
        ("a/b/l", "../../../x/../code"),
        ("l", "deep/up/../x"),
    ],
)
def test_a_link_that_leaves_is_refused(path, target):
    # `deep/up` leads to the top, so that `..` after it would leave, though it does not look so.
    up = (entry("deep/up", LINK), "..")
    assert "leaves the package" in refusal(packed(up, (entry(path, LINK), target)))


def test_nothing_is_written_through_a_link():
    link = (entry("l", LINK), b"a")
    for members in (
        [link, ("l/f", b"")],
        [("l/f", b""), link],
        [link, ("l/", b"")],
        [("l", b""), link],
    ):
        refusal(packed(("a/x", b""), *members))


@pytest.mark.parametrize("target", [b"", b"a\0b", b"\xff", b"x" * 4096])
def test_a_link_without_a_sensible_target_is_refused(target):
    refusal(packed((entry("l", LINK), target)))


def test_links_cannot_pile_up_in_memory():
    links = [(entry(f"l{n}", LINK), b"x" * 4000) for n in range(300)]
    assert "links are too long" in refusal(packed(*links))


# What is refused


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, bytes(1000), b"\x1f\x8b" * 50])
def test_what_is_not_an_archive_is_refused(data):
    assert "not a ZIP archive" in refusal(data)


@pytest.mark.parametrize(
    "name",
    [
        b"../evil",
        b"a/../../",
        b"a/b/..",
        b"/abs/ol",
        b"..\\evil",
        b"a\\b\\c.",
        b"f.py\0.x",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    shape = b"x" * len(name)
    refusal(renamed(packed((shape.decode(), b"")), shape, name))


@pytest.mark.parametrize("name", ["a:b", "C:/folder", "c:file."])
def test_a_name_with_a_colon_is_a_name_and_no_drive(name):
    assert list(read_tree(packed((name, b"x")), limit_bytes=9).files) == [name]


def test_an_entry_without_a_name_is_refused():
    data = packed(("x", b""), method=zipfile.ZIP_STORED)
    directory = data.index(CENTRAL)
    nameless = (
        data[:26]
        + b"\0\0"
        + data[28:30]
        + data[31:directory]
        + data[directory : directory + 28]
        + b"\0\0"
        + data[directory + 30 : directory + 46]
        + struct.pack("<4s4H2LH", END, 0, 0, 1, 1, 46, directory - 1, 0)
    )
    assert "not relative" in refusal(nameless)
    refusal(packed((".", b"")))


def test_a_name_that_claims_to_be_utf_8_and_is_not_is_refused():
    assert "not UTF-8" in refusal(renamed(packed(("äö", b"")), "äö".encode(), b"\xff\xfe\xfd\xfc"))


@pytest.mark.parametrize(
    "name", ["n" * 256, "ä" * 128, "/".join(["n" * 250] * 17), "/".join("d" * 129)]
)
def test_a_name_that_is_too_long_or_too_deep_is_refused(name):
    reason = refusal(packed((name, b"")))
    assert "too long" in reason or "deep" in reason
    assert len(reason) < 500


@pytest.mark.parametrize(
    "kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, 0o110000]
)
def test_what_is_neither_file_nor_folder_nor_link_is_refused(kind):
    assert "neither" in refusal(packed((entry("odd", kind | 0o644), b"")))


@pytest.mark.parametrize(
    "members",
    [
        [("a", b""), ("a/b", b"")],
        [("a/b", b""), ("a", b"")],
        [("a", b""), ("a/", b"")],
        [("a/", b""), ("a", b"")],
        [("a/b/c", b""), ("a/b", b"")],
    ],
)
def test_a_path_cannot_be_a_file_and_a_folder(members):
    reason = refusal(packed(*members))
    assert "two things" in reason or "something else" in reason


def test_an_encrypted_entry_is_refused():
    data = packed(("f", b"secret"))
    for flags in (0x1, 0x41, 0x2000):
        assert "encrypted" in refusal(patched(data, CENTRAL, 8, struct.pack("<H", flags)))
    assert "encrypted" in refusal(patched(data, LOCAL, 6, b"\x01\0"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unknown_compression_is_refused(method):
    assert "other than deflate" in refusal(packed(("f", b"content" * 100), method=method))


def test_one_entry_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    assert "more than 3 entries" in refusal(packed(*((n, b"") for n in "abcd")))
    assert "more than 3 folders" in refusal(packed(("a/b/c/d/f", b"")))


def test_a_directory_of_millions_is_refused_at_the_limit():
    entries = 3_000_000
    one = packed(("x", b""), method=zipfile.ZIP_STORED)
    local, central = one[: one.index(CENTRAL)], one[one.index(CENTRAL) : one.index(END)]
    end = struct.pack("<4s4H2LH", END, 0, 0, 1, 1, len(central) * entries, len(local), 0)
    assert "more than 100000 entries" in refusal(local + central * entries + end)


def test_a_bomb_that_tells_its_size_is_refused_before_it_is_opened():
    data = packed(("bomb", bytes(1_000_001)))
    with pytest.raises(InvalidArgument, match="more than 1000000 bytes"):
        read_tree(data, limit_bytes=1_000_000)


def test_many_small_files_count_together():
    assert "more than 99 bytes" in refusal(packed(*((str(n), b"x" * 10) for n in range(10))), 99)


def test_a_bomb_that_lies_about_its_size_never_yields_more_than_it_said():
    data = patched(packed(("bomb", bytes(100_000_000))), CENTRAL, 24, struct.pack("<L", 1000))
    tree = read_tree(data, limit_bytes=1_000_000)
    pieces = []
    with pytest.raises(InvalidArgument, match="longer than it says"):
        pieces.extend(read_content(data, tree.files["bomb"]))
    assert sum(map(len, pieces)) <= 1000


def test_content_that_is_shorter_than_it_says_is_refused():
    data = patched(packed(("f", b"content" * 9)), CENTRAL, 24, struct.pack("<L", 1000))
    assert "damaged" in refusal(data)


def test_content_that_was_changed_is_refused():
    data = packed(("f", b"content"), method=zipfile.ZIP_STORED)
    assert "'f' is damaged" in refusal(data.replace(b"content", b"c0ntent"))
    assert "damaged" in refusal(patched(data, CENTRAL, 16, b"\0\0\0\0"))


def test_deflated_data_that_makes_no_sense_is_refused():
    data = packed(("f", b"content" * 100))
    assert "damaged" in refusal(patched(data, LOCAL, 31, b"\xff" * 8))


def test_entries_that_share_bytes_are_refused():
    """One compressed kernel, listed many times over: the bomb that needs no nesting."""
    one = packed(("x", bytes(1000)))
    local, central = one[: one.index(CENTRAL)], one[one.index(CENTRAL) : one.index(END)]
    end = struct.pack("<4s4H2LH", END, 0, 0, 9, 9, len(central) * 9, len(local), 0)
    assert "overlap" in refusal(local + central * 9 + end)


def test_an_entry_that_swallows_the_next_one_is_refused():
    """Stored content that is itself the header and content of the following entry."""
    data = packed(("a", b""), ("b", b"content"), method=zipfile.ZIP_STORED)
    second = data.index(LOCAL, 4)
    inner = data[second : data.index(CENTRAL)]
    sizes = struct.pack("<LLL", zlib.crc32(inner), len(inner), len(inner))
    assert "overlap" in refusal(patched(data, CENTRAL, 16, sizes))


def test_an_entry_whose_own_header_has_another_name_is_refused():
    data = packed(("seen.py", b""))
    assert "disagree" in refusal(patched(data, LOCAL, 30, b"real.py"))


def test_an_entry_that_lies_outside_is_refused():
    data = packed(("f", b"content"))
    refusal(patched(data, CENTRAL, 42, struct.pack("<L", 2**31)))
    refusal(patched(data, CENTRAL, 20, struct.pack("<L", 2**31)))
    wide = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    info = entry("f")
    info.extra = wide
    refusal(patched(packed((info, b"")), CENTRAL, 42, b"\xff" * 4))


def test_one_disk_of_several_is_refused():
    assert "several" in refusal(patched(packed(("f", b"")), END, 4, b"\x01\0"))


def test_a_directory_that_counts_wrong_is_refused():
    assert "directory" in refusal(patched(packed(("f", b""), ("g", b"")), END, 10, b"\x01\0"))
