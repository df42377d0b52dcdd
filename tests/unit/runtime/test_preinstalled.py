import re
import tomllib
from pathlib import Path

import pytest

from anyfc.runtime.preinstalled import NAMES, PREINSTALLED, requirements
from anyfc.runtime.table import PYTHON


def test_every_python_runtime_has_a_list():
    assert PREINSTALLED.keys() == PYTHON.keys()


def test_on_its_own_python_a_runtime_gets_what_the_cloud_has():
    assert "requests==2.28.1" in requirements("python3.10", (3, 10))


def test_on_another_python_nothing_older_than_in_the_cloud_is_asked_for():
    assert "requests>=2.28.1" in requirements("python3.10", (3, 13))


@pytest.mark.parametrize("spelling", ["PyMySQL", "pymysql", " PYMYSQL "])
def test_a_choice_may_be_spelled_as_people_like(spelling):
    assert requirements("python3.10", (3, 10), ["oss2", spelling, "oss2"]) == [
        "oss2==2.16.0",
        "PyMySQL==1.0.2",
    ]


def test_what_a_runtime_does_not_bring_is_refused_by_name():
    with pytest.raises(ValueError, match=r"python3.10 does not bring 'flask'; it brings .*oss2"):
        requirements("python3.10", (3, 10), ["oss2", "flask"])


@pytest.mark.parametrize(
    ("runtime", "names"),
    [
        ("python3", {"cv2", "Crypto", "datahub", "fc", "google"}),
        ("python3.9", {"dateutil", "scipy", "twisted", "alibabacloud_fc_open20210406"}),
        ("python3.10", {"oss2", "fc2", "mns", "aliyun", "aliyunsdkcore", "aliyunsdkecs", "PIL"}),
        ("python3.12", {"alibabacloud_tea_openapi", "Tea", "OpenSSL", "pymysql", "wand"}),
    ],
)
def test_modules_are_known_by_the_names_that_functions_import(runtime, names):
    assert names <= set(NAMES[runtime])


def test_the_extra_offers_part_of_what_the_newest_runtime_brings():
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extra = pyproject["project"]["optional-dependencies"]["fc-modules"]
    there = PREINSTALLED["python3.12"]
    assert extra
    for requirement in extra:
        name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert there[name] == version
