"""Django's management commands: `runserver` and `asgiworker`."""
