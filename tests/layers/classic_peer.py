"""A program for the Python of the classic era: drives asgi_redis as it is told, one literal a line.

Started by `test_redis_classic`, with an interpreter that has asgi_redis 1.4 (Python 3.6). The argument is one
literal, those of `RedisChannelLayer`. Each line it reads is (method, arguments...); it writes ("ok", result)
or ("error", name of the exception).
"""

import ast
import sys

from asgi_redis import RedisChannelLayer


def main():
    layer = RedisChannelLayer(**ast.literal_eval(sys.argv[1]))
    for line in sys.stdin:
        call = ast.literal_eval(line)
        try:
            answer = ("ok", getattr(layer, call[0])(*call[1:]))
        except Exception as error:
            answer = ("error", type(error).__name__)
        sys.stdout.write(repr(answer) + "\n")
        sys.stdout.flush()


main()
