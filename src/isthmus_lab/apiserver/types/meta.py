"""Object metadata and what every group shares."""

TYPES = """
ObjectMeta: Standard object metadata.
  annotations {string} @12 | Unstructured key value map for tools; not queryable.
  creationTimestamp time @8 | When the object was created. Set by the server.
  deletionGracePeriodSeconds int @10 | Seconds the object may take to terminate once deleted. Set by the server.
  deletionTimestamp time @9 | When the object will be deleted; set by the server when deletion was asked for gracefully.
  finalizers [string] @14 set | Must be empty before the object is removed; each entry names who removes it.
  generateName string @2 | Prefix for a name that the server makes up when name is empty.
  generation int @7 | Sequence number of the desired state. Set by the server.
  labels {string} @11 | Key value pairs to organise and select objects.
  managedFields [ManagedFieldsEntry] @17 atomic | Which manager set which field. Kept by the server.
  name string @1 | Unique within a namespace; cannot be changed.
  namespace string @3 | The space within which the name is unique; cannot be changed.
  ownerReferences [OwnerReference] @13 key=uid | Objects this one depends on: when all are gone, it is collected.
  resourceVersion string @6 | Opaque version of the object for optimistic locking and watches.
  selfLink string @4 | Deprecated.
  uid string @5 | Unique in time and space. Set by the server.
ManagedFieldsEntry: A set of fields that one manager set in one way.
  apiVersion string @3 | The version of the resource this set applies to.
  fieldsType string @6 | The format of fieldsV1: FieldsV1.
  fieldsV1 any @7 | The set of fields as a tree.
  manager string @1 | Who.
  operation string @2 | Apply or Update.
  subresource string @8 | Through which subresource, empty for the main one.
  time time @4 | When the set changed.
OwnerReference: Identifies an owning object in the same namespace, or a cluster-scoped one.
  apiVersion! string @5 | API version of the referent.
  blockOwnerDeletion bool @7 | Foreground deletion of the owner waits for this object.
  controller bool @6 | Whether the owner manages this object.
  kind! string @1 | Kind of the referent.
  name! string @3 | Name of the referent.
  uid! string @4 | UID of the referent.
ListMeta: Metadata of a list.
  continue string @3 | Token to ask for the next page.
  remainingItemCount int @4 | Items not in this page.
  resourceVersion string @2 | Version from which to watch on.
  selfLink string @1 | Deprecated.
LabelSelector: A label query; matchLabels and matchExpressions must all hold.
  matchExpressions [LabelSelectorRequirement] @2 atomic | Requirements that must all hold.
  matchLabels {string} @1 | Labels that must all be present with these values.
LabelSelectorRequirement: A key, an operator and values.
  key! string @1 | The label key.
  operator! string @2 | In, NotIn, Exists or DoesNotExist.
  values [string] @3 atomic | Values for In and NotIn.
Condition: One aspect of the current state.
  lastTransitionTime! time @4 | When the status last changed.
  message! string @6 | Details for people.
  observedGeneration int @3 | The metadata.generation the condition was set for.
  reason! string @5 | One CamelCase word.
  status! string @2 (True|False|Unknown) | True, False or Unknown.
  type! string @1 | CamelCase name of the condition.
ObjectReference: Refers to another object.
  apiVersion string @5 | API version of the referent.
  fieldPath string @7 | A part of the object.
  kind string @1 | Kind of the referent.
  name string @3 | Name of the referent.
  namespace string @2 | Namespace of the referent.
  resourceVersion string @6 | The version this refers to.
  uid string @4 | UID of the referent.
LocalObjectReference: Refers to an object of the same namespace.
  name string @1 | Name of the referent.
TypedLocalObjectReference: Refers to an object of a given kind in the same namespace.
  apiGroup string @1 | Group of the referent.
  kind! string @2 | Kind of the referent.
  name! string @3 | Name of the referent.
Status: The outcome of a request.
  apiVersion string | v1.
  code int @6 | HTTP status.
  details any @5 | More about the reason.
  kind string | Status.
  message string @3 | For people.
  metadata ListMeta @1 | Standard list metadata.
  reason string @4 | One word for programs.
  status string @2 | Success or Failure.
Scale: A scaling request for a resource.
  metadata ObjectMeta @1 | Standard object metadata.
  spec ScaleSpec @2 | The desired number of instances.
  status ScaleStatus @3 | The current number of instances.
ScaleSpec: The desired number of instances.
  replicas int @1 | Desired number of instances.
ScaleStatus: The current number of instances.
  replicas! int @1 | Observed number of instances.
  selector string @2 | Label query over the pods counted.
"""
