"""One API server, put together: everything that answers a request, and nothing about sockets."""

from __future__ import annotations

from isthmus_lab.apiserver import bootstrap
from isthmus_lab.apiserver.authn import Authenticator
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.deleting import Deleter
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Answer, Handler
from isthmus_lab.apiserver.identity import AUTHENTICATED, MASTERS, User
from isthmus_lab.apiserver.patching import Patcher
from isthmus_lab.apiserver.paths import Paths
from isthmus_lab.apiserver.rbac import Authorizer
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.writing import Writer


class ApiServer:
    """`handler` answers requests; `secrets` are what lives as long as the data directory."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.secrets = bootstrap.secrets(state)
        self.reader = Reader(state)
        self.writer = Writer(state, self.reader)
        self.deleter = Deleter(state, self.reader)
        self.patcher = Patcher(self.reader, self.writer)
        self.authorizer = Authorizer(state.store)
        self.authenticator = Authenticator(
            {
                self.secrets.admin_token: User("kubernetes-admin", (MASTERS, AUTHENTICATED)),
                self.secrets.system_token: User("system:lab", (MASTERS, AUTHENTICATED)),
            },
            lambda _token: None,
        )
        self.front = Front(state, self.authenticator, self.authorizer)
        self._routes()
        bootstrap.objects(state)

    @property
    def handler(self) -> Handler:
        return self.front.handle

    def _routes(self) -> None:
        front = self.front
        front.verbs = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self.writer.create,
            "update": self.writer.update,
            "patch": self.patcher.patch,
            "delete": self.deleter.delete,
            "deletecollection": self.deleter.delete_collection,
        }
        for verb, handler in (("get", self._get), ("update", self.writer.update), ("patch", self.patcher.patch)):
            front.subresources["*", "status", verb] = handler
        Paths(self.state).install(front)

    async def _get(self, call: Call) -> Answer:
        return self.reader.get(call)

    async def _list(self, call: Call) -> Answer:
        return self.reader.list_all(call)

    async def _watch(self, call: Call) -> Answer:
        return self.reader.watch(call)
