"""RBAC, authentication and authorization reviews."""

TYPES = """
Role: Rules for one namespace.
  metadata ObjectMeta | Standard object metadata.
  rules [PolicyRule] atomic | The rules.
ClusterRole: Rules for the cluster or any namespace.
  aggregationRule AggregationRule | Roles to collect rules from.
  metadata ObjectMeta | Standard object metadata.
  rules [PolicyRule] atomic | The rules.
AggregationRule: Roles to collect rules from.
  clusterRoleSelectors [LabelSelector] atomic | Selectors of those roles.
PolicyRule: What is allowed.
  apiGroups [string] atomic | Groups of the resources; "" is the core group, "*" all.
  nonResourceURLs [string] atomic | Paths that are no resources; a final * matches the rest.
  resourceNames [string] atomic | Names; empty allows all.
  resources [string] atomic | Resources or resource/subresource; "*" is all.
  verbs! [string] atomic | Verbs; "*" is all.
RoleBinding: Grants a role in one namespace.
  metadata ObjectMeta | Standard object metadata.
  roleRef! RoleRef | The role; cannot be changed.
  subjects [Subject] atomic | Who gets it.
ClusterRoleBinding: Grants a cluster role everywhere.
  metadata ObjectMeta | Standard object metadata.
  roleRef! RoleRef | The role; cannot be changed.
  subjects [Subject] atomic | Who gets it.
RoleRef: Refers to a role.
  apiGroup string =rbac.authorization.k8s.io | Its group.
  kind! string | Role or ClusterRole.
  name! string | Its name.
Subject: Who gets a role.
  apiGroup string | Group of the subject.
  kind! string | User, Group or ServiceAccount.
  name! string | Its name.
  namespace string | Its namespace, for a ServiceAccount.
TokenReview: Asks whom a token belongs to.
  metadata ObjectMeta | Standard object metadata.
  spec! TokenReviewSpec | The token.
  status TokenReviewStatus | The answer.
TokenReviewSpec: A token to review.
  audiences [string] atomic | Audiences of which the token must name one.
  token string | The bearer token.
TokenReviewStatus: Whom a token belongs to.
  audiences [string] atomic | Audiences in common.
  authenticated bool | Whether the token is good.
  error string | What is wrong with it.
  user UserInfo | Whose it is.
UserInfo: A user.
  extra {[string]} | More about the user.
  groups [string] atomic | Groups.
  uid string | Identifier.
  username string | Name.
TokenRequest: Asks for a token of a service account.
  metadata ObjectMeta | Standard object metadata.
  spec! TokenRequestSpec | What is asked for.
  status TokenRequestStatus | The token.
TokenRequestSpec: What token is asked for.
  audiences [string] atomic | Who the token is for; by default the API server.
  boundObjectRef BoundObjectReference | The token dies with this object.
  expirationSeconds int =3600 | Lifetime asked for, at least 600.
BoundObjectReference: An object that a token is bound to.
  apiVersion string | Its API version.
  kind string | Pod, Secret or Node.
  name string | Its name.
  uid string | Its UID.
TokenRequestStatus: A token.
  expirationTimestamp! time | When it ends.
  token! string | The token.
SubjectAccessReview: Asks whether a user may do something.
  metadata ObjectMeta | Standard object metadata.
  spec! SubjectAccessReviewSpec | Who and what.
  status SubjectAccessReviewStatus | The answer.
LocalSubjectAccessReview: Asks whether a user may do something in one namespace.
  metadata ObjectMeta | Standard object metadata.
  spec! SubjectAccessReviewSpec | Who and what.
  status SubjectAccessReviewStatus | The answer.
SelfSubjectAccessReview: Asks whether you may do something.
  metadata ObjectMeta | Standard object metadata.
  spec! SelfSubjectAccessReviewSpec | What.
  status SubjectAccessReviewStatus | The answer.
SubjectAccessReviewSpec: Who and what.
  extra {[string]} | More about the user.
  groups [string] atomic | Groups of the user.
  nonResourceAttributes NonResourceAttributes | A path.
  resourceAttributes ResourceAttributes | A resource.
  uid string | Identifier of the user.
  user string | The user.
SelfSubjectAccessReviewSpec: What.
  nonResourceAttributes NonResourceAttributes | A path.
  resourceAttributes ResourceAttributes | A resource.
ResourceAttributes: An action on a resource.
  fieldSelector any | Limits the fields.
  group string | Group; "*" is all.
  labelSelector any | Limits the labels.
  name string | Name; empty is all.
  namespace string | Namespace; empty is all.
  resource string | Resource; "*" is all.
  subresource string | Subresource.
  verb string | Verb; "*" is all.
  version string | Version.
NonResourceAttributes: An action on a path.
  path string | The path.
  verb string | The verb.
SubjectAccessReviewStatus: Whether something is allowed.
  allowed! bool | It is.
  denied bool | It is denied whatever others say.
  evaluationError string | What went wrong.
  reason string | Why.
SelfSubjectRulesReview: Asks what you may do in a namespace.
  metadata ObjectMeta | Standard object metadata.
  spec! SelfSubjectRulesReviewSpec | Where.
  status SubjectRulesReviewStatus | The answer.
SelfSubjectRulesReviewSpec: Where.
  namespace string | The namespace.
SubjectRulesReviewStatus: What is allowed.
  evaluationError string | What went wrong.
  incomplete! bool | Whether rules are missing.
  nonResourceRules! [NonResourceRule] atomic | Paths.
  resourceRules! [ResourceRule] atomic | Resources.
ResourceRule: What is allowed on resources.
  apiGroups [string] atomic | Groups.
  resourceNames [string] atomic | Names.
  resources [string] atomic | Resources.
  verbs! [string] atomic | Verbs.
NonResourceRule: What is allowed on paths.
  nonResourceURLs [string] atomic | Paths.
  verbs! [string] atomic | Verbs.
SelfSubjectReview: Asks who you are.
  metadata ObjectMeta | Standard object metadata.
  status SelfSubjectReviewStatus | The answer.
SelfSubjectReviewStatus: Who you are.
  userInfo UserInfo | You.
"""
