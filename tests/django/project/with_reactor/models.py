"""A Django application that uses Twisted's reactor as soon as Django loads it."""

from twisted.internet import reactor

reactor.callWhenRunning(print, "the reactor runs", flush=True)
