"""Custom resource definitions and admission webhooks."""

_WEBHOOK = """
  admissionReviewVersions! [string] atomic | Versions of AdmissionReview the webhook knows.
  clientConfig! WebhookClientConfig | How to call it.
  failurePolicy string =Fail (Fail|Ignore) | What a failed call means.
  matchConditions [MatchCondition] key=name | CEL conditions. Not evaluated here.
  matchPolicy string =Equivalent (Exact|Equivalent) | How rules match.
  name! string | Name, a fully qualified one.
  namespaceSelector LabelSelector | Limits the namespaces.
  objectSelector LabelSelector | Limits the objects.
"""

TYPES = f"""
MutatingWebhookConfiguration: Webhooks that may change objects.
  metadata ObjectMeta @1 | Standard object metadata.
  webhooks [MutatingWebhook] @2 key=name | The webhooks.
MutatingWebhook: A webhook that may change objects.
{_WEBHOOK}  reinvocationPolicy string =Never | Never or IfNeeded.
  rules [RuleWithOperations] @3 atomic | What it is called for.
  sideEffects! string @6 | None or NoneOnDryRun.
  timeoutSeconds int @7 =10 | Seconds a call may take, 1 to 30.
ValidatingWebhookConfiguration: Webhooks that may refuse objects.
  metadata ObjectMeta @1 | Standard object metadata.
  webhooks [ValidatingWebhook] @2 key=name | The webhooks.
ValidatingWebhook: A webhook that may refuse objects.
{_WEBHOOK}  rules [RuleWithOperations] atomic | What it is called for.
  sideEffects! string @6 | None or NoneOnDryRun.
  timeoutSeconds int @7 =10 | Seconds a call may take, 1 to 30.
MatchCondition: A CEL condition.
  expression! string @2 | The expression.
  name! string @1 | Its name.
RuleWithOperations: Operations on resources.
  apiGroups [string] @2.1 atomic | Groups; "*" is all.
  apiVersions [string] @2.2 atomic | Versions; "*" is all.
  operations [string] @1 atomic | CREATE, UPDATE, DELETE, CONNECT or *.
  resources [string] @2.3 atomic | Resources or resource/subresource.
  scope string @2.4 =* | Cluster, Namespaced or *.
WebhookClientConfig: How to call a webhook.
  caBundle bytes @2 | Certificates that sign the webhook's, PEM.
  service AdmissionServiceReference @1 | A service.
  url string @3 | A URL.
AdmissionServiceReference: A service.
  name! string @2 | Its name.
  namespace! string @1 | Its namespace.
  path string @3 | Path of the URL.
  port int @4 =443 | Port of the service.
CustomResourceDefinition: A kind of object that users define.
  metadata ObjectMeta | Standard object metadata.
  spec! CustomResourceDefinitionSpec | The definition.
  status CustomResourceDefinitionStatus | Current state.
CustomResourceDefinitionSpec: A definition.
  conversion CustomResourceConversion | How versions are converted.
  group! string | Group of the resource.
  names! CustomResourceDefinitionNames | Names of the resource.
  preserveUnknownFields bool | Must be false.
  scope! string (Cluster|Namespaced) | Cluster or Namespaced.
  versions! [CustomResourceDefinitionVersion] atomic | Versions.
CustomResourceConversion: How versions are converted.
  strategy! string | None; Webhook is not served here.
  webhook any | The conversion webhook.
CustomResourceDefinitionNames: Names of a resource.
  categories [string] atomic | Groups such as all.
  kind! string | The kind.
  listKind string | The list's kind.
  plural! string | Plural name, in the URL.
  shortNames [string] atomic | Short names.
  singular string | Singular name.
CustomResourceDefinitionVersion: One version of a resource.
  additionalPrinterColumns [CustomResourceColumnDefinition] atomic | Columns of kubectl get.
  deprecated bool | Whether using it warns.
  deprecationWarning string | The warning.
  name! string | Name, such as v1.
  schema CustomResourceValidation | Schema of the objects.
  selectableFields [SelectableField] atomic | Fields that can be selected on.
  served! bool | Whether it is served.
  storage! bool | Whether objects are stored in it.
  subresources CustomResourceSubresources | Subresources.
SelectableField: A field that can be selected on.
  jsonPath! string | Its path.
CustomResourceColumnDefinition: A column of kubectl get.
  description string | What it shows.
  format string | Format of the value.
  jsonPath! string | Where the value is.
  name! string | Heading.
  priority int | 0 always, more only with -o wide.
  type! string | Type of the value.
CustomResourceValidation: Schema of the objects.
  openAPIV3Schema any | An OpenAPI v3 schema.
CustomResourceSubresources: Subresources.
  scale CustomResourceSubresourceScale | The scale.
  status object | The status.
CustomResourceSubresourceScale: The scale of a custom resource.
  labelSelectorPath string | Path of the selector.
  specReplicasPath! string | Path of the desired number.
  statusReplicasPath! string | Path of the observed number.
CustomResourceDefinitionStatus: State of a definition.
  acceptedNames CustomResourceDefinitionNames | Names that are served.
  conditions [CustomResourceDefinitionCondition] key=type | Conditions.
  observedGeneration int | The generation acted on.
  storedVersions [string] atomic | Versions objects were ever stored in.
CustomResourceDefinitionCondition: One aspect of a definition's state.
  lastTransitionTime time | When the status last changed.
  message string | Details for people.
  observedGeneration int | The generation the condition was set for.
  reason string | One CamelCase word.
  status! string | True, False or Unknown.
  type! string | Name of the condition.
"""
