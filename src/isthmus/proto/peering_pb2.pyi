from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ControlPlane(_message.Message):
    __slots__ = ("cluster", "network", "trust_domain", "mesh_id", "version", "entrances", "proof", "believed")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENTRANCES_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    BELIEVED_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    network: str
    trust_domain: str
    mesh_id: str
    version: str
    entrances: _containers.RepeatedScalarFieldContainer[str]
    proof: str
    believed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster: _Optional[str] = ..., network: _Optional[str] = ..., trust_domain: _Optional[str] = ..., mesh_id: _Optional[str] = ..., version: _Optional[str] = ..., entrances: _Optional[_Iterable[str]] = ..., proof: _Optional[str] = ..., believed: _Optional[_Iterable[str]] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("namespace", "name", "scope", "ports", "identities", "places", "traffic_distribution")
    class Port(_message.Message):
        __slots__ = ("name", "number", "protocol")
        NAME_FIELD_NUMBER: _ClassVar[int]
        NUMBER_FIELD_NUMBER: _ClassVar[int]
        PROTOCOL_FIELD_NUMBER: _ClassVar[int]
        name: str
        number: int
        protocol: str
        def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., protocol: _Optional[str] = ...) -> None: ...
    class Place(_message.Message):
        __slots__ = ("network", "region", "zone", "subzone", "healthy", "total")
        NETWORK_FIELD_NUMBER: _ClassVar[int]
        REGION_FIELD_NUMBER: _ClassVar[int]
        ZONE_FIELD_NUMBER: _ClassVar[int]
        SUBZONE_FIELD_NUMBER: _ClassVar[int]
        HEALTHY_FIELD_NUMBER: _ClassVar[int]
        TOTAL_FIELD_NUMBER: _ClassVar[int]
        network: str
        region: str
        zone: str
        subzone: str
        healthy: int
        total: int
        def __init__(self, network: _Optional[str] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ..., subzone: _Optional[str] = ..., healthy: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    scope: str
    ports: _containers.RepeatedCompositeFieldContainer[Service.Port]
    identities: _containers.RepeatedScalarFieldContainer[str]
    places: _containers.RepeatedCompositeFieldContainer[Service.Place]
    traffic_distribution: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., scope: _Optional[str] = ..., ports: _Optional[_Iterable[_Union[Service.Port, _Mapping]]] = ..., identities: _Optional[_Iterable[str]] = ..., places: _Optional[_Iterable[_Union[Service.Place, _Mapping]]] = ..., traffic_distribution: _Optional[str] = ...) -> None: ...

class TrustBundle(_message.Message):
    __slots__ = ("trust_domain", "roots", "own", "signer")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    roots: str
    own: bool
    signer: str
    def __init__(self, trust_domain: _Optional[str] = ..., roots: _Optional[str] = ..., own: _Optional[bool] = ..., signer: _Optional[str] = ...) -> None: ...
