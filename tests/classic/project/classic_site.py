"""A whole Channels 1 project in one file, for the interpreter of its era: a page, an upload and a chat.

Run as `python classic_site.py runworker` by test_classic_workers.py, with the address of Redis in
CLASSIC_REDIS. Nothing of today's imports it.
"""

import os
import sys

from django.conf import settings

settings.configure(
    DEBUG=True,
    SECRET_KEY="classic",
    ROOT_URLCONF="site_routes",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=[],
    DATABASES={},
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "asgi_redis.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["CLASSIC_REDIS"]]},
            "ROUTING": "site_routes.channel_routing",
        }
    },
)

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
