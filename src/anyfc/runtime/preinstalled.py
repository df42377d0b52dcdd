"""The modules that the cloud's Python runtimes bring, and under which names they are imported.

Functions rely on them without packing them. Here they are an extra: `anyfc modules` installs them,
and a function that misses one is told so in its log.

Source: the tables of built-in modules in the Function Compute documentation of each runtime.
"""

from collections.abc import Mapping, Sequence

from anyfc.runtime.table import PYTHON

# Runtime → distribution → the version that the cloud has; the nearest one where the published
# version does not exist (pyOpenSSL, PyMySQL, alibabacloud-sts20150401) or is gone (opencv-python).
PREINSTALLED: Mapping[str, Mapping[str, str]] = {
    "python3": {
        "aliyun-fc": "0.6",
        "aliyun-fc2": "2.3.0",
        "aliyun-log-python-sdk": "0.6.38",
        "aliyun-mns": "1.1.5",
        "aliyun-python-sdk-cdn": "3.0.8",
        "aliyun-python-sdk-core": "2.13.11",
        "aliyun-python-sdk-dds": "2.0.7",
        "aliyun-python-sdk-ecs": "4.10.1",
        "aliyun-python-sdk-fnf": "1.3.0",
        "aliyun-python-sdk-imm": "1.3.4",
        "aliyun-python-sdk-iot": "7.8.0",
        "aliyun-python-sdk-kms": "2.14.0",
        "aliyun-python-sdk-ram": "3.0.0",
        "aliyun-python-sdk-rds": "2.1.4",
        "aliyun-python-sdk-sts": "3.0.0",
        "aliyun-python-sdk-vpc": "3.0.2",
        "cryptography": "3.2.1",
        "elasticsearch": "6.8.2",
        "greenlet": "0.4.13",
        "lxml": "4.7.1",
        "matplotlib": "2.0.2",
        "opencv-python": "3.4.0.14",
        "oss2": "2.9.1",
        "protobuf": "3.13.0",
        "pycryptodome": "3.14.1",
        "pydatahub": "2.11.2",
        "requests": "2.27.1",
        "Scrapy": "1.4.0",
        "simplejson": "3.17.6",
        "tablestore": "5.1.0",
        "Wand": "0.6.7",
    },
    "python3.9": {
        "aiohttp": "3.8.1",
        "alibabacloud-fc-open20210406": "1.0.1",
        "aliyun-fc": "0.6",
        "aliyun-fc2": "2.5.0",
        "aliyun-log-python-sdk": "0.7.3",
        "aliyun-mns": "1.1.5",
        "aliyun-python-sdk-cdn": "3.6.7",
        "aliyun-python-sdk-core": "2.13.35",
        "aliyun-python-sdk-dds": "3.6.0",
        "aliyun-python-sdk-ecs": "4.24.11",
        "aliyun-python-sdk-fnf": "1.8.0",
        "aliyun-python-sdk-imm": "1.23.4",
        "aliyun-python-sdk-iot": "8.30.0",
        "aliyun-python-sdk-kms": "2.15.0",
        "aliyun-python-sdk-ram": "3.2.0",
        "aliyun-python-sdk-rds": "2.6.1",
        "aliyun-python-sdk-sts": "3.1.0",
        "aliyun-python-sdk-vpc": "3.0.15",
        "coverage": "6.2",
        "cryptography": "36.0.0",
        "elasticsearch": "7.15.2",
        "lxml": "4.6.4",
        "matplotlib": "3.4.3",
        "numpy": "1.21.4",
        "opencv-python": "4.5.4.58",
        "oss2": "2.15.0",
        "Pillow": "8.4.0",
        "protobuf": "3.19.1",
        "pycryptodome": "3.11.0",
        "python-dateutil": "2.8.2",
        "pytz": "2021.3",
        "requests": "2.26.0",
        "scipy": "1.7.2",
        "Scrapy": "2.5.1",
        "tablestore": "5.2.1",
        "Twisted": "21.7.0",
        "Wand": "0.6.7",
    },
    "python3.10": {
        "aliyun-fc2": "2.5.2",
        "aliyun-log-python-sdk": "0.8.0",
        "aliyun-mns": "1.1.5",
        "aliyun-python-sdk-cdn": "3.7.8",
        "aliyun-python-sdk-ecs": "4.24.26",
        "aliyun-python-sdk-iot": "8.47.0",
        "aliyun-python-sdk-kms": "2.16.0",
        "aliyun-python-sdk-ram": "3.2.0",
        "aliyun-python-sdk-rds": "2.7.2",
        "aliyun-python-sdk-sts": "3.1.0",
        "aliyun-python-sdk-vpc": "3.0.27",
        "elasticsearch": "8.5.2",
        "oss2": "2.16.0",
        "Pillow": "9.3.0",
        "PyMySQL": "1.0.2",
        "pyOpenSSL": "22.1.0",
        "redis": "4.4.0",
        "requests": "2.28.1",
        "Scrapy": "2.7.1",
        "tablestore": "5.4.1",
        "Wand": "0.6.10",
    },
    "python3.12": {
        "alibabacloud-cdn20180510": "4.0.0",
        "alibabacloud-ecs20140526": "4.1.9",
        "alibabacloud-iot20180120": "5.1.0",
        "alibabacloud-kms20160120": "2.2.1",
        "alibabacloud-mns-open20220119": "1.0.3",
        "alibabacloud-ram20150501": "1.1.0",
        "alibabacloud-rds20140815": "6.0.1",
        "alibabacloud-sls20201230": "5.2.2",
        "alibabacloud-sts20150401": "1.1.4",
        "alibabacloud-vpc20160428": "6.7.2",
        "elasticsearch": "8.14.0",
        "oss2": "2.18.6",
        "Pillow": "10.4.0",
        "PyMySQL": "1.1.1",
        "pyOpenSSL": "24.2.1",
        "redis": "5.0.7",
        "requests": "2.32.3",
        "Scrapy": "2.11.2",
        "Wand": "0.6.11",
    },
}

