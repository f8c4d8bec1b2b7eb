"""asgiref 1.x's in-memory channel layer with a worker thread beside it, as the runserver of the time had."""

import threading
import time

from asgiref.inmemory import ChannelLayer
from classic_answers import CONSUMED, answer

IDLE_PAUSE = 0.01  # what the workers of the time slept after an empty receive

channel_layer = ChannelLayer(capacity=1000)


def work():
    while True:
        channel, message = channel_layer.receive(CONSUMED, block=True)
        if channel is None:
            time.sleep(IDLE_PAUSE)
            continue
        reply = answer(channel, message)
        if reply is not None:
            channel_layer.send(message["reply_channel"], reply)


thread = threading.Thread(target=work)
thread.daemon = True
thread.start()
