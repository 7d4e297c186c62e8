"""The core group's other kinds, EndpointSlice, Lease and events.k8s.io."""

TYPES = """
Namespace: A scope for names.
  metadata ObjectMeta | Standard object metadata.
  spec NamespaceSpec | Desired behaviour.
  status NamespaceStatus | Current state. Read-only.
NamespaceSpec: Desired behaviour of a namespace.
  finalizers [string] atomic | Must be empty before the namespace is removed.
NamespaceStatus: State of a namespace.
  conditions [NamespaceCondition] key=type | Conditions.
  phase string | Active or Terminating.
NamespaceCondition: One aspect of a namespace's state.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
Node: A worker.
  metadata ObjectMeta | Standard object metadata.
  spec NodeSpec | Desired behaviour.
  status NodeStatus | Last observed state. Read-only.
NodeSpec: Desired behaviour of a node.
  configSource any | Deprecated.
  externalID string | Deprecated.
  podCIDR string | The node's pod range.
  podCIDRs [string] set | The node's pod ranges.
  providerID string | The cloud's identifier.
  taints [Taint] atomic | Taints.
  unschedulable bool | Whether new pods are kept away.
Taint: Keeps pods away that do not tolerate it.
  effect! string | NoSchedule, PreferNoSchedule or NoExecute.
  key! string | Key.
  timeAdded time | When it was added.
  value string | Value.
NodeStatus: State of a node.
  addresses [NodeAddress] key=type | Addresses.
  allocatable {quantity} | Resources for pods.
  capacity {quantity} | Resources in all.
  conditions [NodeCondition] key=type | Conditions.
  config any | Deprecated.
  daemonEndpoints NodeDaemonEndpoints | Ports of daemons.
  features any | Features of the runtime.
  images [ContainerImage] atomic | Images on the node.
  nodeInfo NodeSystemInfo | About the machine.
  phase string | Deprecated.
  runtimeHandlers any | Runtimes.
  volumesAttached any | Attached volumes.
  volumesInUse [string] atomic | Volumes in use.
ContainerImage: An image on a node.
  names [string] atomic | Names.
  sizeBytes int | Size in bytes.
NodeAddress: An address of a node.
  address! string | The address.
  type! string | Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.
NodeCondition: One aspect of a node's state.
  lastHeartbeatTime time | When last heard of.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
NodeDaemonEndpoints: Ports of daemons.
  kubeletEndpoint DaemonEndpoint | The kubelet's.
DaemonEndpoint: A daemon's port.
  Port! int | The port.
NodeSystemInfo: About the machine.
  architecture! string | Architecture.
  bootID! string | Boot ID.
  containerRuntimeVersion! string | Container runtime.
  kernelVersion! string | Kernel.
  kubeProxyVersion! string | kube-proxy.
  kubeletVersion! string | kubelet.
  machineID! string | Machine ID.
  operatingSystem! string | Operating system.
  osImage! string | OS image.
  swap any | Swap.
  systemUUID! string | System UUID.
Service: A named set of pods behind one virtual address.
  metadata ObjectMeta | Standard object metadata.
  spec ServiceSpec | Desired behaviour.
  status ServiceStatus | Last observed state. Read-only.
ServiceSpec: Desired behaviour of a service.
  allocateLoadBalancerNodePorts bool | Whether a LoadBalancer also gets node ports. Default true.
  clusterIP string | Virtual address; None for headless; assigned when empty.
  clusterIPs [string] atomic | Virtual addresses; the first equals clusterIP.
  externalIPs [string] atomic | More addresses that nodes accept traffic for.
  externalName string | The name a CNAME points to, for type ExternalName.
  externalTrafficPolicy string (Cluster|Local) | Cluster or Local.
  healthCheckNodePort int | Port of the health check with policy Local.
  internalTrafficPolicy string (Cluster|Local) | Cluster or Local.
  ipFamilies [string] atomic | IP families.
  ipFamilyPolicy string | SingleStack, PreferDualStack or RequireDualStack.
  loadBalancerClass string | Class of the load balancer.
  loadBalancerIP string | Deprecated.
  loadBalancerSourceRanges [string] atomic | Client ranges allowed.
  ports [ServicePort] key=port,protocol | Ports.
  publishNotReadyAddresses bool | Whether endpoints that are not ready are published.
  selector {string} atomic | Labels of the pods.
  sessionAffinity string =None (None|ClientIP) | None or ClientIP.
  sessionAffinityConfig SessionAffinityConfig | Affinity options.
  trafficDistribution string | Preference among endpoints.
  type string =ClusterIP (ClusterIP|NodePort|LoadBalancer|ExternalName) | How the service is exposed.
ServicePort: A port of a service.
  appProtocol string | Application protocol.
  name string | Name; required when there are several.
  nodePort int | Port on every node.
  port! int | Port of the service.
  protocol string =TCP (TCP|UDP|SCTP) | Protocol.
  targetPort intstr | Number or name of the port on the pods; by default port.
SessionAffinityConfig: Affinity options.
  clientIP ClientIPConfig | For ClientIP.
ClientIPConfig: ClientIP affinity.
  timeoutSeconds int | How long it sticks.
ServiceStatus: State of a service.
  conditions [Condition] key=type | Conditions.
  loadBalancer LoadBalancerStatus | The load balancer.
LoadBalancerStatus: State of a load balancer.
  ingress [LoadBalancerIngress] atomic | Where it is reached.
LoadBalancerIngress: One address of a load balancer.
  hostname string | Host name.
  ip string | Address.
  ipMode string | VIP or Proxy.
  ports [PortStatus] atomic | State of ports.
PortStatus: State of a port.
  error string | What is wrong.
  port! int | The port.
  protocol! string | The protocol.
Endpoints: The addresses behind a service, in one object.
  metadata ObjectMeta | Standard object metadata.
  subsets [EndpointSubset] atomic | Addresses and ports.
EndpointSubset: Addresses with common ports.
  addresses [EndpointAddress] atomic | Ready ones.
  notReadyAddresses [EndpointAddress] atomic | Others.
  ports [CoreEndpointPort] atomic | Ports.
EndpointAddress: One address.
  hostname string | Host name.
  ip! string | The address.
  nodeName string | The node.
  targetRef ObjectReference atomic | The object behind it.
CoreEndpointPort: A port.
  appProtocol string | Application protocol.
  name string | Name.
  port! int | Number.
  protocol string | Protocol.
EndpointSlice: A part of the endpoints of a service.
  addressType! string (IPv4|IPv6|FQDN) | What the addresses are; cannot be changed.
  endpoints! [Endpoint] atomic | The endpoints.
  metadata ObjectMeta | Standard object metadata.
  ports [EndpointPort] atomic | Ports of each endpoint.
Endpoint: One backend.
  addresses! [string] set | Addresses of the backend.
  conditions EndpointConditions | Its state.
  deprecatedTopology {string} | Deprecated.
  hints EndpointHints | Who should use it.
  hostname string | Host name.
  nodeName string | The node.
  targetRef ObjectReference | The object behind it.
  zone string | The zone.
EndpointConditions: State of a backend.
  ready bool | It may get traffic.
  serving bool | It serves, even when terminating.
  terminating bool | It is being stopped.
EndpointHints: Who should use a backend.
  forNodes [ForNode] atomic | Nodes.
  forZones [ForZone] atomic | Zones.
ForZone: A zone.
  name! string | Its name.
ForNode: A node.
  name! string | Its name.
EndpointPort: A port of the endpoints.
  appProtocol string | Application protocol.
  name string = | Name; the service port's.
  port int | Number.
  protocol string =TCP | Protocol.
ServiceAccount: An identity for programs.
  automountServiceAccountToken bool | Whether pods get a token mounted. Default true.
  imagePullSecrets [LocalObjectReference] atomic | Secrets for pulling images.
  metadata ObjectMeta | Standard object metadata.
  secrets [ObjectReference] key=name | Secrets that pods of this account may use.
Secret: Small secret data.
  data {bytes} | Values, base64 encoded.
  immutable bool | Whether data can no longer change.
  metadata ObjectMeta | Standard object metadata.
  stringData {string} | Values to write as text; never returned.
  type string =Opaque | What the secret holds; cannot be changed.
ConfigMap: Configuration data.
  binaryData {bytes} | Values that are not text, base64 encoded.
  data {string} | Values.
  immutable bool | Whether data can no longer change.
  metadata ObjectMeta | Standard object metadata.
Lease: A lock or heartbeat.
  metadata ObjectMeta | Standard object metadata.
  spec LeaseSpec | The lease.
LeaseSpec: A lease.
  acquireTime time | When it was acquired.
  holderIdentity string | Who holds it.
  leaseDurationSeconds int >=1 | How long it lasts without renewal.
  leaseTransitions int | How often the holder changed.
  preferredHolder string | Who should hold it.
  renewTime time | When it was last renewed.
  strategy string | How the holder is chosen.
Event: Something that happened to an object.
  action string | What was done.
  count int | How often.
  eventTime time | When first seen.
  firstTimestamp time | When first seen.
  involvedObject! ObjectReference | The object.
  lastTimestamp time | When last seen.
  message string | Details for people.
  metadata! ObjectMeta | Standard object metadata.
  reason string | One CamelCase word.
  related ObjectReference | A second object.
  reportingComponent string = | Who reports.
  reportingInstance string = | Which instance.
  series EventSeries | Repetitions.
  source EventSource | Who reports.
  type string | Normal or Warning.
EventSource: Who reports an event.
  component string | Component.
  host string | Node.
EventSeries: Repetitions of an event.
  count int | How often.
  lastObservedTime time | When last seen.
NewEvent: Something that happened to an object.
  action string | What was done.
  deprecatedCount int | How often.
  deprecatedFirstTimestamp time | When first seen.
  deprecatedLastTimestamp time | When last seen.
  deprecatedSource EventSource | Who reports.
  eventTime! time | When first seen.
  metadata ObjectMeta | Standard object metadata.
  note string | Details for people.
  reason string | One CamelCase word.
  regarding ObjectReference | The object.
  related ObjectReference | A second object.
  reportingController string | Who reports.
  reportingInstance string | Which instance.
  series NewEventSeries | Repetitions.
  type string | Normal or Warning.
NewEventSeries: Repetitions of an event.
  count! int | How often.
  lastObservedTime! time | When last seen.
Binding: Ties an object to another; for example a pod to a node.
  metadata ObjectMeta | Standard object metadata.
  target! ObjectReference | What it is tied to.
"""
