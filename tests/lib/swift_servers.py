"""OpenStack Swift's four servers below one process, which ends with them: swift_servers.py DIR KIND:PORT…

DIR has swift.conf and KIND.conf of each; its rings are made here: one disk, DIR/../srv/disk. Swift would read
/etc/swift/swift.conf: it is told otherwise before its modules look at it. Everything is loaded once, then forked.
"""
import ctypes
import os
import signal
import sys

from swift.common import utils

home = sys.argv[1]
ports = {kind: int(port) for kind, port in (word.split(":") for word in sys.argv[2:])}
utils.set_swift_dir(home)

from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import run_wsgi  # noqa: E402

PR_SET_PDEATHSIG = 1

for kind in set(ports) - {"proxy"}:
    builder = RingBuilder(2, 1, 0)
    where = {"ip": "127.0.0.1", "port": ports[kind]}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "device": "disk", "weight": 1.0, "meta": "", **where,
                     "replication_ip": where["ip"], "replication_port": where["port"]})
    builder.rebalance()
    builder.get_ring().save(f"{home}/{kind}.ring.gz")

parent = os.getpid()
for kind in ports:
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)
        sys.exit(run_wsgi(f"{home}/{kind}.conf", f"{kind}-server"))
_, status = os.wait()  # one that ends has failed, and the others end with this process
sys.exit(os.waitstatus_to_exitcode(status) or 1)
