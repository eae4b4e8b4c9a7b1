"""The broker process: sockets and loop around the pure core and gate, the store behind two threads."""

from zmws.server.endpoints import StartFailed
from zmws.server.loop import BrokerServer

__all__ = ["BrokerServer", "StartFailed"]
