"""Workload controllers, autoscaling and disruption budgets."""

TYPES = """
Deployment: Keeps a number of equal pods and rolls out changes.
  metadata ObjectMeta @1 | Standard object metadata.
  spec DeploymentSpec @2 | Desired behaviour.
  status DeploymentStatus @3 | Last observed state.
DeploymentSpec: Desired behaviour of a deployment.
  minReadySeconds int @5 | Seconds a new pod must be ready to count as available.
  paused bool @7 | Whether rollouts are paused.
  progressDeadlineSeconds int @9 =600 | Seconds without progress after which the rollout is reported as failed.
  replicas int @1 =1 >=0 | Desired number of pods.
  revisionHistoryLimit int @6 =10 | Old ReplicaSets to keep.
  selector! LabelSelector @2 | Pods that belong to the deployment; cannot be changed.
  strategy DeploymentStrategy @4 retain | How pods are replaced.
  template! PodTemplateSpec @3 | The pods.
DeploymentStrategy: How pods are replaced.
  rollingUpdate RollingUpdateDeployment @2 | For RollingUpdate.
  type string @1 =RollingUpdate (Recreate|RollingUpdate) | Recreate or RollingUpdate.
RollingUpdateDeployment: Control of a rolling update.
  maxSurge intstr @2 | Pods above the desired number, as number or percentage.
  maxUnavailable intstr @1 | Pods below the desired number, as number or percentage.
DeploymentStatus: State of a deployment.
  availableReplicas int @4 | Pods ready for minReadySeconds.
  collisionCount int @8 | Hash collisions.
  conditions [DeploymentCondition] @6 key=type | Conditions.
  observedGeneration int @1 | The generation acted on.
  readyReplicas int @7 | Ready pods.
  replicas int @2 | Pods.
  terminatingReplicas int @9 | Pods being stopped.
  unavailableReplicas int @5 | Pods still needed.
  updatedReplicas int @3 | Pods of the current template.
DeploymentCondition: One aspect of a deployment's state.
  lastTransitionTime time @7 | When the status last changed.
  lastUpdateTime time @6 | When it was last updated.
  message string @5 | Details for people.
  reason string @4 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
ReplicaSet: Keeps a number of equal pods.
  metadata ObjectMeta @1 | Standard object metadata.
  spec ReplicaSetSpec @2 | Desired behaviour.
  status ReplicaSetStatus @3 | Last observed state.
ReplicaSetSpec: Desired behaviour of a replica set.
  minReadySeconds int @4 | Seconds a new pod must be ready to count as available.
  replicas int @1 =1 >=0 | Desired number of pods.
  selector! LabelSelector @2 | Pods that belong to the set; cannot be changed.
  template PodTemplateSpec @3 | The pods.
ReplicaSetStatus: State of a replica set.
  availableReplicas int @5 | Pods ready for minReadySeconds.
  conditions [ReplicaSetCondition] @6 key=type | Conditions.
  fullyLabeledReplicas int @2 | Pods with the template's labels.
  observedGeneration int @3 | The generation acted on.
  readyReplicas int @4 | Ready pods.
  replicas! int @1 | Pods.
  terminatingReplicas int @7 | Pods being stopped.
ReplicaSetCondition: One aspect of a replica set's state.
  lastTransitionTime time @3 | When the status last changed.
  message string @5 | Details for people.
  reason string @4 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
StatefulSet: Keeps pods with stable names, made and replaced in order.
  metadata ObjectMeta @1 | Standard object metadata.
  spec StatefulSetSpec @2 | Desired behaviour.
  status StatefulSetStatus @3 | Last observed state.
StatefulSetSpec: Desired behaviour of a stateful set.
  minReadySeconds int @9 | Seconds a new pod must be ready to count as available.
  ordinals any @11 | Numbering of the pods.
  persistentVolumeClaimRetentionPolicy any @10 | What becomes of claims.
  podManagementPolicy string @6 =OrderedReady (OrderedReady|Parallel) | Whether pods wait for those before them.
  replicas int @1 =1 >=0 | Desired number of pods.
  revisionHistoryLimit int @8 =10 | Old revisions to keep.
  selector! LabelSelector @2 | Pods that belong to the set; cannot be changed.
  serviceName string @5 | The headless Service in which the pods have names.
  template! PodTemplateSpec @3 | The pods.
  updateStrategy StatefulSetUpdateStrategy @7 | How pods are replaced.
  volumeClaimTemplates any @4 | Claims of each pod.
StatefulSetUpdateStrategy: How pods are replaced.
  rollingUpdate RollingUpdateStatefulSetStrategy @2 | For RollingUpdate.
  type string @1 =RollingUpdate (OnDelete|RollingUpdate) | OnDelete or RollingUpdate.
RollingUpdateStatefulSetStrategy: Control of a rolling update.
  maxUnavailable intstr @2 | Pods that may be away.
  partition int @1 =0 | Pods with smaller ordinals stay as they are.
StatefulSetStatus: State of a stateful set.
  availableReplicas int @11 | Pods ready for minReadySeconds.
  collisionCount int @9 | Hash collisions.
  conditions [StatefulSetCondition] @10 key=type | Conditions.
  currentReplicas int @4 | Pods of the current revision.
  currentRevision string @6 | Revision before the update.
  observedGeneration int @1 | The generation acted on.
  readyReplicas int @3 | Ready pods.
  replicas! int @2 | Pods.
  updateRevision string @7 | Revision of the present template.
  updatedReplicas int @5 | Pods of the present template.
StatefulSetCondition: One aspect of a stateful set's state.
  lastTransitionTime time @3 | When the status last changed.
  message string @5 | Details for people.
  reason string @4 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
DaemonSet: Keeps one pod on each node.
  metadata ObjectMeta @1 | Standard object metadata.
  spec DaemonSetSpec @2 | Desired behaviour.
  status DaemonSetStatus @3 | Last observed state.
DaemonSetSpec: Desired behaviour of a daemon set.
  minReadySeconds int @4 | Seconds a new pod must be ready to count as available.
  revisionHistoryLimit int @6 =10 | Old revisions to keep.
  selector! LabelSelector @1 | Pods that belong to the set; cannot be changed.
  template! PodTemplateSpec @2 | The pods.
  updateStrategy DaemonSetUpdateStrategy @3 | How pods are replaced.
DaemonSetUpdateStrategy: How pods are replaced.
  rollingUpdate RollingUpdateDaemonSet @2 | For RollingUpdate.
  type string @1 =RollingUpdate (OnDelete|RollingUpdate) | OnDelete or RollingUpdate.
RollingUpdateDaemonSet: Control of a rolling update.
  maxSurge intstr @2 | Nodes that may have a second pod.
  maxUnavailable intstr @1 | Nodes whose pod may be away, as number or percentage.
DaemonSetStatus: State of a daemon set.
  collisionCount int @9 | Hash collisions.
  conditions [DaemonSetCondition] @10 key=type | Conditions.
  currentNumberScheduled! int @1 | Nodes that have a pod and should.
  desiredNumberScheduled! int @3 | Nodes that should have a pod.
  numberAvailable int @7 | Nodes whose pod was ready for minReadySeconds.
  numberMisscheduled! int @2 | Nodes that have a pod and should not.
  numberReady! int @4 | Nodes whose pod is ready.
  numberUnavailable int @8 | Nodes that should have an available pod and have none.
  observedGeneration int @5 | The generation acted on.
  updatedNumberScheduled int @6 | Nodes with a pod of the present template.
DaemonSetCondition: One aspect of a daemon set's state.
  lastTransitionTime time @3 | When the status last changed.
  message string @5 | Details for people.
  reason string @4 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
HorizontalPodAutoscaler: Scales a workload by metrics.
  metadata ObjectMeta @1 | Standard object metadata.
  spec HorizontalPodAutoscalerSpec @2 | Desired behaviour.
  status HorizontalPodAutoscalerStatus @3 | Current state.
HorizontalPodAutoscalerSpec: Desired behaviour of an autoscaler.
  behavior HorizontalPodAutoscalerBehavior @5 | How fast to scale.
  maxReplicas! int @3 >=1 | Upper limit.
  metrics [MetricSpec] @4 atomic | What to scale by.
  minReplicas int @2 =1 | Lower limit.
  scaleTargetRef! CrossVersionObjectReference @1 | What to scale.
CrossVersionObjectReference: Refers to a resource.
  apiVersion string @3 | Its API version.
  kind! string @1 | Its kind.
  name! string @2 | Its name.
HorizontalPodAutoscalerBehavior: How fast to scale.
  scaleDown HPAScalingRules @2 | Down.
  scaleUp HPAScalingRules @1 | Up.
HPAScalingRules: Scaling in one direction.
  policies [HPAScalingPolicy] @2 atomic | Policies.
  selectPolicy string @1 | Max, Min or Disabled.
  stabilizationWindowSeconds int @3 | Seconds to look back.
  tolerance quantity @4 | Deviation without action.
HPAScalingPolicy: One limit.
  periodSeconds! int @3 | Window.
  type! string @1 | Pods or Percent.
  value! int @2 | Amount.
MetricSpec: What to scale by.
  containerResource any @7 | A container's resource.
  external any @5 | An external metric.
  object any @2 | An object's metric.
  pods any @3 | A pod metric.
  resource ResourceMetricSource @4 | A resource.
  type! string @1 | Which of the members is set.
ResourceMetricSource: A resource metric.
  name! string @1 | The resource.
  target! MetricTarget @2 | The target.
MetricTarget: A target value.
  averageUtilization int @4 | Percent of requests.
  averageValue quantity @3 | Average over pods.
  type! string @1 | Utilization, Value or AverageValue.
  value quantity @2 | The value.
HorizontalPodAutoscalerStatus: State of an autoscaler.
  conditions [HPACondition] @6 key=type | Conditions.
  currentMetrics any @5 | Last readings.
  currentReplicas int @3 | Current replicas.
  desiredReplicas int @4 | Desired replicas.
  lastScaleTime time @2 | When it last scaled.
  observedGeneration int @1 | The generation acted on.
HPACondition: One aspect of an autoscaler's state.
  lastTransitionTime time @3 | When the status last changed.
  message string @5 | Details for people.
  reason string @4 | One CamelCase word.
  status! string @2 | True, False or Unknown.
  type! string @1 | Name of the condition.
PodDisruptionBudget: Limits voluntary disruptions.
  metadata ObjectMeta @1 | Standard object metadata.
  spec PodDisruptionBudgetSpec @2 | Desired behaviour.
  status PodDisruptionBudgetStatus @3 | Current state.
PodDisruptionBudgetSpec: Desired behaviour of a budget.
  maxUnavailable intstr @3 | Most that may be away.
  minAvailable intstr @1 | Least that must be there.
  selector LabelSelector @2 | The pods.
  unhealthyPodEvictionPolicy string @4 | When unready pods are evicted.
PodDisruptionBudgetStatus: State of a budget.
  conditions [Condition] @7 key=type | Conditions.
  currentHealthy! int @4 | Healthy pods.
  desiredHealthy! int @5 | Least number of healthy pods.
  disruptedPods {time} @2 | Pods being evicted.
  disruptionsAllowed! int @3 | Disruptions now allowed.
  expectedPods! int @6 | Pods counted.
  observedGeneration int @1 | The generation acted on.
Eviction: Evicts a pod, if budgets allow.
  deleteOptions any @2 | Options of the deletion.
  metadata ObjectMeta @1 | The pod's name and namespace.
"""
