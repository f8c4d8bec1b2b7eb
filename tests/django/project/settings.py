"""Settings of a small Django project, for processes that tests start.

What a test wants otherwise stands, as JSON, in the environment variable PROJECT_SETTINGS.
"""

import json
import os
from pathlib import Path

SECRET_KEY = "only for tests"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.django.project.urls"
ASGI_APPLICATION = "tests.django.project.asgi.application"
INSTALLED_APPS = ["daphne", "django.contrib.staticfiles"]
STATIC_URL = "/static/"
STATICFILES_DIRS = [Path(__file__).parent / "static"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = None
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"errors": {"class": "logging.StreamHandler"}},
    "loggers": {"daphne": {"handlers": ["errors"], "level": "INFO"}},
}

globals().update(json.loads(os.environ.get("PROJECT_SETTINGS", "{}")))
