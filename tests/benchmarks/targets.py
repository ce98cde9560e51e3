"""The metrics with their targets, in their printed order.

Unnamed figures of the field are NanoClaw's v2.0.64.
"""

from __future__ import annotations

from .figures import Metric

WARM_P50 = Metric(name="warm turn, mock agent, p50", unit="ms", target=10, field="718")
WARM_P99 = Metric(name="warm turn, mock agent, p99", unit="ms", target=40, field="1 485")
BURST = Metric(name="burst of 30 to a warm session, all answered", unit="ms", target=300, field="119 000")
SYNCS = Metric(name="disk syncs for one warm message, host and runner", unit="syncs", target=8, field="24")
ROUTE_P50 = Metric(name="routing one by one, p50", unit="ms", target=2, field="3.0")
ROUTE_CPU = Metric(name="routing, CPU per message", unit="ms", target=0.5, field="2.3")
ROUTE_TOGETHER = Metric(name="routing together, one session", unit="/s", target=3_000, field="309", more_is_better=True)
ROUTE_MANY = Metric(name="routing together, 200 sessions", unit="/s", target=1_000, field="329", more_is_better=True)
ROUTE_IGNORED = Metric(
    name="routing to rooms without a wiring", unit="/s", target=11_000, field="11 000", more_is_better=True
)
NEW_SESSION = Metric(name="first message of a new session", unit="/s", target=200, field="40", more_is_better=True)
DELIVER_ONE = Metric(name="delivering 500 of one session", unit="/s", target=1_000, field="504", more_is_better=True)
DELIVER_MANY = Metric(name="delivering 500 of 50 sessions", unit="/s", target=2_000, field="–", more_is_better=True)
COLD_PROCESS = Metric(name="cold sandbox, bubblewrap, mock agent", unit="ms", target=300, field="650–1 070")
COLD_DOCKER = Metric(name="cold sandbox, Docker, mock agent", unit="ms", target=750, field="1 280; OpenClaw 1 900")
STOP_PROCESS = Metric(name="stopping a sandbox, bubblewrap", unit="ms", target=200, field="1 200")
STOP_DOCKER = Metric(name="stopping a sandbox and its host, Docker", unit="ms", target=200, field="1 200")
READY = Metric(name="host ready, one channel", unit="ms", target=350, field="400; OpenClaw 1 460, nanobot 1 540")
HOST_MEMORY = Metric(name="host memory, idle", unit="MB", target=45, field="75; nanobot 97, OpenClaw 343")
HOST_GROWTH = Metric(name="host memory, growth over 10 000 messages", unit="MB", target=5, field="–")
RUNNER_MEMORY = Metric(name="runner memory, idle", unit="MB", target=45, field="74")
IDLE_CPU = Metric(name="host CPU with 100 idle running sessions", unit="% of a core", target=0.2, field="6.6")
IDLE_CPU_MANY = Metric(name="host CPU with 1 000 idle running sessions", unit="% of a core", target=0.5, field="39")
SWEEP = Metric(name="sweep over 1 000 sessions, 100 of them running", unit="ms", target=50, field="1 500")
VERSION = Metric(name="ncl --version, whole process", unit="ms", target=80, field="llm 1 241, datasette 889")
STATUS_DOWN = Metric(name="ncl status, host down, whole process", unit="ms", target=300, field="hermes 10 600")
VERSION_MANY = Metric(
    name="ncl --version, 20 plugins, whole process", unit="ms", target=80, field="llm 1 241, datasette 889"
)
HELP_UP_MANY = Metric(name="ncl help from a running host, 20 plugins", unit="ms", target=90, field="–")
HELP_UP = Metric(name="ncl help from a running host, whole process", unit="ms", target=90, field="–")
VERB_UP = Metric(
    name="ncl groups list from a running host, 20 plugins, whole process", unit="ms", target=90, field="185–1 438"
)
COMPLETE = Metric(name="one Tab: ncl complete, 20 plugins, whole process", unit="ms", target=90, field="–")
DOCTOR = Metric(name="ncl doctor, everything", unit="ms", target=2_000, field="–")
DISPATCH = Metric(
    name="dispatch in the host, groups list of 100 rows", unit="/s", target=6_000, field="3 830", more_is_better=True
)
NCL_INSIDE = Metric(name="ncl in a sandbox, without its process start", unit="ms", target=25, field="1 054")
CORE_LINES = Metric(name="core, lines of code", unit="lines", target=5_000, field="17 800; nanobot 109 000")
PLUGIN_START = Metric(
    name="host start, for each installed and unused plugin", unit="ms", target=2, field="OpenClaw up to 9 000"
)
INSTALL_PACKAGES = Metric(
    name="install of the core, packages", unit="packages", target=12, field="OpenClaw 300, datasette 28"
)
INSTALL_MB = Metric(name="install of the core, site-packages", unit="MB", target=20, field="nanobot 359, datasette 38")
