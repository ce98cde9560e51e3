"""The names that both ends of the socket must agree on."""

NAME = "terminal"
ROOM = "local"
OPERATOR = "operator"
SOCKET = "terminal.sock"
MAX_LINE_BYTES = 96 * 1024 * 1024  # base64 of the 50 MB of files that a host sends at most by default, with room
