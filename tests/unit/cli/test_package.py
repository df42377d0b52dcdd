import io
import stat
import zipfile

import pytest

from anyfc.cli.package import PackageError, read_package


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
    return zipfile.ZipFile(io.BytesIO(package))


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


@pytest.mark.parametrize("name", ["__pycache__", ".git", ".mypy_cache"])
def test_what_tools_leave_behind_is_not_packed(folder, name):
    for parent in (folder, folder / "lib"):
        (parent / name).mkdir()
        (parent / name / "x").write_text("x")
    assert not [path for path in unpacked(read_package(folder)).namelist() if name in path]


def test_links_become_what_they_point_to(folder):
    (folder / "lib" / "again.py").symlink_to("../index.py")
    (folder / "words").symlink_to("lib")
    archive = unpacked(read_package(folder))
    assert archive.read("lib/again.py") == archive.read("index.py")
    assert archive.read("words/words.txt") == "héllo".encode()
    assert all(not stat.S_ISLNK(entry.external_attr >> 16) for entry in archive.infolist())


def test_a_link_to_a_folder_around_it_is_refused(folder):
    (folder / "lib" / "up").symlink_to("..")
    with pytest.raises(PackageError, match="up is a link to a folder that holds it"):
        read_package(folder)


def test_a_link_to_nothing_is_named(folder):
    (folder / "gone").symlink_to("nowhere")
    with pytest.raises(PackageError, match="gone: No such file"):
        read_package(folder)


def test_one_file_is_packed_under_its_own_name(folder):
    assert unpacked(read_package(folder / "index.py")).namelist() == ["index.py"]


def test_a_zip_is_taken_as_it_is(folder, tmp_path):
    package = read_package(folder)
    path = tmp_path / "made.zip"
    path.write_bytes(package)
    assert read_package(path) == package


def test_what_cannot_be_packed_is_named(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    (tmp_path / "void").mkdir()
    for name, why in {
        "bad.zip": "is not a zip archive",
        "void": "holds no files",
        "gone": "No such file",
        "gone.zip": "No such file",
    }.items():
        with pytest.raises(PackageError, match=f"{name}.*{why}"):
            read_package(tmp_path / name)


def test_what_is_packed_in_a_hurry_holds_the_same_and_is_not_compressed(folder):
    quick = unpacked(read_package(folder, compressed=False))
    usual = unpacked(read_package(folder))
    assert quick.namelist() == usual.namelist()
    assert all(quick.read(name) == usual.read(name) for name in usual.namelist())
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in quick.infolist())
