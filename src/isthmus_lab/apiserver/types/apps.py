"""Workload controllers, autoscaling and disruption budgets."""

TYPES = """
Deployment: Keeps a number of equal pods and rolls out changes.
  metadata ObjectMeta | Standard object metadata.
  spec DeploymentSpec | Desired behaviour.
  status DeploymentStatus | Last observed state.
DeploymentSpec: Desired behaviour of a deployment.
  minReadySeconds int | Seconds a new pod must be ready to count as available.
  paused bool | Whether rollouts are paused.
  progressDeadlineSeconds int =600 | Seconds without progress after which the rollout is reported as failed.
  replicas int =1 >=0 | Desired number of pods.
  revisionHistoryLimit int =10 | Old ReplicaSets to keep.
  selector! LabelSelector | Pods that belong to the deployment; cannot be changed.
  strategy DeploymentStrategy retain | How pods are replaced.
  template! PodTemplateSpec | The pods.
DeploymentStrategy: How pods are replaced.
  rollingUpdate RollingUpdateDeployment | For RollingUpdate.
  type string =RollingUpdate (Recreate|RollingUpdate) | Recreate or RollingUpdate.
RollingUpdateDeployment: Control of a rolling update.
  maxSurge intstr | Pods above the desired number, as number or percentage.
  maxUnavailable intstr | Pods below the desired number, as number or percentage.
DeploymentStatus: State of a deployment.
  availableReplicas int | Pods ready for minReadySeconds.
  collisionCount int | Hash collisions.
  conditions [DeploymentCondition] key=type | Conditions.
  observedGeneration int | The generation acted on.
  readyReplicas int | Ready pods.
  replicas int | Pods.
  terminatingReplicas int | Pods being stopped.
  unavailableReplicas int | Pods still needed.
  updatedReplicas int | Pods of the current template.
DeploymentCondition: One aspect of a deployment's state.
  lastTransitionTime time | When the status last changed.
  lastUpdateTime time | When it was last updated.
  message string | Details for people.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
ReplicaSet: Keeps a number of equal pods.
  metadata ObjectMeta | Standard object metadata.
  spec ReplicaSetSpec | Desired behaviour.
  status ReplicaSetStatus | Last observed state.
ReplicaSetSpec: Desired behaviour of a replica set.
  minReadySeconds int | Seconds a new pod must be ready to count as available.
  replicas int =1 >=0 | Desired number of pods.
  selector! LabelSelector | Pods that belong to the set; cannot be changed.
  template PodTemplateSpec | The pods.
ReplicaSetStatus: State of a replica set.
  availableReplicas int | Pods ready for minReadySeconds.
  conditions [ReplicaSetCondition] key=type | Conditions.
  fullyLabeledReplicas int | Pods with the template's labels.
  observedGeneration int | The generation acted on.
  readyReplicas int | Ready pods.
  replicas! int | Pods.
  terminatingReplicas int | Pods being stopped.
ReplicaSetCondition: One aspect of a replica set's state.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
HorizontalPodAutoscaler: Scales a workload by metrics.
  metadata ObjectMeta | Standard object metadata.
  spec HorizontalPodAutoscalerSpec | Desired behaviour.
  status HorizontalPodAutoscalerStatus | Current state.
HorizontalPodAutoscalerSpec: Desired behaviour of an autoscaler.
  behavior HorizontalPodAutoscalerBehavior | How fast to scale.
  maxReplicas! int >=1 | Upper limit.
  metrics [MetricSpec] atomic | What to scale by.
  minReplicas int =1 | Lower limit.
  scaleTargetRef! CrossVersionObjectReference | What to scale.
CrossVersionObjectReference: Refers to a resource.
  apiVersion string | Its API version.
  kind! string | Its kind.
  name! string | Its name.
HorizontalPodAutoscalerBehavior: How fast to scale.
  scaleDown HPAScalingRules | Down.
  scaleUp HPAScalingRules | Up.
HPAScalingRules: Scaling in one direction.
  policies [HPAScalingPolicy] atomic | Policies.
  selectPolicy string | Max, Min or Disabled.
  stabilizationWindowSeconds int | Seconds to look back.
  tolerance quantity | Deviation without action.
HPAScalingPolicy: One limit.
  periodSeconds! int | Window.
  type! string | Pods or Percent.
  value! int | Amount.
MetricSpec: What to scale by.
  containerResource any | A container's resource.
  external any | An external metric.
  object any | An object's metric.
  pods any | A pod metric.
  resource ResourceMetricSource | A resource.
  type! string | Which of the members is set.
ResourceMetricSource: A resource metric.
  name! string | The resource.
  target! MetricTarget | The target.
MetricTarget: A target value.
  averageUtilization int | Percent of requests.
  averageValue quantity | Average over pods.
  type! string | Utilization, Value or AverageValue.
  value quantity | The value.
HorizontalPodAutoscalerStatus: State of an autoscaler.
  conditions [HPACondition] key=type | Conditions.
  currentMetrics any | Last readings.
  currentReplicas int | Current replicas.
  desiredReplicas int | Desired replicas.
  lastScaleTime time | When it last scaled.
  observedGeneration int | The generation acted on.
HPACondition: One aspect of an autoscaler's state.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
PodDisruptionBudget: Limits voluntary disruptions.
  metadata ObjectMeta | Standard object metadata.
  spec PodDisruptionBudgetSpec | Desired behaviour.
  status PodDisruptionBudgetStatus | Current state.
PodDisruptionBudgetSpec: Desired behaviour of a budget.
  maxUnavailable intstr | Most that may be away.
  minAvailable intstr | Least that must be there.
  selector LabelSelector | The pods.
  unhealthyPodEvictionPolicy string | When unready pods are evicted.
PodDisruptionBudgetStatus: State of a budget.
  conditions [Condition] key=type | Conditions.
  currentHealthy! int | Healthy pods.
  desiredHealthy! int | Least number of healthy pods.
  disruptedPods {time} | Pods being evicted.
  disruptionsAllowed! int | Disruptions now allowed.
  expectedPods! int | Pods counted.
  observedGeneration int | The generation acted on.
Eviction: Evicts a pod, if budgets allow.
  deleteOptions any | Options of the deletion.
  metadata ObjectMeta | The pod's name and namespace.
"""
