"""Settings of a project without a database."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "not a secret: give one with --env")
DEBUG = False
# The trigger and its host name decide who comes here; for a custom domain, name the domain.
ALLOWED_HOSTS = [".localhost", "127.0.0.1"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
# Standard error is the function's log.
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
