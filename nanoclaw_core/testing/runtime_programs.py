"""The programs in the sandboxes of the runtime contract. `answer(value)` returns a value to the test."""

WAIT_FOR_SIGTERM = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (answer('asked to leave'), sys.exit(3)))\n"
    "open(os.environ['OUT'] + '/ready', 'w').close()\n"
    "time.sleep(600)\n"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(os.environ['OUT'] + '/ready', 'w').close()\n"
    "time.sleep(600)\n"
)
LOOK_FOR = """
import glob
key, found = "{}"[::-1].encode(), []
for pattern in ("/environ", "/cmdline", "/*/environ", "/*/cmdline", "/*/task/*/environ"):
    for path in glob.glob("{}" + pattern):
        try:
            content = open(path, "rb").read()
        except OSError:
            continue
        if key in content:
            found.append(path)
answer(found)
"""
READ_AND_WRITE = """
incoming, written = os.environ["IN"], []
read = open(incoming + "/letter").read()
for name in ("letter", "new"):
    try:
        open(incoming + "/" + name, "w").close()
        written.append(name)
    except OSError:
        pass
open(os.environ["OUT"] + "/reply", "w").write("from the sandbox")
answer([read, written])
"""
CONNECT = """
import socket
reached = []
for address in {!r}:
    try:
        socket.create_connection(address, timeout=3).close()
        reached.append(address)
    except OSError:
        pass
answer(reached)
"""
TEMPORARY = """
def can_write(directory):
    try:
        path = os.path.join(directory, "nanoclaw-contract")
        open(path, "w").close()
        os.unlink(path)
        return True
    except OSError:
        return False
answer({"/tmp": can_write("/tmp"), "home": can_write(os.environ["HOME"]), "/": can_write("/")})
"""
MANY_PROCESSES = """
import signal, time
children = []
for _ in range(60):
    try:
        child = os.fork()
    except OSError:
        break
    if not child:
        time.sleep(60)
        os._exit(0)
    children.append(child)
answer(len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
ORPHANS = """
import glob, time
for _ in range(5):
    child = os.fork()
    if not child:
        if not os.fork():
            time.sleep(0.05)
        os._exit(0)
    os.waitpid(child, 0)
def dead():
    count = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            count += open(path).read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            pass
    return count
deadline = time.monotonic() + 10
time.sleep(0.1)
while dead() and time.monotonic() < deadline:
    time.sleep(0.02)
answer(dead())
"""
CHILD_THAT_STAYS = """
import subprocess, sys, time
code = "import os, time\\nwhile True: open(os.environ['OUT'] + '/alive', 'w').close(); time.sleep(0.02)"
subprocess.Popen([sys.executable, "-c", code])
while not os.path.exists(os.environ["OUT"] + "/alive"):
    time.sleep(0.01)
"""
RING = """
import socket
bell = socket.socket(socket.AF_UNIX)
os.chdir(os.environ["IN"])  # without mounts the full path is too long for an address
bell.connect("bell.sock")
bell.sendall(b"ring")
answer(bell.recv(9).decode())
"""
SEE_PROCESS = """
link = "/proc/{}/cwd"
answer([os.getpid(), os.readlink(link) if os.path.exists(link) else None])
"""
WHO_AM_I = """
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
answer([os.getuid(), os.geteuid(), os.getgid(), status])
"""
