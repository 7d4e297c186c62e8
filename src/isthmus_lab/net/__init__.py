"""The lab's networks: namespaces, bridges, routers, the WAN and packet rules, all made over netlink."""
