"""One API server, put together: everything that answers a request, and nothing about sockets."""

from __future__ import annotations

from isthmus_lab.apiserver import bootstrap, pki
from isthmus_lab.apiserver.admission import Admission
from isthmus_lab.apiserver.allocation import Allocator
from isthmus_lab.apiserver.authn import Authenticator
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.deleting import Deleter
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Answer, Handler
from isthmus_lab.apiserver.identity import AUTHENTICATED, MASTERS, User
from isthmus_lab.apiserver.lifecycle import Lifecycle
from isthmus_lab.apiserver.patching import Patcher
from isthmus_lab.apiserver.paths import Paths
from isthmus_lab.apiserver.podstreams import PodStreams
from isthmus_lab.apiserver.podverbs import PodVerbs
from isthmus_lab.apiserver.rbac import Authorizer
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.reviews import Reviews
from isthmus_lab.apiserver.scale import Scales
from isthmus_lab.apiserver.serviceaccounts import ServiceAccountAdmission
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry
from isthmus_lab.apiserver.tokens import API_AUDIENCES, Signer, TokenAuthority, TokenError
from isthmus_lab.apiserver.writing import Writer


class ApiServer:
    """`handler` answers requests, `lifecycle.run()` works beside them; `secrets` live as long as the data directory."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.secrets = bootstrap.secrets(state)
        root = self.secrets.authority.certificate
        self.tokens = TokenAuthority(Signer(pki.load_key(self.secrets.signing_key)), state.store)
        self.reader = Reader(state)
        self.admission = Admission(state, ServiceAccountAdmission(state, self.tokens, root))
        self.deleter = Deleter(state, self.reader, self.admission)
        self.lifecycle = Lifecycle(state, self.deleter, root)
        allocator = Allocator(state.store, state.settings.service_cidr, state.rng)
        self.writer = Writer(state, self.reader, admission=self.admission, allocator=allocator, stored=self._stored)
        self.authorizer = Authorizer(state.store)
        self.authenticator = Authenticator(
            {
                self.secrets.admin_token: User("kubernetes-admin", (MASTERS, AUTHENTICATED)),
                self.secrets.system_token: User("system:lab", (MASTERS, AUTHENTICATED)),
            },
            self._account,
        )
        self.front = Front(state, self.authenticator, self.authorizer)
        self._routes()
        bootstrap.objects(state)
        for namespace in state.store.list("namespaces"):
            self.lifecycle.furnish(namespace.name)

    @property
    def handler(self) -> Handler:
        return self.front.handle

    def _account(self, token: str) -> User | None:
        """The service account of a token for this server."""
        try:
            verified = self.tokens.verify(token, self.state.clock())
        except TokenError:
            return None
        return verified.user if set(verified.audiences) & set(API_AUDIENCES) else None

    def _stored(self, storage: str, entry: Entry) -> None:
        if storage == "namespaces":
            self.lifecycle.furnish(entry.name)

    def _routes(self) -> None:
        front = self.front
        patcher = Patcher(self.reader, self.writer)
        front.verbs = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self.writer.create,
            "update": self.writer.update,
            "patch": patcher.patch,
            "delete": self.deleter.delete,
            "deletecollection": self.deleter.delete_collection,
        }
        for verb, handler in (("get", self._get), ("update", self.writer.update), ("patch", patcher.patch)):
            front.subresources["*", "status", verb] = handler
        Scales(self.reader, self.writer).install(front)
        PodVerbs(self.state, self.reader, self.deleter).install(front)
        PodStreams(self.state, self.reader).install(front)
        reviews = Reviews(
            self.state, self.reader, authenticator=self.authenticator, authorizer=self.authorizer,
            authority=self.tokens,
        )  # fmt: skip
        reviews.install(front)
        Paths(self.state, self.tokens.signer).install(front)

    async def _get(self, call: Call) -> Answer:
        return self.reader.get(call)

    async def _list(self, call: Call) -> Answer:
        return self.reader.list_all(call)

    async def _watch(self, call: Call) -> Answer:
        return self.reader.watch(call)
