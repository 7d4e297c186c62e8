"""The core group's other kinds, EndpointSlice, Lease and events.k8s.io."""

TYPES = """
Namespace: A scope for names.
  metadata ObjectMeta @1 | Standard object metadata.
  spec NamespaceSpec @2 | Desired behaviour.
  status NamespaceStatus @3 | Current state. Read-only.
NamespaceSpec: Desired behaviour of a namespace.
  finalizers [string] @1 atomic | Must be empty before the namespace is removed.
NamespaceStatus: State of a namespace.
  conditions [NamespaceCondition] @2 key=type | Conditions.
  phase string @1 | Active or Terminating.
NamespaceCondition: One aspect of a namespace's state.
  lastTransitionTime time @4 | When the status last changed.
  message string @6 | Details for people.
  reason string @5 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
Node: A worker.
  metadata ObjectMeta @1 | Standard object metadata.
  spec NodeSpec @2 | Desired behaviour.
  status NodeStatus @3 | Last observed state. Read-only.
NodeSpec: Desired behaviour of a node.
  configSource any @6 | Deprecated.
  externalID string @2 | Deprecated.
  podCIDR string @1 | The node's pod range.
  podCIDRs [string] @7 set | The node's pod ranges.
  providerID string @3 | The cloud's identifier.
  taints [Taint] @5 atomic | Taints.
  unschedulable bool @4 | Whether new pods are kept away.
Taint: Keeps pods away that do not tolerate it.
  effect! string @3 | NoSchedule, PreferNoSchedule or NoExecute.
  key! string @1 | Key.
  timeAdded time @4 | When it was added.
  value string @2 | Value.
NodeStatus: State of a node.
  addresses [NodeAddress] @5 key=type | Addresses.
  allocatable {quantity} @2 | Resources for pods.
  capacity {quantity} @1 | Resources in all.
  conditions [NodeCondition] @4 key=type | Conditions.
  config any @11 | Deprecated.
  daemonEndpoints NodeDaemonEndpoints @6 | Ports of daemons.
  features any @13 | Features of the runtime.
  images [ContainerImage] @8 atomic | Images on the node.
  nodeInfo NodeSystemInfo @7 | About the machine.
  phase string @3 | Deprecated.
  runtimeHandlers any @12 | Runtimes.
  volumesAttached any @10 | Attached volumes.
  volumesInUse [string] @9 atomic | Volumes in use.
ContainerImage: An image on a node.
  names [string] @1 atomic | Names.
  sizeBytes int @2 | Size in bytes.
NodeAddress: An address of a node.
  address! string @2 | The address.
  type! string @1 | Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.
NodeCondition: One aspect of a node's state.
  lastHeartbeatTime time @3 | When last heard of.
  lastTransitionTime time @4 | When the status last changed.
  message string @6 | Details for people.
  reason string @5 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
NodeDaemonEndpoints: Ports of daemons.
  kubeletEndpoint DaemonEndpoint @1 | The kubelet's.
DaemonEndpoint: A daemon's port.
  Port! int @1 | The port.
NodeSystemInfo: About the machine.
  architecture! string @10 | Architecture.
  bootID! string @3 | Boot ID.
  containerRuntimeVersion! string @6 | Container runtime.
  kernelVersion! string @4 | Kernel.
  kubeProxyVersion! string @8 | kube-proxy.
  kubeletVersion! string @7 | kubelet.
  machineID! string @1 | Machine ID.
  operatingSystem! string @9 | Operating system.
  osImage! string @5 | OS image.
  swap any @11 | Swap.
  systemUUID! string @2 | System UUID.
Service: A named set of pods behind one virtual address.
  metadata ObjectMeta @1 | Standard object metadata.
  spec ServiceSpec @2 | Desired behaviour.
  status ServiceStatus @3 | Last observed state. Read-only.
ServiceSpec: Desired behaviour of a service.
  allocateLoadBalancerNodePorts bool @20 | Whether a LoadBalancer also gets node ports. Default true.
  clusterIP string @3 | Virtual address; None for headless; assigned when empty.
  clusterIPs [string] @18 atomic | Virtual addresses; the first equals clusterIP.
  externalIPs [string] @5 atomic | More addresses that nodes accept traffic for.
  externalName string @10 | The name a CNAME points to, for type ExternalName.
  externalTrafficPolicy string @11 (Cluster|Local) | Cluster or Local.
  healthCheckNodePort int @12 | Port of the health check with policy Local.
  internalTrafficPolicy string @22 (Cluster|Local) | Cluster or Local.
  ipFamilies [string] @19 atomic | IP families.
  ipFamilyPolicy string @17 | SingleStack, PreferDualStack or RequireDualStack.
  loadBalancerClass string @21 | Class of the load balancer.
  loadBalancerIP string @8 | Deprecated.
  loadBalancerSourceRanges [string] @9 atomic | Client ranges allowed.
  ports [ServicePort] @1 key=port,protocol | Ports.
  publishNotReadyAddresses bool @13 | Whether endpoints that are not ready are published.
  selector {string} @2 atomic | Labels of the pods.
  sessionAffinity string @7 =None (None|ClientIP) | None or ClientIP.
  sessionAffinityConfig SessionAffinityConfig @14 | Affinity options.
  trafficDistribution string @23 | Preference among endpoints.
  type string @4 =ClusterIP (ClusterIP|NodePort|LoadBalancer|ExternalName) | How the service is exposed.
ServicePort: A port of a service.
  appProtocol string @6 | Application protocol.
  name string @1 | Name; required when there are several.
  nodePort int @5 | Port on every node.
  port! int @3 | Port of the service.
  protocol string @2 =TCP (TCP|UDP|SCTP) | Protocol.
  targetPort intstr @4 | Number or name of the port on the pods; by default port.
SessionAffinityConfig: Affinity options.
  clientIP ClientIPConfig @1 | For ClientIP.
ClientIPConfig: ClientIP affinity.
  timeoutSeconds int @1 | How long it sticks.
ServiceStatus: State of a service.
  conditions [Condition] @2 key=type | Conditions.
  loadBalancer LoadBalancerStatus @1 | The load balancer.
LoadBalancerStatus: State of a load balancer.
  ingress [LoadBalancerIngress] @1 atomic | Where it is reached.
LoadBalancerIngress: One address of a load balancer.
  hostname string @2 | Host name.
  ip string @1 | Address.
  ipMode string @3 | VIP or Proxy.
  ports [PortStatus] @4 atomic | State of ports.
PortStatus: State of a port.
  error string @3 | What is wrong.
  port! int @1 | The port.
  protocol! string @2 | The protocol.
Endpoints: The addresses behind a service, in one object.
  metadata ObjectMeta @1 | Standard object metadata.
  subsets [EndpointSubset] @2 atomic | Addresses and ports.
EndpointSubset: Addresses with common ports.
  addresses [EndpointAddress] @1 atomic | Ready ones.
  notReadyAddresses [EndpointAddress] @2 atomic | Others.
  ports [CoreEndpointPort] @3 atomic | Ports.
EndpointAddress: One address.
  hostname string @3 | Host name.
  ip! string @1 | The address.
  nodeName string @4 | The node.
  targetRef ObjectReference @2 atomic | The object behind it.
CoreEndpointPort: A port.
  appProtocol string @4 | Application protocol.
  name string @1 | Name.
  port! int @2 | Number.
  protocol string @3 | Protocol.
EndpointSlice: A part of the endpoints of a service.
  addressType! string @4 (IPv4|IPv6|FQDN) | What the addresses are; cannot be changed.
  endpoints! [Endpoint] @2 atomic | The endpoints.
  metadata ObjectMeta @1 | Standard object metadata.
  ports [EndpointPort] @3 atomic | Ports of each endpoint.
Endpoint: One backend.
  addresses! [string] @1 set | Addresses of the backend.
  conditions EndpointConditions @2 | Its state.
  deprecatedTopology {string} @5 | Deprecated.
  hints EndpointHints @8 | Who should use it.
  hostname string @3 | Host name.
  nodeName string @6 | The node.
  targetRef ObjectReference @4 | The object behind it.
  zone string @7 | The zone.
EndpointConditions: State of a backend.
  ready bool @1 | It may get traffic.
  serving bool @2 | It serves, even when terminating.
  terminating bool @3 | It is being stopped.
EndpointHints: Who should use a backend.
  forNodes [ForNode] @2 atomic | Nodes.
  forZones [ForZone] @1 atomic | Zones.
ForZone: A zone.
  name! string @1 | Its name.
ForNode: A node.
  name! string @1 | Its name.
EndpointPort: A port of the endpoints.
  appProtocol string @4 | Application protocol.
  name string @1 = | Name; the service port's.
  port int @3 | Number.
  protocol string @2 =TCP | Protocol.
ServiceAccount: An identity for programs.
  automountServiceAccountToken bool @4 | Whether pods get a token mounted. Default true.
  imagePullSecrets [LocalObjectReference] @3 atomic | Secrets for pulling images.
  metadata ObjectMeta @1 | Standard object metadata.
  secrets [ObjectReference] @2 key=name | Secrets that pods of this account may use.
Secret: Small secret data.
  data {bytes} @2 | Values, base64 encoded.
  immutable bool @5 | Whether data can no longer change.
  metadata ObjectMeta @1 | Standard object metadata.
  stringData {string} @4 | Values to write as text; never returned.
  type string @3 =Opaque | What the secret holds; cannot be changed.
ConfigMap: Configuration data.
  binaryData {bytes} @3 | Values that are not text, base64 encoded.
  data {string} @2 | Values.
  immutable bool @4 | Whether data can no longer change.
  metadata ObjectMeta @1 | Standard object metadata.
Lease: A lock or heartbeat.
  metadata ObjectMeta @1 | Standard object metadata.
  spec LeaseSpec @2 | The lease.
LeaseSpec: A lease.
  acquireTime time @3 | When it was acquired.
  holderIdentity string @1 | Who holds it.
  leaseDurationSeconds int @2 >=1 | How long it lasts without renewal.
  leaseTransitions int @5 | How often the holder changed.
  preferredHolder string @7 | Who should hold it.
  renewTime time @4 | When it was last renewed.
  strategy string @6 | How the holder is chosen.
Event: Something that happened to an object.
  action string @12 | What was done.
  count int @8 | How often.
  eventTime time @10 | When first seen.
  firstTimestamp time @6 | When first seen.
  involvedObject! ObjectReference @2 | The object.
  lastTimestamp time @7 | When last seen.
  message string @4 | Details for people.
  metadata! ObjectMeta @1 | Standard object metadata.
  reason string @3 | One CamelCase word.
  related ObjectReference @13 | A second object.
  reportingComponent string @14 = | Who reports.
  reportingInstance string @15 = | Which instance.
  series EventSeries @11 | Repetitions.
  source EventSource @5 | Who reports.
  type string @9 | Normal or Warning.
EventSource: Who reports an event.
  component string @1 | Component.
  host string @2 | Node.
EventSeries: Repetitions of an event.
  count int @1 | How often.
  lastObservedTime time @2 | When last seen.
NewEvent: Something that happened to an object.
  action string @6 | What was done.
  deprecatedCount int @15 | How often.
  deprecatedFirstTimestamp time @13 | When first seen.
  deprecatedLastTimestamp time @14 | When last seen.
  deprecatedSource EventSource @12 | Who reports.
  eventTime! time @2 | When first seen.
  metadata ObjectMeta @1 | Standard object metadata.
  note string @10 | Details for people.
  reason string @7 | One CamelCase word.
  regarding ObjectReference @8 | The object.
  related ObjectReference @9 | A second object.
  reportingController string @4 | Who reports.
  reportingInstance string @5 | Which instance.
  series NewEventSeries @3 | Repetitions.
  type string @11 | Normal or Warning.
NewEventSeries: Repetitions of an event.
  count! int @1 | How often.
  lastObservedTime! time @2 | When last seen.
Binding: Ties an object to another; for example a pod to a node.
  metadata ObjectMeta @1 | Standard object metadata.
  target! ObjectReference @2 | What it is tied to.
"""
