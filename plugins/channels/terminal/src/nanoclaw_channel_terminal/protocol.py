"""The constants that both ends of the socket share."""

NAME = "terminal"
ROOM = "local"
OPERATOR = "operator"
SOCKET = "terminal.sock"
MAX_LINE_BYTES = 96 * 1024 * 1024  # base64 of 50 MB of files, the default limit of a host, with a margin
