"""Tells which nodes and ports this node reaches, by listeners of its own on every node; with any Python from 3.6 on.

    reach.py listen ADDRESS SECONDS PORT...     bind, say which ports listen, and answer in the background for so long
    reach.py connect SECONDS OWN PEERS PORT...  PEERS: NAME=ADDRESS NAME=ADDRESS …, OWN among them; a line for each that is not reached

A connection goes out from the node's own address of the training, as that of HCCL does, so over its interface. It carries 200 kB there and one
line back: TCP fills its segments up to the MTU of the two ends, so where something between drops larger packets without a word, and nobody is
told (an MTU black hole), the first full segment is lost each time and the answer does not come. Each pair is tried in both directions. Where a
router lowers the segments, or net.ipv4.tcp_mtu_probing finds the way, it comes, as it does for the training.

Lines are key=value as those of probe.sh: ``listening=PORT``, ``busy=PORT WORDS``, ``pid=`` of what answers, ``reached=COUNT``,
``unreached=NAME|PORT|WORDS``.
"""
import errno
import os
import selectors
import socket
import sys
import time
from typing import Any, List, Sequence, Tuple

SIZE = 200000
AT_ONCE = 64


def family(address: str) -> int:
    """Tell the family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reason(code: Any) -> str:
    """Word the number of an error."""
    return {errno.ECONNREFUSED: "refused", errno.EHOSTUNREACH: "no route to the host", errno.ENETUNREACH: "no route to the network",
            errno.ETIMEDOUT: "no answer", errno.ECONNRESET: "reset"}.get(code, os.strerror(code))


def listen(address: str, seconds: float, ports: Sequence[int]) -> None:
    """Bind all ports, tell it, and go on in the background until the time is over."""
    selector: Any = selectors.DefaultSelector()
    for port in ports:
        server = socket.socket(family(address), socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address, port))
            server.listen(1024)
        except OSError as error:
            print(f"busy={port} {error.strerror or error}")
            server.close()
            continue
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ, None)
        print(f"listening={port}")
    sys.stdout.flush()
    if not selector.get_map():
        return
    child = os.fork()
    if child:
        print(f"pid={child}")
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    serve(selector, time.time() + seconds)
    os._exit(0)


def serve(selector: Any, end: float) -> None:
    """Count what comes in, and answer when all is there."""
    while time.time() < end:
        for key, _ in selector.select(1):
            try:
                if key.data is None:
                    peer, _ = key.fileobj.accept()
                    peer.setblocking(False)
                    selector.register(peer, selectors.EVENT_READ, [0])
                    continue
                got = key.fileobj.recv(65536)
                key.data[0] += len(got)
                if key.data[0] >= SIZE:
                    key.fileobj.send(b"whole\n")
                if got and key.data[0] < SIZE:
                    continue
            except OSError:
                pass
            if key.data is not None:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def connect(seconds: float, own: str, peers: Sequence[Sequence[str]], ports: Sequence[int]) -> Tuple[int, List[Tuple[str, int, str]]]:
    """Try every peer and port from the address ``own``, AT_ONCE together; returns how many were reached and what was not."""
    waiting = [(name, address, port) for name, address in peers for port in ports]
    waiting.reverse()
    selector: Any = selectors.DefaultSelector()
    reached = 0
    unreached: List[Tuple[str, int, str]] = []
    while waiting or selector.get_map():
        while waiting and len(selector.get_map()) < AT_ONCE:
            name, address, port = waiting.pop()
            client = socket.socket(family(address), socket.SOCK_STREAM)
            client.setblocking(False)
            client.bind((own, 0))
            code = client.connect_ex((address, port))
            if code not in (0, errno.EINPROGRESS):
                unreached.append((name, port, reason(code)))
                client.close()
                continue
            # [who, until when, bytes to send, connected]
            selector.register(client, selectors.EVENT_WRITE, [(name, port), time.monotonic() + seconds, SIZE, False])
        for key, _ in selector.select(0.2):
            client, state = key.fileobj, key.data
            try:
                if not state[3]:
                    code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code:
                        raise OSError(code, "")
                    state[1], state[3] = time.monotonic() + seconds, True  # for what is sent; not used up by a listener that others wait for as well
                if state[2] > 0:
                    state[2] -= client.send(b"x" * min(state[2], 65536))
                    if state[2] <= 0:
                        selector.modify(client, selectors.EVENT_READ, state)
                    continue
                if client.recv(16) == b"whole\n":
                    reached += 1
                else:
                    unreached.append((*state[0], "the connection ended before all was through"))
            except OSError as error:
                unreached.append((*state[0], reason(error.errno)))
            selector.unregister(client)
            client.close()
        for key in list(selector.get_map().values()):
            if time.monotonic() > key.data[1]:
                what = "no answer" if not key.data[3] else "it connects, but large packets do not come through"
                unreached.append((*key.data[0], what))
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return reached, unreached


def main() -> None:
    """Do what the arguments say."""
    words = sys.argv[1:]
    if words[0] == "listen":
        listen(words[1], float(words[2]), [int(word) for word in words[3:]])
        return
    nodes = dict(word.split("=", 1) for word in words[3].split())
    # Each begins behind itself: else all knock at the first one at once.
    behind = list(nodes).index(words[2]) + 1
    peers = [*list(nodes.items())[behind:], *list(nodes.items())[:behind - 1]]
    try:
        reached, unreached = connect(float(words[1]), nodes[words[2]], peers, [int(word) for word in words[4:]])
    except OSError as error:  # an address that is not the node's: nothing is known of the others
        sys.exit(f"{nodes[words[2]]}: {error.strerror or error}")
    print(f"reached={reached}")
    for name, port, why in unreached:
        print(f"unreached={name}|{port}|{why}")


if __name__ == "__main__":
    main()
