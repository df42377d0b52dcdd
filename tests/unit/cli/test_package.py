import io
import os
import stat
import zipfile

import pytest

from anyfc.cli.package import read_package
from anyfc.cli.source import PackageError


@pytest.fixture
def folder(tmp_path):
    """A function with a bit of everything."""
    root = tmp_path / "greeter"
    (root / "lib").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.py").write_text("def handler(event, context):\n    return event\n")
    (root / "lib" / "words.txt").write_text("héllo")
    (root / "bootstrap").write_text("#!/bin/sh\n")
    (root / "bootstrap").chmod(0o755)
    (root / "index.py").chmod(0o640)
    return root


def unpacked(package):
    return zipfile.ZipFile(io.BytesIO(package.data))


def test_a_folder_is_packed_with_its_files_and_empty_folders(folder):
    archive = unpacked(read_package(folder))
    assert archive.namelist() == ["bootstrap", "empty/", "index.py", "lib/", "lib/words.txt"]
    assert archive.read("lib/words.txt") == "héllo".encode()
    assert archive.testzip() is None


def test_modes_survive(folder):
    archive = unpacked(read_package(folder))
    modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["bootstrap"] == stat.S_IFREG | 0o755
    assert modes["index.py"] == stat.S_IFREG | 0o640
    assert stat.S_ISDIR(modes["empty/"])
    assert all(entry.create_system == 3 for entry in archive.infolist())


def test_equal_code_gives_equal_packages(folder, tmp_path):
    first = read_package(folder)
    (folder / "index.py").touch()
    other = tmp_path / "elsewhere" / "greeter"
    other.parent.mkdir()
    folder.rename(other)
    assert read_package(other) == first


def test_links_that_stay_in_the_folder_stay_links(folder):
    (folder / "lib" / "again.py").symlink_to("../index.py")
    (folder / "words").symlink_to(folder / "lib")
    archive = unpacked(read_package(folder))
    links = {
        entry.filename: archive.read(entry).decode()
        for entry in archive.infolist()
        if stat.S_ISLNK(entry.external_attr >> 16)
    }
    assert links == {"lib/again.py": "../index.py", "words": "lib"}
    assert "words/words.txt" not in archive.namelist()


def test_what_vanishes_between_looking_and_packing_is_left_out(folder, monkeypatch):
    real = zipfile.ZipFile.writestr

    def write(archive, info, content):
        (folder / "index.py").unlink(missing_ok=True)
        (folder / "lib" / "words.txt").unlink(missing_ok=True)
        real(archive, info, content)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", write)
    assert unpacked(read_package(folder)).namelist() == ["bootstrap", "empty/", "lib/"]


def test_a_name_that_is_not_utf_8_is_named(folder):
    (folder / os.fsdecode(b"caf\xe9.txt")).touch()
    with pytest.raises(PackageError, match=r"caf\\xe9\.txt: the name is not UTF-8"):
        read_package(folder)


def test_one_file_is_packed_under_its_own_name(folder):
    assert unpacked(read_package(folder / "index.py")).namelist() == ["index.py"]


def test_a_zip_is_taken_as_it_is(folder, tmp_path):
    package = read_package(folder)
    for name in ("made.zip", "MADE.ZIP"):
        (tmp_path / name).write_bytes(package.data)
        assert read_package(tmp_path / name) == package


def test_what_cannot_be_packed_is_named(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    (tmp_path / "void").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, why in {
        "bad.zip": "is not a zip archive",
        "void": "holds no files",
        "gone": "No such file",
        "gone.zip": "No such file",
        "pipe": "is neither a file nor a folder",
    }.items():
        with pytest.raises(PackageError, match=f"{name}.*{why}"):
            read_package(tmp_path / name)


def test_what_is_packed_in_a_hurry_holds_the_same_and_is_not_compressed(folder):
    quick = unpacked(read_package(folder, compressed=False))
    usual = unpacked(read_package(folder))
    assert quick.namelist() == usual.namelist()
    assert all(quick.read(name) == usual.read(name) for name in usual.namelist())
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in quick.infolist())
