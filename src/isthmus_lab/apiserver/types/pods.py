"""Pods, containers and volumes."""

TYPES = """
Pod: A group of containers that run together on a node.
  metadata ObjectMeta | Standard object metadata.
  spec PodSpec | Desired behaviour of the pod.
  status PodStatus | Last observed state. Read-only.
PodTemplateSpec: What a pod should be when made from a template.
  metadata ObjectMeta | Standard object metadata.
  spec PodSpec | Desired behaviour of the pod.
PodSpec: Describes a pod.
  activeDeadlineSeconds int | Seconds the pod may be active before it is failed.
  affinity Affinity | Scheduling constraints.
  automountServiceAccountToken bool | Whether a token of the service account is mounted. Default true.
  containers! [Container] key=name | Containers of the pod; at least one.
  dnsConfig PodDNSConfig | DNS parameters, merged with what dnsPolicy gives.
  dnsPolicy string =ClusterFirst (ClusterFirstWithHostNet|ClusterFirst|Default|None) | How the pod resolves names.
  enableServiceLinks bool =true | Whether services are injected as environment variables.
  ephemeralContainers [EphemeralContainer] key=name | Containers run for debugging.
  hostAliases [HostAlias] key=ip | Entries of the pod's hosts file.
  hostIPC bool | Use the host's IPC namespace.
  hostNetwork bool | Use the host's network namespace.
  hostPID bool | Use the host's PID namespace.
  hostUsers bool | Use the host's user namespace.
  hostname string | Host name of the pod.
  imagePullSecrets [LocalObjectReference] key=name | Secrets for pulling images.
  initContainers [Container] key=name | Run in order before the others; with restartPolicy Always they are sidecars.
  nodeName string | The node that runs the pod; set by the scheduler.
  nodeSelector {string} atomic | Labels that the node must have.
  os PodOS | Operating system of the containers.
  overhead {quantity} | Resource overhead of the runtime class.
  preemptionPolicy string | PreemptLowerPriority or Never.
  priority int | Priority value.
  priorityClassName string | Priority class.
  readinessGates [PodReadinessGate] atomic | Conditions that must be True for the pod to be ready.
  resourceClaims [PodResourceClaim] key=name | Resource claims that must be allocated first.
  resources ResourceRequirements | Resources of the whole pod.
  restartPolicy string =Always (Always|OnFailure|Never) | What happens to containers that exit.
  runtimeClassName string | RuntimeClass that runs the pod.
  schedulerName string =default-scheduler | Scheduler that places the pod.
  schedulingGates [PodSchedulingGate] key=name | Blocks scheduling while not empty.
  securityContext PodSecurityContext | Security attributes of the pod.
  serviceAccount string | Deprecated alias of serviceAccountName.
  serviceAccountName string | The identity the pod runs as.
  setHostnameAsFQDN bool | Use the FQDN as host name.
  shareProcessNamespace bool | Share one process namespace between the containers.
  subdomain string | Subdomain of the pod's FQDN.
  terminationGracePeriodSeconds int =30 >=0 | Seconds between SIGTERM and SIGKILL.
  tolerations [Toleration] atomic | Taints the pod tolerates.
  topologySpreadConstraints [TopologySpreadConstraint] key=topologyKey,whenUnsatisfiable | How pods spread.
  volumes [Volume] key=name retain | Volumes that containers may mount.
PodOS: Operating system of a pod.
  name! string | linux or windows.
PodReadinessGate: A condition that counts for readiness.
  conditionType! string | The condition's type.
PodSchedulingGate: A gate to scheduling.
  name! string | Name of the gate.
PodResourceClaim: A resource claim of the pod.
  name! string | Name within the pod.
  resourceClaimName string | Name of a ResourceClaim.
  resourceClaimTemplateName string | Name of a template.
HostAlias: Host names of an address.
  hostnames [string] atomic | Host names.
  ip! string | Address of the entry.
PodDNSConfig: DNS parameters of a pod.
  nameservers [string] atomic | Name servers.
  options [PodDNSConfigOption] atomic | Resolver options.
  searches [string] atomic | Search domains.
PodDNSConfigOption: A resolver option.
  name string | Name of the option.
  value string | Value of the option.
Toleration: Tolerates a taint.
  effect string (NoSchedule|PreferNoSchedule|NoExecute) | The effect; empty matches all.
  key string | The taint's key; empty matches all.
  operator string | Exists or Equal.
  tolerationSeconds int | How long NoExecute is tolerated.
  value string | The taint's value.
TopologySpreadConstraint: How to spread pods over a topology.
  labelSelector LabelSelector | Pods that are counted.
  matchLabelKeys [string] atomic | Labels whose values join the selector.
  maxSkew! int | Greatest allowed difference.
  minDomains int | Least number of domains.
  nodeAffinityPolicy string | Honor or Ignore.
  nodeTaintsPolicy string | Honor or Ignore.
  topologyKey! string | Node label that makes a domain.
  whenUnsatisfiable! string | DoNotSchedule or ScheduleAnyway.
Affinity: Scheduling constraints.
  nodeAffinity NodeAffinity | By node labels.
  podAffinity PodAffinity | Near other pods.
  podAntiAffinity PodAntiAffinity | Away from other pods.
NodeAffinity: Constraints on node labels.
  preferredDuringSchedulingIgnoredDuringExecution [PreferredSchedulingTerm] atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution NodeSelector atomic | Requirements.
PreferredSchedulingTerm: A weighted preference.
  preference! NodeSelectorTerm | What is preferred.
  weight! int | 1 to 100.
NodeSelector: Alternatives of node requirements.
  nodeSelectorTerms! [NodeSelectorTerm] atomic | Terms of which one must hold.
NodeSelectorTerm: Requirements that must all hold.
  matchExpressions [NodeSelectorRequirement] atomic | On labels.
  matchFields [NodeSelectorRequirement] atomic | On fields.
NodeSelectorRequirement: A key, an operator and values.
  key! string | The label key.
  operator! string | In, NotIn, Exists, DoesNotExist, Gt or Lt.
  values [string] atomic | Values.
PodAffinity: Near other pods.
  preferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm] atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm] atomic | Requirements.
PodAntiAffinity: Away from other pods.
  preferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm] atomic | Preferences.
  requiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm] atomic | Requirements.
WeightedPodAffinityTerm: A weighted term.
  podAffinityTerm! PodAffinityTerm | The term.
  weight! int | 1 to 100.
PodAffinityTerm: Pods and a topology.
  labelSelector LabelSelector | The pods.
  matchLabelKeys [string] atomic | Labels whose values join the selector.
  mismatchLabelKeys [string] atomic | Labels whose values must differ.
  namespaceSelector LabelSelector | Namespaces by label.
  namespaces [string] atomic | Namespaces by name.
  topologyKey! string | Node label that makes a domain.
PodSecurityContext: Security attributes of a pod.
  appArmorProfile AppArmorProfile | AppArmor options.
  fsGroup int | Group that owns volumes.
  fsGroupChangePolicy string | When ownership is changed.
  runAsGroup int | Primary group of the processes.
  runAsNonRoot bool | Refuse to run as root.
  runAsUser int | User of the processes.
  seLinuxChangePolicy string | How volumes are labelled.
  seLinuxOptions SELinuxOptions | SELinux context.
  seccompProfile SeccompProfile | Seccomp options.
  supplementalGroups [int] atomic | More groups.
  supplementalGroupsPolicy string | Merge or Strict.
  sysctls [Sysctl] atomic | Kernel parameters of the pod's namespaces.
  windowsOptions any | Options for Windows.
Sysctl: A kernel parameter.
  name! string | Name.
  value! string | Value.
SELinuxOptions: SELinux labels.
  level string | Level.
  role string | Role.
  type string | Type.
  user string | User.
SeccompProfile: Seccomp options.
  localhostProfile string | A profile on the node.
  type! string | Localhost, RuntimeDefault or Unconfined.
AppArmorProfile: AppArmor options.
  localhostProfile string | A profile on the node.
  type! string | Localhost, RuntimeDefault or Unconfined.
SecurityContext: Security attributes of a container.
  allowPrivilegeEscalation bool | Whether a process can gain privileges.
  appArmorProfile AppArmorProfile | AppArmor options.
  capabilities Capabilities | Capabilities to add and drop.
  privileged bool | Run privileged.
  procMount string | Kind of proc mount.
  readOnlyRootFilesystem bool | Whether the root is read-only.
  runAsGroup int | Primary group.
  runAsNonRoot bool | Refuse to run as root.
  runAsUser int | User.
  seLinuxOptions SELinuxOptions | SELinux context.
  seccompProfile SeccompProfile | Seccomp options.
  windowsOptions any | Options for Windows.
Capabilities: POSIX capabilities.
  add [string] atomic | Added.
  drop [string] atomic | Removed.
Container: One program of a pod.
  args [string] atomic | Arguments of the entrypoint; $(VAR) is expanded.
  command [string] atomic | Entrypoint, not run in a shell.
  env [EnvVar] key=name | Environment variables.
  envFrom [EnvFromSource] atomic | Sources of many environment variables.
  image string | Image name.
  imagePullPolicy string (Always|Never|IfNotPresent) | When to pull.
  lifecycle Lifecycle | Hooks.
  livenessProbe Probe | Restarts the container when it fails.
  name! string | Name, unique in the pod.
  ports [ContainerPort] key=containerPort,protocol | Ports the container exposes.
  readinessProbe Probe | Takes the pod out of services while it fails.
  resizePolicy [ContainerResizePolicy] atomic | How resources are resized.
  resources ResourceRequirements | Resources the container needs.
  restartPolicy string (Always) | Always makes an init container a sidecar.
  securityContext SecurityContext | Security options.
  startupProbe Probe | Holds the other probes until it succeeds.
  stdin bool | Keep standard input open.
  stdinOnce bool | Close it after the first session.
  terminationMessagePath string =/dev/termination-log | File with the last message.
  terminationMessagePolicy string =File | File or FallbackToLogsOnError.
  tty bool | Allocate a terminal.
  volumeDevices [VolumeDevice] key=devicePath | Block devices.
  volumeMounts [VolumeMount] key=mountPath | Volumes mounted into the container.
  workingDir string | Working directory.
EphemeralContainer: A container run for debugging.
  args [string] atomic | Arguments.
  command [string] atomic | Entrypoint.
  env [EnvVar] key=name | Environment variables.
  envFrom [EnvFromSource] atomic | Sources of many environment variables.
  image string | Image name.
  imagePullPolicy string | When to pull.
  lifecycle Lifecycle | Not allowed.
  livenessProbe Probe | Not allowed.
  name! string | Name, unique in the pod.
  ports [ContainerPort] key=containerPort,protocol | Not allowed.
  readinessProbe Probe | Not allowed.
  resizePolicy [ContainerResizePolicy] atomic | How resources are resized.
  resources ResourceRequirements | Not allowed.
  restartPolicy string | Not allowed.
  securityContext SecurityContext | Security options.
  startupProbe Probe | Not allowed.
  stdin bool | Keep standard input open.
  stdinOnce bool | Close it after the first session.
  targetContainerName string | Container whose namespaces are used.
  terminationMessagePath string | File with the last message.
  terminationMessagePolicy string | File or FallbackToLogsOnError.
  tty bool | Allocate a terminal.
  volumeDevices [VolumeDevice] key=devicePath | Block devices.
  volumeMounts [VolumeMount] key=mountPath | Volumes mounted into the container.
  workingDir string | Working directory.
ContainerResizePolicy: How one resource is resized.
  resourceName! string | cpu or memory.
  restartPolicy! string | NotRequired or RestartContainer.
ContainerPort: A port of a container.
  containerPort! int | The port in the pod.
  hostIP string | Host address to bind.
  hostPort int | Port on the host.
  name string | Name, unique in the pod, usable by services.
  protocol string =TCP (TCP|UDP|SCTP) | Protocol.
EnvVar: An environment variable.
  name! string | Name.
  value string | Value; $(VAR) is expanded.
  valueFrom EnvVarSource | Source of the value.
EnvVarSource: Where a value comes from.
  configMapKeyRef ConfigMapKeySelector atomic | A key of a ConfigMap.
  fieldRef ObjectFieldSelector atomic | A field of the pod.
  resourceFieldRef ResourceFieldSelector atomic | A resource of the container.
  secretKeyRef SecretKeySelector atomic | A key of a Secret.
ConfigMapKeySelector: A key of a ConfigMap.
  key! string | The key.
  name string | The ConfigMap.
  optional bool | Whether it may be missing.
SecretKeySelector: A key of a Secret.
  key! string | The key.
  name string | The Secret.
  optional bool | Whether it may be missing.
ObjectFieldSelector: A field of the object.
  apiVersion string =v1 | Version of the path's schema.
  fieldPath! string | Path of the field.
ResourceFieldSelector: A resource of a container.
  containerName string | The container.
  divisor quantity | Unit of the value.
  resource! string | The resource.
EnvFromSource: Source of many environment variables.
  configMapRef ConfigMapEnvSource | A ConfigMap.
  prefix string | Prefix of each key.
  secretRef SecretEnvSource | A Secret.
ConfigMapEnvSource: A ConfigMap.
  name string | Its name.
  optional bool | Whether it may be missing.
SecretEnvSource: A Secret.
  name string | Its name.
  optional bool | Whether it may be missing.
Lifecycle: Hooks of a container.
  postStart LifecycleHandler | After it started.
  preStop LifecycleHandler | Before it is stopped.
  stopSignal string | Signal that stops the container.
LifecycleHandler: A hook's action.
  exec ExecAction | A command.
  httpGet HTTPGetAction | An HTTP request.
  sleep SleepAction | A pause.
  tcpSocket TCPSocketAction | A connection.
Probe: A periodic check of a container.
  exec ExecAction | A command that must exit with 0.
  failureThreshold int =3 >=1 | Failures in a row that count.
  grpc GRPCAction | A gRPC health check.
  httpGet HTTPGetAction | An HTTP request that must answer 200 to 399.
  initialDelaySeconds int >=0 | Seconds before the first check.
  periodSeconds int =10 >=1 | Seconds between checks.
  successThreshold int =1 >=1 | Successes in a row that count.
  tcpSocket TCPSocketAction | A connection that must open.
  terminationGracePeriodSeconds int | Grace when this probe kills.
  timeoutSeconds int =1 >=1 | Seconds one check may take.
ExecAction: A command.
  command [string] atomic | The command line, not run in a shell.
GRPCAction: A gRPC health check.
  port! int | Port.
  service string | Service to ask for.
HTTPGetAction: An HTTP request.
  host string | Host to connect to, by default the pod's address.
  httpHeaders [HTTPHeader] atomic | Headers.
  path string =/ | Path.
  port! intstr | Number or name of the port.
  scheme string =HTTP (HTTP|HTTPS) | Scheme.
HTTPHeader: A header.
  name! string | Name.
  value! string | Value.
SleepAction: A pause.
  seconds! int | Seconds.
TCPSocketAction: A connection.
  host string | Host to connect to, by default the pod's address.
  port! intstr | Number or name of the port.
ResourceRequirements: Compute resources.
  claims [ResourceClaim] key=name | Claims of the pod used here.
  limits {quantity} | The most that may be used.
  requests {quantity} | The least that is needed.
ResourceClaim: A claim of the pod.
  name! string | Name of the claim.
  request string | Name of the request in it.
VolumeDevice: A block device in a container.
  devicePath! string | Path in the container.
  name! string | Name of the claim's volume.
VolumeMount: A volume in a container.
  mountPath! string | Path in the container.
  mountPropagation string | How mounts propagate.
  name! string | Name of the volume.
  readOnly bool | Whether it is read-only.
  recursiveReadOnly string | Whether that is recursive.
  subPath string | Path inside the volume.
  subPathExpr string | The same with $(VAR) expanded.
Volume: A directory that containers may mount.
  awsElasticBlockStore any | Not served here.
  azureDisk any | Not served here.
  azureFile any | Not served here.
  cephfs any | Not served here.
  cinder any | Not served here.
  configMap ConfigMapVolumeSource | A ConfigMap's keys as files.
  csi CSIVolumeSource | A CSI driver's volume.
  downwardAPI DownwardAPIVolumeSource | The pod's fields as files.
  emptyDir EmptyDirVolumeSource | An empty directory that lives as long as the pod.
  ephemeral any | A claim made for the pod.
  fc any | Not served here.
  flexVolume any | Not served here.
  flocker any | Not served here.
  gcePersistentDisk any | Not served here.
  gitRepo any | Deprecated.
  glusterfs any | Not served here.
  hostPath HostPathVolumeSource | A path of the node.
  image ImageVolumeSource | An image's files.
  iscsi any | Not served here.
  name! string | Name of the volume.
  nfs any | Not served here.
  persistentVolumeClaim PersistentVolumeClaimVolumeSource | A claim.
  photonPersistentDisk any | Not served here.
  portworxVolume any | Not served here.
  projected ProjectedVolumeSource | Several sources in one directory.
  quobyte any | Not served here.
  rbd any | Not served here.
  scaleIO any | Not served here.
  secret SecretVolumeSource | A Secret's keys as files.
  storageos any | Not served here.
  vsphereVolume any | Not served here.
ImageVolumeSource: An image's files.
  pullPolicy string | When to pull.
  reference string | The image.
PersistentVolumeClaimVolumeSource: A claim.
  claimName! string | Its name.
  readOnly bool | Whether it is read-only.
CSIVolumeSource: A CSI driver's volume.
  driver! string | The driver.
  fsType string | File system.
  nodePublishSecretRef LocalObjectReference | A secret for the driver.
  readOnly bool | Whether it is read-only.
  volumeAttributes {string} | Driver specific.
ConfigMapVolumeSource: A ConfigMap's keys as files.
  defaultMode int =420 | Mode bits of the files.
  items [KeyToPath] atomic | Which keys, and where.
  name string | The ConfigMap.
  optional bool | Whether it may be missing.
SecretVolumeSource: A Secret's keys as files.
  defaultMode int =420 | Mode bits of the files.
  items [KeyToPath] atomic | Which keys, and where.
  optional bool | Whether it may be missing.
  secretName string | The Secret.
KeyToPath: A key as a file.
  key! string | The key.
  mode int | Mode bits of the file.
  path! string | Relative path of the file.
DownwardAPIVolumeSource: The pod's fields as files.
  defaultMode int =420 | Mode bits of the files.
  items [DownwardAPIVolumeFile] atomic | The files.
DownwardAPIVolumeFile: One field as a file.
  fieldRef ObjectFieldSelector | A field of the pod.
  mode int | Mode bits of the file.
  path! string | Relative path of the file.
  resourceFieldRef ResourceFieldSelector | A resource of a container.
EmptyDirVolumeSource: An empty directory.
  medium string | Empty or Memory.
  sizeLimit quantity | The most it may hold.
HostPathVolumeSource: A path of the node.
  path! string | The path.
  type string | What must be there.
ProjectedVolumeSource: Several sources in one directory.
  defaultMode int =420 | Mode bits of the files.
  sources [VolumeProjection] atomic | The sources.
VolumeProjection: One source of a projected volume.
  clusterTrustBundle any | Trust anchors.
  configMap ConfigMapProjection | A ConfigMap's keys.
  downwardAPI DownwardAPIProjection | The pod's fields.
  secret SecretProjection | A Secret's keys.
  serviceAccountToken ServiceAccountTokenProjection | A token of the service account.
ConfigMapProjection: A ConfigMap's keys.
  items [KeyToPath] atomic | Which keys, and where.
  name string | The ConfigMap.
  optional bool | Whether it may be missing.
DownwardAPIProjection: The pod's fields.
  items [DownwardAPIVolumeFile] atomic | The files.
SecretProjection: A Secret's keys.
  items [KeyToPath] atomic | Which keys, and where.
  name string | The Secret.
  optional bool | Whether it may be missing.
ServiceAccountTokenProjection: A token of the service account.
  audience string | Who the token is for; by default the API server.
  expirationSeconds int =3600 | Lifetime asked for.
  path! string | Relative path of the file.
PodStatus: Last observed state of a pod.
  conditions [PodCondition] key=type | Conditions.
  containerStatuses [ContainerStatus] atomic | State of the containers.
  ephemeralContainerStatuses [ContainerStatus] atomic | State of the debugging containers.
  hostIP string | Address of the node.
  hostIPs [HostIP] atomic | Addresses of the node.
  initContainerStatuses [ContainerStatus] atomic | State of the init containers.
  message string | Details for people.
  nominatedNodeName string | Node picked by preemption.
  observedGeneration int | The generation the status was set for.
  phase string | Pending, Running, Succeeded, Failed or Unknown.
  podIP string | Address of the pod.
  podIPs [PodIP] key=ip | Addresses of the pod.
  qosClass string | Quality of service class.
  reason string | One CamelCase word.
  resize string | State of a resize.
  resourceClaimStatuses any | State of claims.
  startTime time | When the kubelet took the pod.
PodCondition: One aspect of a pod's state.
  lastProbeTime time | When last probed.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  observedGeneration int | The generation the condition was set for.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
PodIP: An address.
  ip! string | The address.
HostIP: An address.
  ip! string | The address.
ContainerStatus: State of a container.
  allocatedResources {quantity} | Resources allocated.
  allocatedResourcesStatus any | Health of devices.
  containerID string | Identifier of the running container.
  image! string | The image that runs.
  imageID! string | Its identifier.
  lastState ContainerState | The state before the last restart.
  name! string | Name of the container.
  ready! bool | Whether its readiness probe succeeds.
  resources ResourceRequirements | Resources in force.
  restartCount! int | How often it was restarted.
  started bool | Whether it started.
  state ContainerState | The current state.
  stopSignal string | Signal that stops the container.
  user any | The user it runs as.
  volumeMounts any | Its mounts.
ContainerState: One of waiting, running, terminated.
  running ContainerStateRunning | It runs.
  terminated ContainerStateTerminated | It exited.
  waiting ContainerStateWaiting | It has not started.
ContainerStateRunning: A running container.
  startedAt time | Since when.
ContainerStateTerminated: A container that exited.
  containerID string | Identifier of the container.
  exitCode! int | Exit code.
  finishedAt time | When it exited.
  message string | Its last message.
  reason string | One CamelCase word.
  signal int | The signal that ended it.
  startedAt time | When it started.
ContainerStateWaiting: A container that has not started.
  message string | Details for people.
  reason string | One CamelCase word.
"""
