"""Object metadata and what every group shares."""

TYPES = """
ObjectMeta: Standard object metadata.
  annotations {string} | Unstructured key value map for tools; not queryable.
  creationTimestamp time | When the object was created. Set by the server.
  deletionGracePeriodSeconds int | Seconds the object may take to terminate once deleted. Set by the server.
  deletionTimestamp time | When the object will be deleted; set by the server when deletion was asked for gracefully.
  finalizers [string] set | Must be empty before the object is removed; each entry names who removes it.
  generateName string | Prefix for a name that the server makes up when name is empty.
  generation int | Sequence number of the desired state. Set by the server.
  labels {string} | Key value pairs to organise and select objects.
  managedFields [ManagedFieldsEntry] atomic | Which manager set which field. Kept by the server.
  name string | Unique within a namespace; cannot be changed.
  namespace string | The space within which the name is unique; cannot be changed.
  ownerReferences [OwnerReference] key=uid | Objects this one depends on: when all are gone, it is collected.
  resourceVersion string | Opaque version of the object for optimistic locking and watches.
  selfLink string | Deprecated.
  uid string | Unique in time and space. Set by the server.
ManagedFieldsEntry: A set of fields that one manager set in one way.
  apiVersion string | The version of the resource this set applies to.
  fieldsType string | The format of fieldsV1: FieldsV1.
  fieldsV1 any | The set of fields as a tree.
  manager string | Who.
  operation string | Apply or Update.
  subresource string | Through which subresource, empty for the main one.
  time time | When the set changed.
OwnerReference: Identifies an owning object in the same namespace, or a cluster-scoped one.
  apiVersion! string | API version of the referent.
  blockOwnerDeletion bool | Foreground deletion of the owner waits for this object.
  controller bool | Whether the owner manages this object.
  kind! string | Kind of the referent.
  name! string | Name of the referent.
  uid! string | UID of the referent.
ListMeta: Metadata of a list.
  continue string | Token to ask for the next page.
  remainingItemCount int | Items not in this page.
  resourceVersion string | Version from which to watch on.
  selfLink string | Deprecated.
LabelSelector: A label query; matchLabels and matchExpressions must all hold.
  matchExpressions [LabelSelectorRequirement] atomic | Requirements that must all hold.
  matchLabels {string} | Labels that must all be present with these values.
LabelSelectorRequirement: A key, an operator and values.
  key! string | The label key.
  operator! string | In, NotIn, Exists or DoesNotExist.
  values [string] atomic | Values for In and NotIn.
Condition: One aspect of the current state.
  lastTransitionTime! time | When the status last changed.
  message! string | Details for people.
  observedGeneration int | The metadata.generation the condition was set for.
  reason! string | One CamelCase word.
  status! string (True|False|Unknown) | True, False or Unknown.
  type! string | CamelCase name of the condition.
ObjectReference: Refers to another object.
  apiVersion string | API version of the referent.
  fieldPath string | A part of the object.
  kind string | Kind of the referent.
  name string | Name of the referent.
  namespace string | Namespace of the referent.
  resourceVersion string | The version this refers to.
  uid string | UID of the referent.
LocalObjectReference: Refers to an object of the same namespace.
  name string | Name of the referent.
TypedLocalObjectReference: Refers to an object of a given kind in the same namespace.
  apiGroup string | Group of the referent.
  kind! string | Kind of the referent.
  name! string | Name of the referent.
Status: The outcome of a request.
  apiVersion string | v1.
  code int | HTTP status.
  details any | More about the reason.
  kind string | Status.
  message string | For people.
  metadata ListMeta | Standard list metadata.
  reason string | One word for programs.
  status string | Success or Failure.
Scale: A scaling request for a resource.
  metadata ObjectMeta | Standard object metadata.
  spec ScaleSpec | The desired number of instances.
  status ScaleStatus | The current number of instances.
ScaleSpec: The desired number of instances.
  replicas int | Desired number of instances.
ScaleStatus: The current number of instances.
  replicas! int | Observed number of instances.
  selector string | Label query over the pods counted.
"""
