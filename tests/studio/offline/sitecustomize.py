"""Python itself imports this when the server's process starts: the server may reach this machine alone."""

import tests.conftest  # noqa: F401 -- it installs the audit hook