# Distribution → the names under which it, and what comes with it, is imported; where it is not
# listed: its own name in small letters, with `_` for `-`.
_IMPORTS: Mapping[str, Sequence[str]] = {
    "aliyun-fc": ("fc",),
    "aliyun-fc2": ("fc2",),
    "aliyun-log-python-sdk": ("aliyun",),
    "aliyun-mns": ("mns",),
    "opencv-python": ("cv2", "numpy"),
    "Pillow": ("PIL",),
    "protobuf": ("google",),
    "pycryptodome": ("Crypto",),
    "pydatahub": ("datahub",),
    "pyOpenSSL": ("OpenSSL",),
    "python-dateutil": ("dateutil",),
}
_SDK = ("Tea", "alibabacloud_credentials", "alibabacloud_tea_openapi", "alibabacloud_tea_util")


def _imports(distribution: str) -> Sequence[str]:
    own = distribution.lower().replace("-", "_")
    if distribution.startswith("alibabacloud-"):
        return (own, *_SDK)
    if distribution.startswith("aliyun-python-sdk-"):
        return ("aliyunsdkcore", "aliyunsdk" + distribution.rpartition("-")[2])
    return _IMPORTS.get(distribution, (own,))


# Runtime → the top-level names that functions import from what the cloud brings.
NAMES: Mapping[str, Sequence[str]] = {
    runtime: sorted({name for distribution in versions for name in _imports(distribution)})
    for runtime, versions in PREINSTALLED.items()
}


def requirements(runtime: str, version: tuple[int, int], only: Sequence[str] = ()) -> list[str]:
    """Return what pip is asked for: on the runtime's own Python exactly what the cloud has, on
    another one no older versions, because those are rarely made for it.

    `only` names distributions, in any spelling. Raises ValueError for one that is not there.
    """
    there = PREINSTALLED[runtime]
    known = {_normal(name): name for name in there}
    for name in only:
        if _normal(name) not in known:
            raise ValueError(f"{runtime} does not bring '{name}'; it brings {', '.join(there)}")
    chosen = [known[_normal(name)] for name in only] or list(there)
    sign = "==" if version == PYTHON[runtime] else ">="
    return [f"{name}{sign}{there[name]}" for name in dict.fromkeys(chosen)]


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")
