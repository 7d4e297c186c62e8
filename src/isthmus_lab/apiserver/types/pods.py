"""Pods, containers and volumes."""

TYPES = """
Pod: A group of containers that run together on a node.
  metadata ObjectMeta @1 | Standard object metadata.
  spec PodSpec @2 | Desired behaviour of the pod.
  status PodStatus @3 | Last observed state. Read-only.
PodTemplateSpec: What a pod should be when made from a template.
  metadata ObjectMeta @1 | Standard object metadata.
  spec PodSpec @2 | Desired behaviour of the pod.
PodSpec: Describes a pod.
  activeDeadlineSeconds int @5 | Seconds the pod may be active before it is failed.
  affinity Affinity @18 | Scheduling constraints.
  automountServiceAccountToken bool @21 | Whether a token of the service account is mounted. Default true.
  containers! [Container] @2 key=name | Containers of the pod; at least one.
  dnsConfig PodDNSConfig @26 | DNS parameters, merged with what dnsPolicy gives.
  dnsPolicy string @6 =ClusterFirst (ClusterFirstWithHostNet|ClusterFirst|Default|None) | How the pod resolves names.
  enableServiceLinks bool @30 =true | Whether services are injected as environment variables.
  ephemeralContainers [EphemeralContainer] @34 key=name | Containers run for debugging.
  hostAliases [HostAlias] @23 key=ip | Entries of the pod's hosts file.
  hostIPC bool @13 | Use the host's IPC namespace.
  hostNetwork bool @11 | Use the host's network namespace.
  hostPID bool @12 | Use the host's PID namespace.
  hostUsers bool @37 | Use the host's user namespace.
  hostname string @16 | Host name of the pod.
  imagePullSecrets [LocalObjectReference] @15 key=name | Secrets for pulling images.
  initContainers [Container] @20 key=name | Run in order before the others; with restartPolicy Always they are sidecars.
  nodeName string @10 | The node that runs the pod; set by the scheduler.
  nodeSelector {string} @7 atomic | Labels that the node must have.
  os PodOS @36 | Operating system of the containers.
  overhead {quantity} @32 | Resource overhead of the runtime class.
  preemptionPolicy string @31 | PreemptLowerPriority or Never.
  priority int @25 | Priority value.
  priorityClassName string @24 | Priority class.
  readinessGates [PodReadinessGate] @28 atomic | Conditions that must be True for the pod to be ready.
  resourceClaims [PodResourceClaim] @39 key=name | Resource claims that must be allocated first.
  resources ResourceRequirements @40 | Resources of the whole pod.
  restartPolicy string @3 =Always (Always|OnFailure|Never) | What happens to containers that exit.
  runtimeClassName string @29 | RuntimeClass that runs the pod.
  schedulerName string @19 =default-scheduler | Scheduler that places the pod.
  schedulingGates [PodSchedulingGate] @38 key=name | Blocks scheduling while not empty.
  securityContext PodSecurityContext @14 | Security attributes of the pod.
  serviceAccount string @9 | Deprecated alias of serviceAccountName.
  serviceAccountName string @8 | The identity the pod runs as.
  setHostnameAsFQDN bool @35 | Use the FQDN as host name.
  shareProcessNamespace bool @27 | Share one process namespace between the containers.
  subdomain string @17 | Subdomain of the pod's FQDN.
  terminationGracePeriodSeconds int @4 =30 >=0 | Seconds between SIGTERM and SIGKILL.
  tolerations [Toleration] @22 atomic | Taints the pod tolerates.
  topologySpreadConstraints [TopologySpreadConstraint] @33 key=topologyKey,whenUnsatisfiable | How pods spread.
  volumes [Volume] @1 key=name retain | Volumes that containers may mount.
PodOS: Operating system of a pod.
  name! string @1 | linux or windows.
PodReadinessGate: A condition that counts for readiness.
  conditionType! string @1 | The condition's type.
PodSchedulingGate: A gate to scheduling.
  name! string @1 | Name of the gate.
PodResourceClaim: A resource claim of the pod.
  name! string @1 | Name within the pod.
  resourceClaimName string @3 | Name of a ResourceClaim.
  resourceClaimTemplateName string @4 | Name of a template.
HostAlias: Host names of an address.
  hostnames [string] @2 atomic | Host names.
  ip! string @1 | Address of the entry.
PodDNSConfig: DNS parameters of a pod.
  nameservers [string] @1 atomic | Name servers.
  options [PodDNSConfigOption] @3 atomic | Resolver options.
  searches [string] @2 atomic | Search domains.
PodDNSConfigOption: A resolver option.
  name string @1 | Name of the option.
  value string @2 | Value of the option.
Toleration: Tolerates a taint.
  effect string @4 (NoSchedule|PreferNoSchedule|NoExecute) | The effect; empty matches all.
  key string @1 | The taint's key; empty matches all.
  operator string @2 | Exists or Equal.
  tolerationSeconds int @5 | How long NoExecute is tolerated.
  value string @3 | The taint's value.
TopologySpreadConstraint: How to spread pods over a topology.
  labelSelector LabelSelector @4 | Pods that are counted.
  matchLabelKeys [string] @8 atomic | Labels whose values join the selector.
  maxSkew! int @1 | Greatest allowed difference.
  minDomains int @5 | Least number of domains.
  nodeAffinityPolicy string @6 | Honor or Ignore.
  nodeTaintsPolicy string @7 | Honor or Ignore.
  topologyKey! string @2 | Node label that makes a domain.
  whenUnsatisfiable! string @3 | DoNotSchedule or ScheduleAnyway.
Affinity: Scheduling constraints.
  nodeAffinity NodeAffinity @1 | By node labels.
  podAffinity PodAffinity @2 | Near other pods.
  podAntiAffinity PodAntiAffinity @3 | Away from other pods.
NodeAffinity: Constraints on node labels.
  preferredDuringSchedulingIgnoredDuringExecution [PreferredSchedulingTerm] @2 atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution NodeSelector @1 atomic | Requirements.
PreferredSchedulingTerm: A weighted preference.
  preference! NodeSelectorTerm @2 | What is preferred.
  weight! int @1 | 1 to 100.
NodeSelector: Alternatives of node requirements.
  nodeSelectorTerms! [NodeSelectorTerm] @1 atomic | Terms of which one must hold.
NodeSelectorTerm: Requirements that must all hold.
  matchExpressions [NodeSelectorRequirement] @1 atomic | On labels.
  matchFields [NodeSelectorRequirement] @2 atomic | On fields.
NodeSelectorRequirement: A key, an operator and values.
  key! string @1 | The label key.
  operator! string @2 | In, NotIn, Exists, DoesNotExist, Gt or Lt.
  values [string] @3 atomic | Values.
PodAffinity: Near other pods.
  preferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm] @2 atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm] @1 atomic | Requirements.
PodAntiAffinity: Away from other pods.
  preferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm] @2 atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm] @1 atomic | Requirements.
WeightedPodAffinityTerm: A weighted term.
  podAffinityTerm! PodAffinityTerm @2 | The term.
  weight! int @1 | 1 to 100.
PodAffinityTerm: Pods and a topology.
  labelSelector LabelSelector @1 | The pods.
  matchLabelKeys [string] @5 atomic | Labels whose values join the selector.
  mismatchLabelKeys [string] @6 atomic | Labels whose values must differ.
  namespaceSelector LabelSelector @4 | Namespaces by label.
  namespaces [string] @2 atomic | Namespaces by name.
  topologyKey! string @3 | Node label that makes a domain.
PodSecurityContext: Security attributes of a pod.
  appArmorProfile AppArmorProfile @11 | AppArmor options.
  fsGroup int @5 | Group that owns volumes.
  fsGroupChangePolicy string @9 | When ownership is changed.
  runAsGroup int @6 | Primary group of the processes.
  runAsNonRoot bool @3 | Refuse to run as root.
  runAsUser int @2 | User of the processes.
  seLinuxChangePolicy string @13 | How volumes are labelled.
  seLinuxOptions SELinuxOptions @1 | SELinux context.
  seccompProfile SeccompProfile @10 | Seccomp options.
  supplementalGroups [int] @4 atomic | More groups.
  supplementalGroupsPolicy string @12 | Merge or Strict.
  sysctls [Sysctl] @7 atomic | Kernel parameters of the pod's namespaces.
  windowsOptions any @8 | Options for Windows.
Sysctl: A kernel parameter.
  name! string @1 | Name.
  value! string @2 | Value.
SELinuxOptions: SELinux labels.
  level string @4 | Level.
  role string @2 | Role.
  type string @3 | Type.
  user string @1 | User.
SeccompProfile: Seccomp options.
  localhostProfile string @2 | A profile on the node.
  type! string @1 | Localhost, RuntimeDefault or Unconfined.
AppArmorProfile: AppArmor options.
  localhostProfile string @2 | A profile on the node.
  type! string @1 | Localhost, RuntimeDefault or Unconfined.
SecurityContext: Security attributes of a container.
  allowPrivilegeEscalation bool @7 | Whether a process can gain privileges.
  appArmorProfile AppArmorProfile @12 | AppArmor options.
  capabilities Capabilities @1 | Capabilities to add and drop.
  privileged bool @2 | Run privileged.
  procMount string @9 | Kind of proc mount.
  readOnlyRootFilesystem bool @6 | Whether the root is read-only.
  runAsGroup int @8 | Primary group.
  runAsNonRoot bool @5 | Refuse to run as root.
  runAsUser int @4 | User.
  seLinuxOptions SELinuxOptions @3 | SELinux context.
  seccompProfile SeccompProfile @11 | Seccomp options.
  windowsOptions any @10 | Options for Windows.
Capabilities: POSIX capabilities.
  add [string] @1 atomic | Added.
  drop [string] @2 atomic | Removed.
Container: One program of a pod.
  args [string] @4 atomic | Arguments of the entrypoint; $(VAR) is expanded.
  command [string] @3 atomic | Entrypoint, not run in a shell.
  env [EnvVar] @7 key=name | Environment variables.
  envFrom [EnvFromSource] @19 atomic | Sources of many environment variables.
  image string @2 | Image name.
  imagePullPolicy string @14 (Always|Never|IfNotPresent) | When to pull.
  lifecycle Lifecycle @12 | Hooks.
  livenessProbe Probe @10 | Restarts the container when it fails.
  name! string @1 | Name, unique in the pod.
  ports [ContainerPort] @6 key=containerPort,protocol | Ports the container exposes.
  readinessProbe Probe @11 | Takes the pod out of services while it fails.
  resizePolicy [ContainerResizePolicy] @23 atomic | How resources are resized.
  resources ResourceRequirements @8 | Resources the container needs.
  restartPolicy string @24 (Always) | Always makes an init container a sidecar.
  securityContext SecurityContext @15 | Security options.
  startupProbe Probe @22 | Holds the other probes until it succeeds.
  stdin bool @16 | Keep standard input open.
  stdinOnce bool @17 | Close it after the first session.
  terminationMessagePath string @13 =/dev/termination-log | File with the last message.
  terminationMessagePolicy string @20 =File | File or FallbackToLogsOnError.
  tty bool @18 | Allocate a terminal.
  volumeDevices [VolumeDevice] @21 key=devicePath | Block devices.
  volumeMounts [VolumeMount] @9 key=mountPath | Volumes mounted into the container.
  workingDir string @5 | Working directory.
EphemeralContainer: A container run for debugging.
  args [string] @1.4 atomic | Arguments.
  command [string] @1.3 atomic | Entrypoint.
  env [EnvVar] @1.7 key=name | Environment variables.
  envFrom [EnvFromSource] @1.19 atomic | Sources of many environment variables.
  image string @1.2 | Image name.
  imagePullPolicy string @1.14 | When to pull.
  lifecycle Lifecycle @1.12 | Not allowed.
  livenessProbe Probe @1.10 | Not allowed.
  name! string @1.1 | Name, unique in the pod.
  ports [ContainerPort] @1.6 key=containerPort,protocol | Not allowed.
  readinessProbe Probe @1.11 | Not allowed.
  resizePolicy [ContainerResizePolicy] @1.23 atomic | How resources are resized.
  resources ResourceRequirements @1.8 | Not allowed.
  restartPolicy string @1.24 | Not allowed.
  securityContext SecurityContext @1.15 | Security options.
  startupProbe Probe @1.22 | Not allowed.
  stdin bool @1.16 | Keep standard input open.
  stdinOnce bool @1.17 | Close it after the first session.
  targetContainerName string @2 | Container whose namespaces are used.
  terminationMessagePath string @1.13 | File with the last message.
  terminationMessagePolicy string @1.20 | File or FallbackToLogsOnError.
  tty bool @1.18 | Allocate a terminal.
  volumeDevices [VolumeDevice] @1.21 key=devicePath | Block devices.
  volumeMounts [VolumeMount] @1.9 key=mountPath | Volumes mounted into the container.
  workingDir string @1.5 | Working directory.
ContainerResizePolicy: How one resource is resized.
  resourceName! string @1 | cpu or memory.
  restartPolicy! string @2 | NotRequired or RestartContainer.
ContainerPort: A port of a container.
  containerPort! int @3 | The port in the pod.
  hostIP string @5 | Host address to bind.
  hostPort int @2 | Port on the host.
  name string @1 | Name, unique in the pod, usable by services.
  protocol string @4 =TCP (TCP|UDP|SCTP) | Protocol.
EnvVar: An environment variable.
  name! string @1 | Name.
  value string @2 | Value; $(VAR) is expanded.
  valueFrom EnvVarSource @3 | Source of the value.
EnvVarSource: Where a value comes from.
  configMapKeyRef ConfigMapKeySelector @3 atomic | A key of a ConfigMap.
  fieldRef ObjectFieldSelector @1 atomic | A field of the pod.
  resourceFieldRef ResourceFieldSelector @2 atomic | A resource of the container.
  secretKeyRef SecretKeySelector @4 atomic | A key of a Secret.
ConfigMapKeySelector: A key of a ConfigMap.
  key! string @2 | The key.
  name string @1.1 | The ConfigMap.
  optional bool @3 | Whether it may be missing.
SecretKeySelector: A key of a Secret.
  key! string @2 | The key.
  name string @1.1 | The Secret.
  optional bool @3 | Whether it may be missing.
ObjectFieldSelector: A field of the object.
  apiVersion string @1 =v1 | Version of the path's schema.
  fieldPath! string @2 | Path of the field.
ResourceFieldSelector: A resource of a container.
  containerName string @1 | The container.
  divisor quantity @3 | Unit of the value.
  resource! string @2 | The resource.
EnvFromSource: Source of many environment variables.
  configMapRef ConfigMapEnvSource @2 | A ConfigMap.
  prefix string @1 | Prefix of each key.
  secretRef SecretEnvSource @3 | A Secret.
ConfigMapEnvSource: A ConfigMap.
  name string @1.1 | Its name.
  optional bool @2 | Whether it may be missing.
SecretEnvSource: A Secret.
  name string @1.1 | Its name.
  optional bool @2 | Whether it may be missing.
Lifecycle: Hooks of a container.
  postStart LifecycleHandler @1 | After it started.
  preStop LifecycleHandler @2 | Before it is stopped.
  stopSignal string @3 | Signal that stops the container.
LifecycleHandler: A hook's action.
  exec ExecAction @1 | A command.
  httpGet HTTPGetAction @2 | An HTTP request.
  sleep SleepAction @4 | A pause.
  tcpSocket TCPSocketAction @3 | A connection.
Probe: A periodic check of a container.
  exec ExecAction @1.1 | A command that must exit with 0.
  failureThreshold int @6 =3 >=1 | Failures in a row that count.
  grpc GRPCAction @1.4 | A gRPC health check.
  httpGet HTTPGetAction @1.2 | An HTTP request that must answer 200 to 399.
  initialDelaySeconds int @2 >=0 | Seconds before the first check.
  periodSeconds int @4 =10 >=1 | Seconds between checks.
  successThreshold int @5 =1 >=1 | Successes in a row that count.
  tcpSocket TCPSocketAction @1.3 | A connection that must open.
  terminationGracePeriodSeconds int @7 | Grace when this probe kills.
  timeoutSeconds int @3 =1 >=1 | Seconds one check may take.
ExecAction: A command.
  command [string] @1 atomic | The command line, not run in a shell.
GRPCAction: A gRPC health check.
  port! int @1 | Port.
  service string @2 | Service to ask for.
HTTPGetAction: An HTTP request.
  host string @3 | Host to connect to, by default the pod's address.
  httpHeaders [HTTPHeader] @5 atomic | Headers.
  path string @1 =/ | Path.
  port! intstr @2 | Number or name of the port.
  scheme string @4 =HTTP (HTTP|HTTPS) | Scheme.
HTTPHeader: A header.
  name! string @1 | Name.
  value! string @2 | Value.
SleepAction: A pause.
  seconds! int @1 | Seconds.
TCPSocketAction: A connection.
  host string @2 | Host to connect to, by default the pod's address.
  port! intstr @1 | Number or name of the port.
ResourceRequirements: Compute resources.
  claims [ResourceClaim] @3 key=name | Claims of the pod used here.
  limits {quantity} @1 | The most that may be used.
  requests {quantity} @2 | The least that is needed.
ResourceClaim: A claim of the pod.
  name! string @1 | Name of the claim.
  request string @2 | Name of the request in it.
VolumeDevice: A block device in a container.
  devicePath! string @2 | Path in the container.
  name! string @1 | Name of the claim's volume.
VolumeMount: A volume in a container.
  mountPath! string @3 | Path in the container.
  mountPropagation string @5 | How mounts propagate.
  name! string @1 | Name of the volume.
  readOnly bool @2 | Whether it is read-only.
  recursiveReadOnly string @7 | Whether that is recursive.
  subPath string @4 | Path inside the volume.
  subPathExpr string @6 | The same with $(VAR) expanded.
Volume: A directory that containers may mount.
  awsElasticBlockStore any @2.4 | Not served here.
  azureDisk any @2.22 | Not served here.
  azureFile any @2.18 | Not served here.
  cephfs any @2.14 | Not served here.
  cinder any @2.13 | Not served here.
  configMap ConfigMapVolumeSource @2.19 | A ConfigMap's keys as files.
  csi CSIVolumeSource @2.28 | A CSI driver's volume.
  downwardAPI DownwardAPIVolumeSource @2.16 | The pod's fields as files.
  emptyDir EmptyDirVolumeSource @2.2 | An empty directory that lives as long as the pod.
  ephemeral any @2.29 | A claim made for the pod.
  fc any @2.17 | Not served here.
  flexVolume any @2.12 | Not served here.
  flocker any @2.15 | Not served here.
  gcePersistentDisk any @2.3 | Not served here.
  gitRepo any @2.5 | Deprecated.
  glusterfs any @2.9 | Not served here.
  hostPath HostPathVolumeSource @2.1 | A path of the node.
  image ImageVolumeSource @2.30 | An image's files.
  iscsi any @2.8 | Not served here.
  name! string @1 | Name of the volume.
  nfs any @2.7 | Not served here.
  persistentVolumeClaim PersistentVolumeClaimVolumeSource @2.10 | A claim.
  photonPersistentDisk any @2.23 | Not served here.
  portworxVolume any @2.24 | Not served here.
  projected ProjectedVolumeSource @2.26 | Several sources in one directory.
  quobyte any @2.21 | Not served here.
  rbd any @2.11 | Not served here.
  scaleIO any @2.25 | Not served here.
  secret SecretVolumeSource @2.6 | A Secret's keys as files.
  storageos any @2.27 | Not served here.
  vsphereVolume any @2.20 | Not served here.
ImageVolumeSource: An image's files.
  pullPolicy string @2 | When to pull.
  reference string @1 | The image.
PersistentVolumeClaimVolumeSource: A claim.
  claimName! string @1 | Its name.
  readOnly bool @2 | Whether it is read-only.
CSIVolumeSource: A CSI driver's volume.
  driver! string @1 | The driver.
  fsType string @3 | File system.
  nodePublishSecretRef LocalObjectReference @5 | A secret for the driver.
  readOnly bool @2 | Whether it is read-only.
  volumeAttributes {string} @4 | Driver specific.
ConfigMapVolumeSource: A ConfigMap's keys as files.
  defaultMode int @3 =420 | Mode bits of the files.
  items [KeyToPath] @2 atomic | Which keys, and where.
  name string @1.1 | The ConfigMap.
  optional bool @4 | Whether it may be missing.
SecretVolumeSource: A Secret's keys as files.
  defaultMode int @3 =420 | Mode bits of the files.
  items [KeyToPath] @2 atomic | Which keys, and where.
  optional bool @4 | Whether it may be missing.
  secretName string @1 | The Secret.
KeyToPath: A key as a file.
  key! string @1 | The key.
  mode int @3 | Mode bits of the file.
  path! string @2 | Relative path of the file.
DownwardAPIVolumeSource: The pod's fields as files.
  defaultMode int @2 =420 | Mode bits of the files.
  items [DownwardAPIVolumeFile] @1 atomic | The files.
DownwardAPIVolumeFile: One field as a file.
  fieldRef ObjectFieldSelector @2 | A field of the pod.
  mode int @4 | Mode bits of the file.
  path! string @1 | Relative path of the file.
  resourceFieldRef ResourceFieldSelector @3 | A resource of a container.
EmptyDirVolumeSource: An empty directory.
  medium string @1 | Empty or Memory.
  sizeLimit quantity @2 | The most it may hold.
HostPathVolumeSource: A path of the node.
  path! string @1 | The path.
  type string @2 | What must be there.
ProjectedVolumeSource: Several sources in one directory.
  defaultMode int @2 =420 | Mode bits of the files.
  sources [VolumeProjection] @1 atomic | The sources.
VolumeProjection: One source of a projected volume.
  clusterTrustBundle any @5 | Trust anchors.
  configMap ConfigMapProjection @3 | A ConfigMap's keys.
  downwardAPI DownwardAPIProjection @2 | The pod's fields.
  secret SecretProjection @1 | A Secret's keys.
  serviceAccountToken ServiceAccountTokenProjection @4 | A token of the service account.
ConfigMapProjection: A ConfigMap's keys.
  items [KeyToPath] @2 atomic | Which keys, and where.
  name string @1.1 | The ConfigMap.
  optional bool @4 | Whether it may be missing.
DownwardAPIProjection: The pod's fields.
  items [DownwardAPIVolumeFile] @1 atomic | The files.
SecretProjection: A Secret's keys.
  items [KeyToPath] @2 atomic | Which keys, and where.
  name string @1.1 | The Secret.
  optional bool @4 | Whether it may be missing.
ServiceAccountTokenProjection: A token of the service account.
  audience string @1 | Who the token is for; by default the API server.
  expirationSeconds int @2 =3600 | Lifetime asked for.
  path! string @3 | Relative path of the file.
PodStatus: Last observed state of a pod.
  conditions [PodCondition] @2 key=type | Conditions.
  containerStatuses [ContainerStatus] @8 atomic | State of the containers.
  ephemeralContainerStatuses [ContainerStatus] @13 atomic | State of the debugging containers.
  hostIP string @5 | Address of the node.
  hostIPs [HostIP] @16 atomic | Addresses of the node.
  initContainerStatuses [ContainerStatus] @10 atomic | State of the init containers.
  message string @3 | Details for people.
  nominatedNodeName string @11 | Node picked by preemption.
  observedGeneration int @17 | The generation the status was set for.
  phase string @1 | Pending, Running, Succeeded, Failed or Unknown.
  podIP string @6 | Address of the pod.
  podIPs [PodIP] @12 key=ip | Addresses of the pod.
  qosClass string @9 | Quality of service class.
  reason string @4 | One CamelCase word.
  resize string @14 | State of a resize.
  resourceClaimStatuses any @15 | State of claims.
  startTime time @7 | When the kubelet took the pod.
PodCondition: One aspect of a pod's state.
  lastProbeTime time @3 | When last probed.
  lastTransitionTime time @4 | When the status last changed.
  message string @6 | Details for people.
  observedGeneration int @7 | The generation the condition was set for.
  reason string @5 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
PodIP: An address.
  ip! string @1 | The address.
HostIP: An address.
  ip! string @1 | The address.
ContainerStatus: State of a container.
  allocatedResources {quantity} @10 | Resources allocated.
  allocatedResourcesStatus any @14 | Health of devices.
  containerID string @8 | Identifier of the running container.
  image! string @6 | The image that runs.
  imageID! string @7 | Its identifier.
  lastState ContainerState @3 | The state before the last restart.
  name! string @1 | Name of the container.
  ready! bool @4 | Whether its readiness probe succeeds.
  resources ResourceRequirements @11 | Resources in force.
  restartCount! int @5 | How often it was restarted.
  started bool @9 | Whether it started.
  state ContainerState @2 | The current state.
  stopSignal string @15 | Signal that stops the container.
  user any @13 | The user it runs as.
  volumeMounts any @12 | Its mounts.
ContainerState: One of waiting, running, terminated.
  running ContainerStateRunning @2 | It runs.
  terminated ContainerStateTerminated @3 | It exited.
  waiting ContainerStateWaiting @1 | It has not started.
ContainerStateRunning: A running container.
  startedAt time @1 | Since when.
ContainerStateTerminated: A container that exited.
  containerID string @7 | Identifier of the container.
  exitCode! int @1 | Exit code.
  finishedAt time @6 | When it exited.
  message string @4 | Its last message.
  reason string @3 | One CamelCase word.
  signal int @2 | The signal that ended it.
  startedAt time @5 | When it started.
ContainerStateWaiting: A container that has not started.
  message string @2 | Details for people.
  reason string @1 | One CamelCase word.
"""
